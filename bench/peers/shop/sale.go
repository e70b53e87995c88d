package main

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	saleAge  = time.Second
	maxSales = 10_000
)

// sale is one flash sale as Redis has it; times are Unix milliseconds.
type sale struct {
	id, product, startsAt, endsAt                  string
	stock, price, starts, ends, limit, pay, remain int64
	read                                           time.Time
}

type saleView struct {
	ID               string `json:"id"`
	ProductID        string `json:"productId"`
	Stock            int64  `json:"stock"`
	Price            int64  `json:"price"`
	StartsAt         string `json:"startsAt"`
	EndsAt           string `json:"endsAt"`
	PerBuyerLimit    int64  `json:"perBuyerLimit"`
	PayWithinSeconds int64  `json:"payWithinSeconds"`
	Remaining        int64  `json:"remaining"`
	Status           string `json:"status"`
	ServerTime       string `json:"serverTime"`
}

// sales is the in-process cache: a sale read in the last second is not read again, and many who miss it read it once.
type sales struct {
	redis redisClient

	lock  sync.RWMutex
	known map[string]*sale
	loads singleflight.Group
}

func (s *sales) sale(ctx context.Context, id string) (*sale, error) {
	s.lock.RLock()
	found := s.known[id]
	s.lock.RUnlock()
	if found != nil && time.Since(found.read) < saleAge {
		return found, nil
	}
	loaded, err, _ := s.loads.Do(id, func() (any, error) { return s.load(context.WithoutCancel(ctx), id) })
	if err != nil {
		return nil, err
	}
	return loaded.(*sale), nil
}

func (s *sales) load(ctx context.Context, id string) (*sale, error) {
	fields, err := s.redis.hash(ctx, prefix(id)+"sale:"+id)
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, errNoSale
	}
	made := &sale{id: id, product: fields["product"], read: time.Now()}
	numbers := map[string]*int64{
		"initial": &made.stock, "price": &made.price, "starts": &made.starts, "ends": &made.ends,
		"limit": &made.limit, "pay": &made.pay, "remaining": &made.remain,
	}
	for name, number := range numbers {
		if *number, err = strconv.ParseInt(fields[name], 10, 64); err != nil {
			return nil, err
		}
	}
	made.startsAt, made.endsAt = wire(made.starts), wire(made.ends)
	s.lock.Lock()
	defer s.lock.Unlock()
	if len(s.known) >= maxSales {
		s.known = map[string]*sale{}
	}
	s.known[id] = made
	return made, nil
}

func (s *sale) view(now time.Time) saleView {
	return saleView{
		ID: s.id, ProductID: s.product, Stock: s.stock, Price: s.price, StartsAt: s.startsAt, EndsAt: s.endsAt,
		PerBuyerLimit: s.limit, PayWithinSeconds: s.pay, Remaining: s.remain, Status: s.status(now.UnixMilli()),
		ServerTime: wire(now.UnixMilli()),
	}
}

func (s *sale) status(now int64) string {
	switch {
	case now < s.starts:
		return "upcoming"
	case now < s.ends:
		return "open"
	default:
		return "ended"
	}
}

func wire(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
}

var errNoSale = refusal{status: http.StatusNotFound, name: "not-found"}
