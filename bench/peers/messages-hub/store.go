package main

import (
	"database/sql"
	"log"

	_ "github.com/mattn/go-sqlite3"
)

const (
	maxBatch  = 256
	maxQueued = 4096
	pragmas   = "?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000"
	schema    = `CREATE TABLE IF NOT EXISTS messages (
		conversation TEXT NOT NULL, seq INTEGER NOT NULL, sender_id TEXT NOT NULL, client_id TEXT NOT NULL,
		content TEXT NOT NULL, timestamp INTEGER NOT NULL,
		PRIMARY KEY (conversation, seq), UNIQUE (sender_id, client_id)
	) WITHOUT ROWID`
	insert = `INSERT INTO messages (conversation, seq, sender_id, client_id, content, timestamp) VALUES (?, ?, ?, ?, ?, ?)`
	newest = `SELECT COALESCE(MAX(seq), 0) FROM messages WHERE conversation = ?`
)

// draft is a message on its way to the disk.
type draft struct {
	from    *connection
	to      *room
	message delivered
}

// store keeps messages in SQLite. What waits while a transaction is under way is the next one: each is on disk, in a
// transaction that many share, before it is passed on.
type store struct {
	base   *sql.DB
	insert *sql.Stmt
	queue  chan draft
}

func openStore(path string) (*store, error) {
	base, err := sql.Open("sqlite3", path+pragmas)
	if err != nil {
		return nil, err
	}
	base.SetMaxOpenConns(1)
	if _, err := base.Exec(schema); err != nil {
		return nil, err
	}
	prepared, err := base.Prepare(insert)
	if err != nil {
		return nil, err
	}
	return &store{base: base, insert: prepared, queue: make(chan draft, maxQueued)}, nil
}

// last is the number of the room's newest message.
func (s *store) last(name string) (seq uint64, err error) {
	err = s.base.QueryRow(newest, name).Scan(&seq)
	return seq, err
}

func (s *store) run() {
	batch := make([]draft, 0, maxBatch)
	for first := range s.queue {
		batch = s.gather(append(batch[:0], first))
		err := s.record(batch)
		if err != nil {
			log.Printf("messages could not be stored: %v", err)
		}
		for _, each := range batch {
			each.settle(err)
		}
	}
}

func (s *store) gather(batch []draft) []draft {
	for len(batch) < maxBatch {
		select {
		case next := <-s.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (s *store) record(batch []draft) error {
	transaction, err := s.base.Begin()
	if err != nil {
		return err
	}
	statement := transaction.Stmt(s.insert)
	for _, each := range batch {
		m := each.message
		if _, err := statement.Exec(m.To, m.Seq, m.SenderID, m.ID, string(m.Content), m.Timestamp); err != nil {
			_ = transaction.Rollback()
			return err
		}
	}
	return transaction.Commit()
}

func (d draft) settle(err error) {
	if err == nil {
		err = d.to.deliver(d.from, d.message)
	}
	if err != nil {
		_ = d.from.sendJSON(map[string]string{"type": "error", "id": d.message.ID, "detail": err.Error()})
		return
	}
	_ = d.from.sendJSON(acknowledgement(d.message))
}
