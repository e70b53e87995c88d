package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"github.com/go-playground/validator/v10"
)

const maxBody = 1 << 20

// The rule of examples/hello.py. The validator's own "email" tag is a far longer
// expression: it would make Gin do more work than the program it is compared with.
var simpleEmail = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)

// submission is the body of POST /submit. Age is a pointer so that "missing" and 0 differ.
type submission struct {
	Name  string   `json:"name"  binding:"required,max=64"`
	Email string   `json:"email" binding:"required,simple_email"`
	Age   *int     `json:"age"   binding:"required,min=0,max=150"`
	Tags  []string `json:"tags"  binding:"max=10"`
}

type accepted struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Email string   `json:"email"`
	Age   int      `json:"age"`
	Tags  []string `json:"tags"`
}

type userView struct {
	ID string `json:"id"`
}

type pong struct {
	Message string `json:"message"`
}

func install(router *gin.Engine) error {
	if err := setRules(); err != nil {
		return err
	}
	router.GET("/ping", func(c *gin.Context) { c.JSON(http.StatusOK, pong{Message: "pong"}) })
	router.GET("/user/:id", func(c *gin.Context) { c.JSON(http.StatusOK, userView{ID: c.Param("id")}) })
	router.POST("/submit", submit)
	return nil
}

func setRules() error {
	binding.EnableDecoderDisallowUnknownFields = true
	rules, ok := binding.Validator.Engine().(*validator.Validate)
	if !ok {
		return errors.New("gin no longer validates with go-playground/validator")
	}
	return rules.RegisterValidation("simple_email", func(field validator.FieldLevel) bool {
		return simpleEmail.MatchString(field.Field().String())
	})
}

func submit(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
	var body submission
	if err := c.ShouldBindJSON(&body); err != nil {
		c.JSON(http.StatusUnprocessableEntity, gin.H{"detail": err.Error()})
		return
	}
	id, err := newID()
	if err != nil {
		_ = c.AbortWithError(http.StatusInternalServerError, err)
		return
	}
	if body.Tags == nil {
		body.Tags = []string{}
	}
	c.JSON(http.StatusCreated, accepted{ID: id, Name: body.Name, Email: body.Email, Age: *body.Age, Tags: body.Tags})
}

func newID() (string, error) {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(raw[:]), nil
}
