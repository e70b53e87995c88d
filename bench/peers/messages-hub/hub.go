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

// room has locks of its own, so that rooms do not wait for each other: order keeps its messages in the order of their
// numbers, lock its members.
type room struct {
	order   sync.Mutex
	lock    sync.Mutex
	seq     uint64
	members map[*connection]struct{}
}

type hub struct {
	lock  sync.RWMutex
	rooms map[string]*room
	// store is nil where messages are passed on and forgotten.
	store *store
}

func newHub(kept *store) *hub {
	return &hub{rooms: map[string]*room{}, store: kept}
}

func (h *hub) join(c *connection, name string) error {
	h.lock.Lock()
	joined, ok := h.rooms[name]
	if !ok {
		joined = &room{members: map[*connection]struct{}{}}
		if h.store != nil {
			seq, err := h.store.last(name)
			if err != nil {
				h.lock.Unlock()
				return err
			}
			joined.seq = seq
		}
		h.rooms[name] = joined
	}
	// Before the hub's lock is given back: a room is dropped when nobody is in it.
	joined.lock.Lock()
	h.lock.Unlock()
	joined.members[c] = struct{}{}
	joined.lock.Unlock()
	c.rooms = append(c.rooms, name)
	return nil
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

// say passes the message on to everybody in the room but the connection that sent it, which gets an acknowledgement;
// where messages are kept, as soon as this one is on disk.
func (h *hub) say(c *connection, message said) error {
	h.lock.RLock()
	to, ok := h.rooms[message.To]
	h.lock.RUnlock()
	if !ok {
		return errNotInRoom
	}
	now := time.Now().UnixMilli()
	accepted := delivered{message.Type, message.ID, message.To, 0, c.user, message.Content, now}
	to.order.Lock()
	defer to.order.Unlock()
	seq, err := to.next(c)
	if err != nil {
		return err
	}
	accepted.Seq = seq
	if h.store != nil {
		h.store.queue <- draft{c, to, accepted}
		return nil
	}
	if err := to.deliver(c, accepted); err != nil {
		return err
	}
	return c.sendJSON(acknowledgement(accepted))
}

func acknowledgement(m delivered) acknowledged {
	return acknowledged{"ack", m.ID, m.To, m.Seq, m.Timestamp}
}

// next is the number of the next message, for a member.
func (r *room) next(c *connection) (uint64, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if _, in := r.members[c]; !in {
		return 0, errNotInRoom
	}
	r.seq++
	return r.seq, nil
}

func (r *room) deliver(from *connection, message delivered) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
	if err != nil {
		return err
	}
	frame := &outgoing{prepared: prepared}
	r.lock.Lock()
	defer r.lock.Unlock()
	for member := range r.members {
		if member != from {
			member.offer(frame)
		}
	}
	return nil
}
