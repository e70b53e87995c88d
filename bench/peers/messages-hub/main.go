// Command messages-hub is a chat server as Go programmers write it on gorilla/websocket: a JWT at the handshake, rooms,
// a goroutine that reads and one that writes for each connection, and messages that are framed once for all receivers.
// It keeps messages in memory only for as long as it takes to pass them on, or, with -store, in SQLite.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on")
	path := flag.String("store", "", "file of the database that messages are kept in (empty: none are)")
	flag.Parse()
	if err := run(*addr, *path); err != nil {
		log.Fatal(err)
	}
}

func run(addr, path string) error {
	secret := os.Getenv("HUB_SECRET_KEY")
	if secret == "" {
		return errors.New("HUB_SECRET_KEY is not set: tokens are verified with it")
	}
	var kept *store
	if path != "" {
		opened, err := openStore(path)
		if err != nil {
			return err
		}
		go opened.run()
		kept = opened
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	routes.Handle("GET /message", &door{hub: newHub(kept), tokens: newTokens(secret)})
	return serve(routes, addr)
}

// serve answers until SIGINT or SIGTERM.
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
