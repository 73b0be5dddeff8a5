package event

import "time"

// A Delivery is an event on its way to one receiver.
type Delivery struct {
	Receiver string    `json:"receiver"`
	Event    Event     `json:"event"`
	Written  time.Time `json:"written"`         // when the event was recorded
	Due      time.Time `json:"due"`             // the next attempt; of a dead letter, when it became one
	Attempts int       `json:"attempts"`        // so far, the one included that is being made
	Error    string    `json:"error,omitempty"` // of the last attempt that failed
	Dead     bool      `json:"dead"`            // not tried any more
}

// Counts are the events of one receiver.
type Counts struct {
	Receiver string        `json:"receiver"`
	Pending  int64         `json:"pending"` // that wait, or are being sent
	Oldest   time.Duration `json:"-"`       // how long the oldest of these waits
	Dead     int64         `json:"dead"`    // dead letters
	Dropped  int64         `json:"dropped"` // that were removed and never delivered
}

// A Filter selects events of an outbox. Empty members select everything.
type Filter struct {
	Receiver string
	Event    string // its id
	Dead     bool   // dead letters; false: those that wait
}
