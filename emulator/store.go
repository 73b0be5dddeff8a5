package emulator

import (
	"slices"
	"strings"
	"sync"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The tables, named as in the state file.
const (
	tableOccurrences = "occurrences"
	tableNotes       = "notes"
	tableKeyRings    = "keyRings"
	tableKeys        = "cryptoKeys"
	tableVersions    = "cryptoKeyVersions"
	tableSecrets     = "privateKeys"
	tableAttestors   = "attestors"
	tablePolicies    = "policies"
	tableIAM         = "iamPolicies"
)

// row is one stored message. Rows are never changed: an update makes a new
// one, so that readers may keep what they found.
type row struct {
	seq  uint64 // order of creation, kept by updates
	name string
	data []byte // the message, in binary form
	occ  *occMeta
	// product is the resource that a VEX note is about, "" of every other row.
	product string
	dead    bool // guarded by store.mu: replaced or deleted
}

// occMeta is what lists of occurrences select by without decoding.
type occMeta struct {
	kind             grafeaspb.NoteKind
	note, resource   string
	created, updated time.Time
}

// list is rows in order of seq. Deleted ones stay as tombstones until they
// are half of it, so that deleting is cheap in lists of a million.
type list struct {
	key  string
	rows []*row
	dead int
}

func (l *list) add(r *row) {
	if n := len(l.rows); n == 0 || l.rows[n-1].seq < r.seq {
		l.rows = append(l.rows, r)
		return
	}

	// An update keeps its place, and so may not come last.
	i, _ := slices.BinarySearchFunc(l.rows, r.seq, func(x *row, seq uint64) int {
		if x.seq < seq {
			return -1
		}
		return 1
	})
	l.rows = slices.Insert(l.rows, i, r)
}

func (l *list) compact() {
	if l.dead++; l.dead*2 > len(l.rows) {
		l.rows = slices.DeleteFunc(l.rows, func(r *row) bool { return r.dead })
		l.dead = 0
	}
}

// after is the rows that follow seq.
func (l *list) after(seq uint64) []*row {
	if l == nil {
		return nil
	}
	i, _ := slices.BinarySearchFunc(l.rows, seq, func(x *row, seq uint64) int {
		if x.seq <= seq {
			return -1
		}
		return 1
	})
	return l.rows[i:]
}

// table is the rows of one type and the lists they are found by.
type table struct {
	rows  map[string]*row
	index map[string]*list
}

// store is all state. Writes go to the journal first, so that what was
// answered to a caller is on disk.
type store struct {
	mu      sync.RWMutex
	tables  map[string]*table
	seq     uint64
	maxOcc  int
	journal *journal // nil: memory
}

// change is a row to write, or with nil data to delete.
type change struct {
	table, name string
	data        []byte
	occ         *occMeta
}

func newStore(maxOcc int, j *journal) *store {
	return &store{tables: map[string]*table{}, maxOcc: maxOcc, journal: j}
}

func (s *store) table(name string) *table {
	t := s.tables[name]
	if t == nil {
		t = &table{rows: map[string]*row{}, index: map[string]*list{}}
		s.tables[name] = t
	}
	return t
}

// indexKeys are the lists a row is in.
func indexKeys(r *row) []string {
	keys := parents(r.name)
	if r.product != "" {
		keys = append(keys, vexKey(r.product))
	}
	if r.occ == nil {
		return keys
	}
	keys = append(keys, "note="+r.occ.note, "resource="+r.occ.resource)
	if d := digestOf(r.occ.resource); d != "" {
		keys = append(keys, "digest="+d)
	}
	return keys
}

// parents are the names whose children a list of name's collection shows:
// for projects/P/locations/L/occurrences/X that is the location and, since
// lists of a project span its locations, the project.
func parents(name string) []string {
	parts := strings.Split(name, "/")
	if len(parts) < 3 {
		return nil
	}
	out := []string{strings.Join(parts[:len(parts)-2], "/")}
	if len(parts) == 6 && parts[2] == "locations" {
		out = append(out, strings.Join(parts[:2], "/"))
	}
	return out
}

// digestOf is the sha256 digest a resource ends in, or "".
func digestOf(resource string) string {
	i := strings.LastIndex(resource, "@sha256:")
	if i < 0 || len(resource)-i-1 != len("sha256:")+64 {
		return ""
	}
	return resource[i+1:]
}

// get finds a live row. The caller holds mu.
func (s *store) get(table, name string) (*row, bool) {
	t, ok := s.tables[table]
	if !ok {
		return nil, false
	}
	r, ok := t.rows[name]
	return r, ok
}

// lists finds the rows under an index key. The caller holds mu.
func (s *store) list(table, key string) *list {
	if t, ok := s.tables[table]; ok {
		return t.index[key]
	}
	return nil
}

// apply writes all changes or none. The caller holds mu for writing.
func (s *store) apply(changes ...change) error {
	if err := s.checkRoom(changes); err != nil {
		return err
	}
	rows := make([]*row, len(changes))
	seq := s.seq
	for i, c := range changes {
		if c.data == nil {
			continue
		}
		seq++
		rows[i] = &row{seq: seq, name: c.name, data: c.data, occ: c.occ}

		// An update keeps the place that its row had.
		if old, ok := s.get(c.table, c.name); ok {
			rows[i].seq = old.seq
		}
	}

	// Disk before memory: a write that fails has changed nothing that a reader can
	// see.
	if s.journal != nil {
		if err := s.journal.write(changes, rows); err != nil {
			return status.Errorf(codes.Internal, "writing emulator state: %v", err)
		}
	}

	// From here on nothing can fail.
	s.seq = seq
	for i, c := range changes {
		s.replace(c.table, c.name, rows[i])
	}
	return nil
}

func (s *store) checkRoom(changes []change) error {
	added := map[string]int{}
	for _, c := range changes {
		if _, ok := s.get(c.table, c.name); ok || c.data == nil {
			continue
		}

		// Only rows that are new take room.
		limit := maxObjects
		if c.table == tableOccurrences {
			limit = s.maxOcc
		}

		if added[c.table]++; len(s.table(c.table).rows)+added[c.table] > limit {
			return status.Errorf(codes.ResourceExhausted, "the emulator keeps at most %d %s", limit, c.table)
		}
	}
	return nil
}

// replace puts r, if not nil, in the place of what has its name.
func (s *store) replace(tableName, name string, r *row) {
	t := s.table(tableName)
	// The old row stays in its lists, dead, until they are tidied; readers skip it.
	if old, ok := t.rows[name]; ok {
		old.dead = true
		for _, k := range indexKeys(old) {
			l := t.index[k]
			if l.compact(); len(l.rows) == 0 {
				delete(t.index, k)
			}
		}
		delete(t.rows, name)
	}

	if r == nil {
		return
	}
	if tableName == tableNotes {
		r.product = productOf(decode[grafeaspb.Note](r))
	}
	t.rows[name] = r
	for _, k := range indexKeys(r) {
		// A list is found by its key, and made with its first row.
		l := t.index[k]
		if l == nil {
			l = &list{key: k}
			t.index[k] = l
		}

		l.add(r)
		// The key of the list is the one copy of the text that its rows share.
		r.intern(l.key)
	}
}

// intern has a row that is not yet seen by others share the text of a key,
// which a million rows would otherwise each have a copy of.
func (r *row) intern(key string) {
	if r.occ == nil {
		return
	}
	if note, ok := strings.CutPrefix(key, "note="); ok {
		r.occ.note = note
	} else if resource, ok := strings.CutPrefix(key, "resource="); ok {
		r.occ.resource = resource
	}
}

func (s *store) close() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.close()
}
