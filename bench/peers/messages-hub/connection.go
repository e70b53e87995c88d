package main

import (
	"encoding/json"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
	maxMessage = 64 << 10
	maxUnsent  = 64
)

// outgoing is one message for many connections, or a text for one.
type outgoing struct {
	prepared *websocket.PreparedMessage
	text     []byte
}

type connection struct {
	hub   *hub
	wire  *websocket.Conn
	user  string
	rooms []string
	send  chan *outgoing
	ended chan struct{}
	once  sync.Once
}

// door upgrades whoever has a token.
type door struct {
	hub    *hub
	tokens *tokens
}

// Small buffers for reading, and shared ones for writing: most connections are silent most of the time.
var upgrader = websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &sync.Pool{}}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, err := d.tokens.caller(r)
	if err != nil {
		http.Error(w, "The token is not valid.", http.StatusUnauthorized)
		return
	}
	wire, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &connection{hub: d.hub, wire: wire, user: user, send: make(chan *outgoing, maxUnsent), ended: make(chan struct{})}
	// Goroutines of their own: this one's stack and the request go when the handler returns.
	go c.write()
	go c.read()
}

func (c *connection) read() {
	defer c.end()
	c.wire.SetReadLimit(maxMessage)
	_ = c.wire.SetReadDeadline(time.Now().Add(pongWait))
	c.wire.SetPongHandler(func(string) error { return c.wire.SetReadDeadline(time.Now().Add(pongWait)) })
	if err := c.sendJSON(map[string]string{"type": "welcome", "userId": c.user}); err != nil {
		return
	}
	for {
		_, text, err := c.wire.ReadMessage()
		if err != nil {
			return
		}
		if err := c.take(text); err != nil {
			_ = c.sendJSON(map[string]string{"type": "error", "detail": err.Error()})
		}
	}
}

func (c *connection) take(text []byte) error {
	var message said
	if err := json.Unmarshal(text, &message); err != nil {
		return err
	}
	if message.Type == "join" {
		if err := c.hub.join(c, message.To); err != nil {
			return err
		}
		return c.sendJSON(map[string]string{"type": "joined", "to": message.To})
	}
	return c.hub.say(c, message)
}

func (c *connection) sendJSON(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	c.offer(&outgoing{text: text})
	return nil
}

// offer never waits: whoever does not read is cut off.
func (c *connection) offer(frame *outgoing) {
	select {
	case c.send <- frame:
	default:
		log.Printf("%s is too slow", c.user)
		c.cut()
	}
}

func (c *connection) write() {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	defer c.wire.Close()
	for {
		select {
		case frame := <-c.send:
			if err := c.put(frame); err != nil {
				return
			}
		case <-ticker.C:
			if err := c.wire.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait)); err != nil {
				return
			}
		case <-c.ended:
			return
		}
	}
}

func (c *connection) put(frame *outgoing) error {
	_ = c.wire.SetWriteDeadline(time.Now().Add(writeWait))
	if frame.prepared != nil {
		return c.wire.WritePreparedMessage(frame.prepared)
	}
	return c.wire.WriteMessage(websocket.TextMessage, frame.text)
}

func (c *connection) cut() {
	c.once.Do(func() { close(c.ended) })
}

func (c *connection) end() {
	c.hub.leave(c)
	c.cut()
}
