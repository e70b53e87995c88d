package main

import (
	"context"
	"errors"
	"fmt"
)

const fillBatch = 200

// fill reserves one unit for each of “count“ new buyers, many in one run of the script: what a sale weighs after
// many have bought is measured by whoever started this.
func fill(ctx context.Context, redis redisClient, sale string, count int) error {
	terms, err := newShop(redis).sale(ctx, sale)
	if err != nil {
		return err
	}
	for done := 0; done < count; {
		size := min(fillBatch, count-done)
		args := head(sale)
		for range size {
			buyer, err := newID()
			if err != nil {
				return err
			}
			id, err := newOrderID(sale)
			if err != nil {
				return err
			}
			args = append(args, row(id, ask{sale: sale, buyer: buyer, key: buyer, quantity: 1}, terms.price)...)
		}
		reply, err := redis.run(ctx, keys(sale), args)
		if err != nil {
			return err
		}
		if _, err := opened(reply, size); err != nil {
			return err
		}
		for _, said := range reply[replyHead:] {
			if said != int64(0) {
				return errors.New(fmt.Sprint("a buyer was refused: ", said))
			}
		}
		done += size
	}
	return nil
}
