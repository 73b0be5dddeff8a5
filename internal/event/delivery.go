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
