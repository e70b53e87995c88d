// Command gin is the peer that Teahouse is measured against: the routes of
// examples/hello.py on Gin, with the same rules for the same fields.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
)

func main() {
	mode := flag.String("mode", "default", "bare: gin.New(); default: gin.Default(), with its log and recovery")
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on")
	accessLog := flag.String("access-log", "", "file that receives the access log (default mode; empty: standard output)")
	flag.Parse()

	if err := run(*mode, *addr, *accessLog); err != nil {
		log.Fatal(err)
	}
}

func run(mode, addr, accessLog string) error {
	gin.SetMode(gin.ReleaseMode)
	if accessLog != "" {
		file, err := os.OpenFile(accessLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer file.Close()
		gin.DisableConsoleColor()
		gin.DefaultWriter = file
	}

	router, err := newRouter(mode)
	if err != nil {
		return err
	}
	if err := install(router); err != nil {
		return err
	}
	return serve(router, addr)
}

func newRouter(mode string) (*gin.Engine, error) {
	switch mode {
	case "bare":
		return gin.New(), nil
	case "default":
		return gin.Default(), nil
	default:
		return nil, fmt.Errorf("unknown mode %q: use bare or default", mode)
	}
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
