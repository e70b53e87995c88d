package main

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// viaRueidis sends the commands of one moment as one pipeline: rueidis does so by itself.
type viaRueidis struct {
	client rueidis.Client
	script *rueidis.Lua
}

// newRueidis: client-side caching is off because nothing here uses it, everything else as the client suggests.
func newRueidis(addr, script string, delay time.Duration) (*viaRueidis, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{addr}, DisableCache: true, ConnWriteTimeout: patience, MaxFlushDelay: delay,
	})
	if err != nil {
		return nil, err
	}
	return &viaRueidis{client: client, script: rueidis.NewLuaScript(script)}, nil
}

func (r *viaRueidis) run(ctx context.Context, keys, args []string) ([]any, error) {
	reply, err := r.script.Exec(ctx, r.client, keys, args).ToAny()
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, errReply
	}
	return list, nil
}

func (r *viaRueidis) hash(ctx context.Context, key string) (map[string]string, error) {
	return r.client.Do(ctx, r.client.B().Hgetall().Key(key).Build()).AsStrMap()
}

func (r *viaRueidis) Close() { r.client.Close() }
