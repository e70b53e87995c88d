package main

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

var errNotInRoom = errors.New("not in this room")

// said is what clients send.
type said struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	To      string          `json:"to"`
	Content json.RawMessage `json:"content"`
}

type delivered struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	To        string          `json:"to"`
	Seq       uint64          `json:"seq"`
	SenderID  string          `json:"senderId"`
	Content   json.RawMessage `json:"content"`
	Timestamp int64           `json:"timestamp"`
}

type acknowledged struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	To        string `json:"to"`
	Seq       uint64 `json:"seq"`
	Timestamp int64  `json:"timestamp"`
}

// room has a lock of its own, so that rooms do not wait for each other.
type room struct {
	lock    sync.Mutex
	seq     uint64
	members map[*connection]struct{}
}

type hub struct {
	lock  sync.RWMutex
	rooms map[string]*room
}

func newHub() *hub {
	return &hub{rooms: map[string]*room{}}
}

func (h *hub) join(c *connection, name string) {
	h.lock.Lock()
	joined, ok := h.rooms[name]
	if !ok {
		joined = &room{members: map[*connection]struct{}{}}
		h.rooms[name] = joined
	}
	// Before the hub's lock is given back: a room is dropped when nobody is in it.
	joined.lock.Lock()
	h.lock.Unlock()
	joined.members[c] = struct{}{}
	joined.lock.Unlock()
	c.rooms = append(c.rooms, name)
}

func (h *hub) leave(c *connection) {
	h.lock.Lock()
	defer h.lock.Unlock()
	for _, name := range c.rooms {
		left, ok := h.rooms[name]
		if !ok {
			continue
		}
		left.lock.Lock()
		delete(left.members, c)
		if len(left.members) == 0 {
			delete(h.rooms, name)
		}
		left.lock.Unlock()
	}
}

// say passes the message on to everybody in the room but the connection that sent it, which gets an acknowledgement.
func (h *hub) say(c *connection, message said) error {
	h.lock.RLock()
	to, ok := h.rooms[message.To]
	h.lock.RUnlock()
	if !ok {
		return errNotInRoom
	}
	now := time.Now().UnixMilli()
	seq, err := to.pass(c, message, now)
	if err != nil {
		return err
	}
	return c.sendJSON(acknowledged{"ack", message.ID, message.To, seq, now})
}

func (r *room) pass(c *connection, message said, now int64) (uint64, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if _, in := r.members[c]; !in {
		return 0, errNotInRoom
	}
	r.seq++
	text, err := json.Marshal(delivered{message.Type, message.ID, message.To, r.seq, c.user, message.Content, now})
	if err != nil {
		return 0, err
	}
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
	if err != nil {
		return 0, err
	}
	frame := &outgoing{prepared: prepared}
	for member := range r.members {
		if member != c {
			member.offer(frame)
		}
	}
	return r.seq, nil
}
