// Command shop is the peer that a sale on Redis is measured against: the same purchase and the same cached sale as
// Teahouse's, on Gin, with a choice of Redis clients. The stock script is Teahouse's own file, run once per request.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"github.com/google/uuid"
)

type options struct {
	addr       string
	accessLog  string
	client     string
	redis      string
	script     string
	pool       int
	tokenCache int
	flushDelay time.Duration
	record     string
	fill       int
	sale       string
}

func main() {
	var given options
	flag.StringVar(&given.addr, "addr", "127.0.0.1:9000", "address to listen on")
	flag.StringVar(&given.accessLog, "access-log", "", "file that receives the access log (empty: standard output)")
	flag.StringVar(&given.client, "client", "go-redis", "go-redis, go-redis-autopipeline or rueidis")
	flag.StringVar(&given.redis, "redis", "127.0.0.1:6379", "host and port of Redis")
	flag.StringVar(&given.script, "script", "", "file of the stock script")
	flag.IntVar(&given.pool, "pool", 256, "go-redis: connections in the pool")
	flag.IntVar(&given.tokenCache, "token-cache", 4096, "verified tokens to remember in a generation; 0: verify every time")
	flag.DurationVar(&given.flushDelay, "flush-delay", 0, "how long a pipeline may gather after it was sent (0: as the client does)")
	flag.StringVar(&given.record, "record", "", "data source name of the MySQL database that orders are recorded in (empty: none are)")
	flag.IntVar(&given.fill, "fill", 0, "instead of serving: reserve one unit for each of so many new buyers of -sale")
	flag.StringVar(&given.sale, "sale", "", "the sale for -fill")
	flag.Parse()

	if err := run(given); err != nil {
		log.Fatal(err)
	}
}

func run(given options) error {
	script, err := os.ReadFile(given.script)
	if err != nil {
		return err
	}
	// Ids are no secrets here; a pool of randomness spares a system call for each.
	uuid.EnableRandPool()
	redis, err := open(given, string(script))
	if err != nil {
		return err
	}
	defer redis.Close()
	if given.fill > 0 {
		return fill(context.Background(), redis, given.sale, given.fill)
	}

	router, closeLog, err := newRouter(given.accessLog)
	if err != nil {
		return err
	}
	defer closeLog()
	secret := os.Getenv("SHOP_SECRET_KEY")
	if secret == "" {
		return errors.New("SHOP_SECRET_KEY is not set: tokens are verified with it")
	}
	tokens, err := newTokens(secret, given.tokenCache)
	if err != nil {
		return err
	}
	install(router, tokens, newShop(redis))
	if given.record != "" {
		recorder, err := newRecorder(given.redis, given.record)
		if err != nil {
			return err
		}
		until, stop := context.WithCancel(context.Background())
		defer stop()
		go recorder.run(until)
	}
	return serve(router, given.addr)
}

func open(given options, script string) (redisClient, error) {
	switch given.client {
	case "go-redis":
		return newGoRedis(given.redis, script, given.pool)
	case "go-redis-autopipeline":
		return newAutoPipeline(given.redis, script, given.pool, given.flushDelay)
	case "rueidis":
		return newRueidis(given.redis, script, given.flushDelay)
	default:
		return nil, fmt.Errorf("unknown client %q: use go-redis, go-redis-autopipeline or rueidis", given.client)
	}
}

// newRouter is gin.Default(), its log in a file.
func newRouter(accessLog string) (*gin.Engine, func(), error) {
	gin.SetMode(gin.ReleaseMode)
	binding.EnableDecoderDisallowUnknownFields = true
	closeLog := func() {}
	if accessLog != "" {
		file, err := os.OpenFile(accessLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, nil, err
		}
		closeLog = func() { _ = file.Close() }
		gin.DisableConsoleColor()
		gin.DefaultWriter = file
	}
	return gin.Default(), closeLog, nil
}

// serve answers until SIGINT or SIGTERM, then finishes what it accepted.
func serve(handler http.Handler, addr string) error {
	server := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()

	select {
	case err := <-failed:
		return err
	case <-stopped.Done():
	}
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(deadline)
}
