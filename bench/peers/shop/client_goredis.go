package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// goRedis runs every command on a connection of its own from the pool, or, with automatic pipelining, lets the client
// send the commands of one moment as one pipeline.
type goRedis struct {
	client *redis.Client
	runs   redis.Cmdable
	script *redis.Script
}

// newGoRedis: one connection for every purchase under way, opened before they are needed. Time-outs as Teahouse's;
// nothing is sent twice, because a purchase whose outcome is unknown is the buyer's to ask again.
func newGoRedis(addr, script string, pool int) (*goRedis, error) {
	client := redis.NewClient(&redis.Options{
		Addr: addr, PoolSize: pool, MinIdleConns: pool / 4, MaxRetries: -1,
		DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
	made := &goRedis{client: client, runs: client, script: redis.NewScript(script)}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return made, made.script.Load(ctx, client).Err()
}

// newAutoPipeline: the client's own defaults for callers that wait, which are one deep batch after the other.
func newAutoPipeline(addr, script string, pool int, delay time.Duration) (*goRedis, error) {
	made, err := newGoRedis(addr, script, pool)
	if err != nil {
		return nil, err
	}
	how := redis.DefaultBlockingAutoPipelineOptions()
	how.MaxFlushDelay = delay
	made.runs, err = made.client.AutoPipelineWithOptions(how)
	return made, err
}

func (g *goRedis) run(ctx context.Context, keys, args []string) ([]any, error) {
	given := make([]any, len(args))
	for place, arg := range args {
		given[place] = arg
	}
	return g.script.Run(ctx, g.runs, keys, given...).Slice()
}

func (g *goRedis) hash(ctx context.Context, key string) (map[string]string, error) {
	return g.client.HGetAll(ctx, key).Result()
}

func (g *goRedis) Close() { _ = g.client.Close() }
