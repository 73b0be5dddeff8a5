package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A Log is the record's signed transparency log.
type Log struct {
	// Proof returns the c2sp.org/tlog-proof of a decision, or an [attestor.Error] of kind
	// NotFound, or of kind Unavailable while it cannot be signed.
	Proof func(ctx context.Context, id string) ([]byte, error)
	// Checkpoint returns the newest signed checkpoint.
	Checkpoint func(ctx context.Context) ([]byte, error)
	// Witnessed returns the newest checkpoint that witnesses cosigned, or an [attestor.Error] of kind NotFound if there
	// is none yet, and of kind Unsupported if no witness is configured.
	Witnessed func(ctx context.Context) ([]byte, error)
	// Tile returns a tile by its path, and whether it can never change.
	Tile func(ctx context.Context, path string) (data []byte, full bool, err error)
	// Public serves checkpoint and tiles without an identity.
	Public bool
}

const textType = "text/plain; charset=utf-8"

// logRoutes are those of the log. Checkpoints and tiles have ids and times of all
// decisions: they are for callers who may read everything, unless the log is public.
func (s *Server) logRoutes(read []attestor.Action) []route {
	l := s.c.Log
	enabled, open := l != nil, l != nil && l.Public

	return []route{
		{
			method: "GET", path: "/v1/decisions/:id/proof", any: read, class: reads,
			part: "a signed log (log.key)", enabled: enabled && s.c.Decisions != nil, handle: s.showProof,
		},
		{
			method: "GET", path: "/log/checkpoint", any: read, class: reads, open: open, limited: true,
			part: "a signed log (log.key)", enabled: enabled,
			handle: func(k *call) error { return s.showCheckpoint(k, l.Checkpoint) },
		},
		{
			method: "GET", path: "/log/checkpoint/witnessed", any: read, class: reads, open: open, limited: true,
			part: "a signed log (log.key)", enabled: enabled,
			handle: func(k *call) error { return s.showCheckpoint(k, l.Witnessed) },
		},
		{
			method: "GET", path: "/log/tile/*", any: read, class: reads, open: open, limited: true,
			part: "a signed log (log.key)", enabled: enabled, handle: s.showTile,
		},
	}
}

// showProof answers GET /v1/decisions/{id}/proof. The proof of a decision that was
// pruned shows its id and time alone; whose it was is not known any more, so that it is
// for callers who may read everything.
func (s *Server) showProof(k *call) error {
	id := k.Param("id")
	if _, err := s.readable(k); err != nil {
		if attestor.KindOf(err) != attestor.NotFound || !k.caller.MayEverywhere(attestor.ActionRead) {
			return err
		}
	}
	p, err := s.c.Log.Proof(k.ctx, id)
	if err != nil {
		return err
	}
	return k.Blob(http.StatusOK, textType, p)
}

// showCheckpoint answers GET /log/checkpoint and GET /log/checkpoint/witnessed.
func (s *Server) showCheckpoint(k *call, newest func(context.Context) ([]byte, error)) error {
	if err := s.mayReadLog(k); err != nil {
		return err
	}
	signed, err := newest(k.ctx)
	if err != nil {
		return err
	}
	k.Response().Header().Set("Cache-Control", "no-cache")
	return k.Blob(http.StatusOK, textType, signed)
}

// showTile answers GET /log/tile/….
func (s *Server) showTile(k *call) error {
	if err := s.mayReadLog(k); err != nil {
		return err
	}
	data, full, err := s.c.Log.Tile(k.ctx, strings.TrimPrefix(k.Request().URL.Path, "/log/tile/"))
	if err != nil {
		return err
	}

	// c2sp.org/tlog-tiles: full tiles are immutable.
	if full {
		k.Response().Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	return k.Blob(http.StatusOK, "application/octet-stream", data)
}

// mayReadLog returns an error unless the caller may read the ids and times of every
// decision.
func (s *Server) mayReadLog(k *call) error {
	if s.c.Log.Public || k.caller.MayEverywhere(attestor.ActionRead) {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Forbidden, Msg: "the log has every decision, and this identity may not read all of them",
		Fix: `ask an administrator of the gate for the right read on images ["**"], or for log.public`,
	}
}
