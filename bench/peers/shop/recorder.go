package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
)

const (
	group            = "recorder"
	recordedAtOnce   = 1000
	recordedPerTick  = 100 * time.Millisecond // 10,000 a second at most, as Teahouse
	recorderPatience = 10 * time.Second
)

// recorder takes what the script logged into the database: batches, at least once, each order once by its key.
type recorder struct {
	redis    *redis.Client
	database *sql.DB
	streams  []string
}

// entry is one stream entry: whose shard it is of, and its orders' rows.
type entry struct {
	stream, id string
	rows       [][]json.RawMessage
}

func newRecorder(addr, database string) (*recorder, error) {
	opened, err := sql.Open("mysql", database)
	if err != nil {
		return nil, err
	}
	opened.SetMaxOpenConns(2)
	made := &recorder{redis: redis.NewClient(&redis.Options{Addr: addr, PoolSize: 2}), database: opened}
	for _, digit := range "0123456789abcdef" {
		made.streams = append(made.streams, prefix(string(digit))+"log")
	}
	return made, opened.Ping()
}

// run records until it is told to stop. What fails is tried again: entries stay until they are acknowledged.
func (r *recorder) run(ctx context.Context) {
	tick := time.NewTicker(recordedPerTick)
	defer tick.Stop()
	from := "0" // first what an earlier run took and did not finish
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		taken, err := r.take(ctx, from)
		if err == nil {
			err = r.record(ctx, taken)
		}
		switch {
		case err != nil && redis.HasErrorPrefix(err, "NOGROUP"):
			r.makeGroups(ctx)
		case err != nil && ctx.Err() == nil:
			log.Print("recorder: ", err)
			from = "0"
		case len(taken) == 0:
			from = ">"
		}
	}
}

func (r *recorder) makeGroups(ctx context.Context) {
	for _, stream := range r.streams {
		if err := r.redis.XGroupCreateMkStream(ctx, stream, group, "0").Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			log.Print("recorder: ", err)
		}
	}
}

func (r *recorder) take(ctx context.Context, from string) ([]entry, error) {
	streams := append([]string{}, r.streams...)
	for range r.streams {
		streams = append(streams, from)
	}
	found, err := r.redis.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: "shop", Streams: streams, Count: recordedAtOnce, Block: -1,
	}).Result()
	if err == redis.Nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var taken []entry
	for _, stream := range found {
		for _, message := range stream.Messages {
			read := entry{stream: stream.Stream, id: message.ID}
			text, _ := message.Values["orders"].(string)
			if err := json.Unmarshal([]byte("["+text+"]"), &read.rows); err != nil {
				return nil, err
			}
			taken = append(taken, read)
		}
	}
	return taken, nil
}

func (r *recorder) record(ctx context.Context, taken []entry) error {
	const columns = "(id,sale_id,buyer_id,idempotency_key,quantity,amount,status,created_at,pay_before,changed_at,version)"
	var marks []string
	var values []any
	for _, each := range taken {
		for _, row := range each.rows {
			marks = append(marks, "(?,?,?,?,?,?,?,?,?,?,?)")
			for _, field := range row {
				var value any
				if err := json.Unmarshal(field, &value); err != nil {
					return err
				}
				if text, ok := value.(string); ok {
					values = append(values, text)
				} else {
					values = append(values, string(field)) // a number, as exact as it was written
				}
			}
		}
	}
	if len(marks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recorderPatience)
	defer cancel()
	// A duplicate is an order that was recorded by an attempt whose answer was lost.
	insert := "INSERT IGNORE INTO orders " + columns + " VALUES " + strings.Join(marks, ",")
	if _, err := r.database.ExecContext(ctx, insert, values...); err != nil {
		return err
	}
	return r.acknowledge(ctx, taken)
}

func (r *recorder) acknowledge(ctx context.Context, taken []entry) error {
	ids := map[string][]string{}
	orders := map[string]int64{}
	for _, each := range taken {
		ids[each.stream] = append(ids[each.stream], each.id)
		orders[each.stream] += int64(len(each.rows))
	}
	_, err := r.redis.TxPipelined(ctx, func(together redis.Pipeliner) error {
		for stream, done := range ids {
			together.XAck(ctx, stream, group, done...)
			together.XDel(ctx, stream, done...)
			together.DecrBy(ctx, strings.TrimSuffix(stream, "log")+"unrecorded", orders[stream])
		}
		return nil
	})
	return err
}
