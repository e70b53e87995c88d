package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

type tokens struct {
	parser *jwt.Parser
	key    []byte
}

func newTokens(secret string) *tokens {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired(),
	)
	return &tokens{parser: parser, key: []byte(secret)}
}

// caller is whom the request's token names.
func (t *tokens) caller(r *http.Request) (string, error) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", errors.New("no token")
	}
	var said jwt.RegisteredClaims
	if _, err := t.parser.ParseWithClaims(token, &said, t.keyFor); err != nil {
		return "", err
	}
	if said.Subject == "" {
		return "", errors.New("nobody's token")
	}
	// The header's text shares its memory with the rest of the request's head.
	return strings.Clone(said.Subject), nil
}

func (t *tokens) keyFor(*jwt.Token) (any, error) { return t.key, nil }
