package main

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"
)

// problem is an error as clients read it (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func refuse(c *gin.Context, status int, name, detail string) {
	text, err := json.Marshal(problem{Type: "/problems/" + name, Title: name, Status: status, Detail: detail})
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", "1")
	}
	c.Abort()
	c.Data(status, "application/problem+json", text)
}

func unauthorized(c *gin.Context, detail string) {
	c.Header("WWW-Authenticate", "Bearer")
	refuse(c, http.StatusUnauthorized, "unauthorized", detail)
}
