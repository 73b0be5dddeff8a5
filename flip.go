package attestor

import "time"

// A Flip is an image whose recorded decisions another policy would have
// answered otherwise.
type Flip struct {
	Decision string    `json:"decision"` // the newest that flips this way
	Time     time.Time `json:"time"`     // of that decision
	Image    string    `json:"image"`
	Owner    string    `json:"owner"`  // by its labels, else the path of its repository
	Policy   string    `json:"policy"` // that judges now; "" for none
	Before   Outcome   `json:"before"`
	After    Outcome   `json:"after"`
	Reasons  []Reason  `json:"reasons"` // that refuse now, or else refused before; the first ten
	Times    int       `json:"times"`   // decisions on this image that flip this way
}
