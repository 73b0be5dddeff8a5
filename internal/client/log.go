package client

import (
	"context"
	"net/http"
)

// Proof returns the c2sp.org/tlog-proof of a decision. An id that is not recorded is an error of kind NotFound.
func (c *Client) Proof(ctx context.Context, id string) ([]byte, error) {
	path, err := decisionPath(id)
	if err != nil {
		return nil, err
	}
	return c.raw(ctx, path+"/proof")
}

// Checkpoint returns the newest signed checkpoint of the record's log.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	return c.raw(ctx, "/log/checkpoint")
}

// WitnessedCheckpoint returns the newest checkpoint that witnesses cosigned. The error is of kind NotFound if there is
// none.
func (c *Client) WitnessedCheckpoint(ctx context.Context) ([]byte, error) {
	return c.raw(ctx, "/log/checkpoint/witnessed")
}

// LogTile returns a tile of the record's log, by its path of c2sp.org/tlog-tiles.
func (c *Client) LogTile(ctx context.Context, path string) ([]byte, error) {
	return c.raw(ctx, "/log/tile/"+path)
}

// raw returns the body of an answer as it is.
func (c *Client) raw(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	if resp.status != http.StatusOK {
		return nil, resp.problem()
	}
	return resp.body, nil
}
