package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// prefix is what the keys of a sale's shard begin with: the last digit of the sale's id names the shard, and they share
// a hash tag.
func prefix(sale string) string { return "teahouse:{" + shard(sale) + "}:" }

func shard(sale string) string { return sale[max(0, len(sale)-1):] }

// Without a recorder nothing takes orders out of the log, so their number is no reason to refuse.
const mostUnrecorded = "1000000000"

// replyHead is how much a reply says before the purchases: the word, the moment, seq, remaining, orders ever placed.
const replyHead = 5

// redisClient is what the shop needs of a client.
type redisClient interface {
	// run calls the stock script once: EVALSHA, and EVAL where the server does not know it.
	run(ctx context.Context, keys, args []string) ([]any, error)
	hash(ctx context.Context, key string) (map[string]string, error)
	Close()
}

// refusal is an answer that is no fault: the buyer is told why.
type refusal struct {
	status int
	name   string
}

func (r refusal) Error() string { return r.name }

var (
	errReply = errors.New("the stock script answered in words that are not known here")

	refusals = map[int64]refusal{
		1: {http.StatusConflict, "sold-out"},
		2: {http.StatusConflict, "limit-reached"},
		3: {http.StatusConflict, "sale-not-started"},
		4: {http.StatusConflict, "sale-ended"},
	}
	mismatch = refusal{http.StatusUnprocessableEntity, "idempotency-mismatch"}
)

type ask struct {
	sale, buyer, key string
	quantity         int64
}

type reservation struct {
	id, sale                    string
	quantity, amount, payBefore int64
}

type shop struct {
	sales
}

func newShop(redis redisClient) *shop {
	return &shop{sales{redis: redis, known: map[string]*sale{}}}
}

// reserve runs the stock script for one buyer.
func (s *shop) reserve(ctx context.Context, wanted ask) (reservation, error) {
	terms, err := s.sale(ctx, wanted.sale)
	if err != nil {
		return reservation{}, err
	}
	id, err := newOrderID(wanted.sale)
	if err != nil {
		return reservation{}, err
	}
	amount := wanted.quantity * terms.price
	args := append(head(wanted.sale), row(id, wanted, amount)...)
	reply, err := s.redis.run(ctx, keys(wanted.sale), args)
	if err != nil {
		return reservation{}, err
	}
	now, err := opened(reply, 1)
	if err != nil {
		return reservation{}, err
	}
	switch said := reply[replyHead].(type) {
	case string: // the key was used before
		return repeated(said, wanted)
	case int64:
		if said == 0 {
			payBefore := now + terms.pay*1000
			return reservation{id, wanted.sale, wanted.quantity, amount, payBefore}, nil
		}
		if refused, ok := refusals[said]; ok {
			return reservation{}, refused
		}
	}
	return reservation{}, errReply
}

func keys(sale string) []string {
	begin := prefix(sale)
	return []string{begin + "sale:" + sale, begin + "slots:" + sale, begin + "bought:" + sale, begin + "orders", begin + "due"}
}

// head is what the script is told before the purchases: prefix, Redis' own time, no seq seen, the bound.
func head(sale string) []string {
	return append(make([]string, 0, 7), prefix(sale), "0", "0", mostUnrecorded)
}

// row is one purchase for the script: its slot, its quantity, and the order's row up to its status.
func row(id string, wanted ask, amount int64) []string {
	quantity := strconv.FormatInt(wanted.quantity, 10)
	return []string{
		wanted.buyer + " " + wanted.key,
		quantity,
		`["` + id + `","` + wanted.sale + `","` + wanted.buyer + `",` + quoted(wanted.key) + `,` + quantity + `,` +
			strconv.FormatInt(amount, 10) + `,`,
	}
}

// quoted makes JSON of a key, which is visible ASCII.
func quoted(key string) string {
	if !strings.ContainsAny(key, `"\`) {
		return `"` + key + `"`
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(key) + `"`
}

// opened reads the head of a reply to “count“ purchases: the moment of the script.
func opened(reply []any, count int) (int64, error) {
	if len(reply) == 0 {
		return 0, errReply
	}
	switch word := reply[0]; word {
	case "ok":
		if now, ok := reply[1].(int64); ok && len(reply) == replyHead+count {
			return now, nil
		}
		return 0, errReply
	case "missing":
		return 0, errNoSale
	case "closed":
		return 0, refusals[4]
	default:
		return 0, fmt.Errorf("the sale cannot sell now: %v", word)
	}
}

// repeated is the order that has the key already.
func repeated(text string, wanted ask) (reservation, error) {
	var fields []json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil || len(fields) != 11 {
		return reservation{}, errReply
	}
	made := reservation{sale: wanted.sale}
	for place, into := range map[int]any{0: &made.id, 4: &made.quantity, 5: &made.amount, 8: &made.payBefore} {
		if err := json.Unmarshal(fields[place], into); err != nil {
			return reservation{}, errReply
		}
	}
	if made.quantity != wanted.quantity {
		return reservation{}, mismatch
	}
	return made, nil
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	return hex.EncodeToString(id[:]), err
}

// newOrderID ends with the shard of its sale.
func newOrderID(sale string) (string, error) {
	id, err := newID()
	if err != nil {
		return "", err
	}
	return id[:len(id)-1] + shard(sale), nil
}
