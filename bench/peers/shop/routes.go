package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"github.com/go-playground/validator/v10"
)

const (
	maxBody      = 1 << 20
	maxKeyLength = 64
	patience     = 2 * time.Second
)

// purchaseBody is what a buyer asks for.
type purchaseBody struct {
	Quantity int64 `json:"quantity" binding:"required,min=1,max=1000000000"`
}

// reservedView is the answer to a purchase, the same each time it is asked again.
type reservedView struct {
	OrderID   string `json:"orderId"`
	SaleID    string `json:"saleId"`
	Quantity  int64  `json:"quantity"`
	Amount    int64  `json:"amount"`
	Status    string `json:"status"`
	PayBefore string `json:"payBefore"`
}

func install(router *gin.Engine, tokens *tokens, shop *shop) {
	router.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	router.GET("/v1/sales/:id", shop.getSale)
	router.POST("/v1/sales/:id/purchases", tokens.required, shop.purchase)
}

func (s *shop) getSale(c *gin.Context) {
	found, err := s.sale(c.Request.Context(), c.Param("id"))
	if err != nil {
		answer(c, err)
		return
	}
	c.JSON(http.StatusOK, found.view(time.Now()))
}

func (s *shop) purchase(c *gin.Context) {
	key := c.GetHeader("Idempotency-Key")
	if key == "" {
		refuse(c, http.StatusBadRequest, "idempotency-key-missing", "Send an Idempotency-Key.")
		return
	}
	if !visible(key) {
		refuse(c, http.StatusUnprocessableEntity, "validation-failed", "Idempotency-Key: 1 to 64 visible characters")
		return
	}
	var body purchaseBody
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
	if err := c.ShouldBindWith(&body, binding.JSON); err != nil {
		refuseBody(c, err)
		return
	}
	made, err := s.reserve(c.Request.Context(), ask{sale: c.Param("id"), buyer: c.GetString(buyerKey), key: key, quantity: body.Quantity})
	if err != nil {
		answer(c, err)
		return
	}
	c.JSON(http.StatusAccepted, reservedView{
		OrderID: made.id, SaleID: made.sale, Quantity: made.quantity, Amount: made.amount, Status: "reserved",
		PayBefore: wire(made.payBefore),
	})
}

// refuseBody tells a body that is no JSON from one that is not allowed here.
func refuseBody(c *gin.Context, err error) {
	var broken *json.SyntaxError
	var wrong validator.ValidationErrors
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong), errors.As(err, &kind), strings.HasPrefix(err.Error(), "json: unknown field"):
		refuse(c, http.StatusUnprocessableEntity, "validation-failed", err.Error())
	case errors.As(err, &broken), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		refuse(c, http.StatusBadRequest, "invalid-json", err.Error())
	default:
		refuse(c, http.StatusBadRequest, "bad-request", err.Error())
	}
}

func answer(c *gin.Context, err error) {
	var refused refusal
	if errors.As(err, &refused) {
		refuse(c, refused.status, refused.name, "")
		return
	}
	_ = c.Error(err)
	refuse(c, http.StatusServiceUnavailable, "redis-unavailable", "")
}

func visible(text string) bool {
	if len(text) > maxKeyLength {
		return false
	}
	for place := range len(text) {
		if text[place] < '!' || text[place] > '~' {
			return false
		}
	}
	return true
}
