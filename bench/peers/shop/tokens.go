package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
)

const (
	issuer         = "teahouse"
	audience       = "teahouse"
	maxTokenLength = 4096
	buyerKey       = "buyer"
)

type claims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Role    string `json:"role"`
}

// caller is what a verified token says.
type caller struct {
	buyer   string
	expires time.Time
}

// tokens verifies access tokens (RFC 9068, HS256 pinned as RFC 8725 asks) and remembers those it has verified, as
// Teahouse does: at most two generations of them, and the expiry is looked at every time.
type tokens struct {
	parser *jwt.Parser
	key    []byte

	lock       sync.RWMutex
	generation int
	young, old map[string]caller
}

// newTokens derives the key from the secret as Teahouse does: both programs accept the very same tokens.
func newTokens(secret string, generation int) (*tokens, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "teahouse access-token HS256", 32)
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
	)
	return &tokens{parser: parser, key: key, generation: generation, young: map[string]caller{}}, nil
}

// required is the middleware in front of what needs a buyer.
func (t *tokens) required(c *gin.Context) {
	scheme, token, found := strings.Cut(c.GetHeader("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || len(token) > maxTokenLength {
		unauthorized(c, "Send the access token as Authorization: Bearer.")
		return
	}
	known, ok := t.lookUp(token)
	if !ok {
		verified, err := t.verify(token)
		if err != nil {
			unauthorized(c, "The access token is not valid.")
			return
		}
		known = verified
		t.remember(token, known)
	}
	if !known.expires.After(time.Now()) {
		unauthorized(c, "The access token has run out.")
		return
	}
	c.Set(buyerKey, known.buyer)
}

func (t *tokens) verify(token string) (caller, error) {
	var said claims
	if _, err := t.parser.ParseWithClaims(token, &said, t.keyFor); err != nil {
		return caller{}, err
	}
	if said.Subject == "" || said.Session == "" || said.ID == "" || (said.Role != "user" && said.Role != "admin") {
		return caller{}, errors.New("a claim is missing")
	}
	return caller{buyer: said.Subject, expires: said.ExpiresAt.Time}, nil
}

func (t *tokens) keyFor(token *jwt.Token) (any, error) {
	if token.Header["typ"] != "at+jwt" {
		return nil, errors.New("not an access token")
	}
	return t.key, nil
}

func (t *tokens) lookUp(token string) (caller, bool) {
	if t.generation == 0 {
		return caller{}, false
	}
	t.lock.RLock()
	defer t.lock.RUnlock()
	if known, ok := t.young[token]; ok {
		return known, true
	}
	known, ok := t.old[token]
	return known, ok
}

func (t *tokens) remember(token string, known caller) {
	if t.generation == 0 {
		return
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	if len(t.young) >= t.generation {
		t.young, t.old = map[string]caller{}, t.young
	}
	// The header's text shares its memory with the rest of the request's head.
	t.young[strings.Clone(token)] = known
}
