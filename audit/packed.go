package audit

import (
	"context"
	"database/sql"
	"time"
)

// formFor is how long after the schema was changed records are written in the form before: instances of the version
// before may still be at work, and would not read the new one. Of decisions that are compressed they would read
// nothing, and leave them out of the search index; entries of the log that are short they would take for changed; and
// findings by number they would not find.
const formFor = fillFor

// startForms finds out from when on the forms of this version are written.
func (s *Store) startForms(ctx context.Context) (err error) {
	if s.packFrom, err = s.formFrom(ctx, "packed"); err == nil {
		s.shortFrom, err = s.formFrom(ctx, "short")
	}
	return err
}

// formFrom notes when the schema was changed for a form, and returns from when on it is
// written. Where there are no decisions, and in an SQLite file, which is one process's,
// no earlier version is at work.
func (s *Store) formFrom(ctx context.Context, form string) (from time.Time, err error) {
	// The first start notes the time; later starts, and other instances, keep it.
	_, err = s.write.ExecContext(ctx, `INSERT INTO fills (name, started, at, id, done)
		SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), 0, '', NOT EXISTS (SELECT 1 FROM decisions) WHERE TRUE
		ON CONFLICT (name) DO NOTHING`, form, s.now().UnixMicro())
	if err != nil {
		return from, err
	}

	var started int64
	var done bool
	err = s.write.QueryRowContext(ctx, `SELECT started, done FROM fills WHERE name = $1`, form).Scan(&started, &done)
	if err != nil {
		return from, err
	}
	if single := s.write != s.read; !done && !single {
		from = time.UnixMicro(started).Add(formFor)
	}
	return from, nil
}

// packs reports whether what is finished now is compressed.
func (s *Store) packs() bool { return !s.now().Before(s.packFrom) }

// shortens reports whether the log's entries are stored short now, and places of findings by number.
func (s *Store) shortens() bool { return !s.now().Before(s.shortFrom) }

// columns are body, evidence and packed as a decision is written. What is begun is about
// to be replaced, and is compared with what replaces it: it is not compressed. Nor is what
// is too large to be read back.
func (s *Store) columns(r row, state string) [3]any {
	if state != stateFinished || !s.packs() || len(r.body)+len(r.outline) >= maxBlob {
		return [3]any{r.body, r.outline, nil}
	}
	return [3]any{"", "", s.codec.Two(r.body, r.outline)}
}

// texts are columns of a row that may be missing: as earlier versions wrote them, or
// compressed. A row of images has one text only.
type texts struct {
	first, second sql.NullString
	packed        []byte // none: not compressed
}

// unpack returns what the columns of a row say: body and evidence of a decision.
//
// Whoever writes to the columns of a compressed row changes it, and so they come first:
// what they say is not what the log commits to. What was damaged is empty for the same
// reason: one such row must not end a list, and no gate records an empty decision.
func (s *Store) unpack(t texts) (first, second string) {
	if len(t.packed) == 0 || t.first.String != "" || t.second.String != "" {
		return t.first.String, t.second.String
	}
	first, second, err := s.codec.UnpackTwo(t.packed)
	if err != nil {
		return "", ""
	}
	return first, second
}
