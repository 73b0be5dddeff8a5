package courier

import "context"

// Deliver makes one attempt for each event of a receiver that is due.
func (c *Courier) Deliver(ctx context.Context, r Receiver) (n int, gone bool, err error) {
	return c.deliver(ctx, r)
}
