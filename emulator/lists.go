package emulator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	defaultPage = 20
	maxPage     = 1000
)

// pageCounter counts pages, for Behaviour.EmptyPages.
type pageCounter struct{ n atomic.Int64 }

// cursor is where a page starts. Its text form is tied to the request, so
// that a token used with another filter is refused, as AIP-158 asks.
type cursor struct {
	after   uint64 // the last sequence number that was served
	wasGone bool   // the page before was an empty one
}

func (c cursor) token(scope string) string {
	var b [17]byte

	// Eight bytes of the hash tie the token to the request; it is no secret.
	h := sha256.Sum256([]byte(scope))
	copy(b[:8], h[:8])
	binary.BigEndian.PutUint64(b[8:], c.after)
	if c.wasGone {
		b[16] = 1
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func parseCursor(token, scope string) (cursor, error) {
	if token == "" {
		return cursor{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	h := sha256.Sum256([]byte(scope))

	// A token of another list would silently skip or repeat rows.
	if err != nil || len(b) != 17 || !slices.Equal(b[:8], h[:8]) {
		return cursor{}, invalid("page_token", "invalid page token, or one of another request")
	}
	return cursor{after: binary.BigEndian.Uint64(b[8:]), wasGone: b[16] == 1}, nil
}

func pageSize(n int32) (int, error) {
	switch {
	case n < 0:
		return 0, invalid("page_size", fmt.Sprintf("page_size must be positive, got %d", n))
	case n == 0:
		return defaultPage, nil
	default:
		return min(int(n), maxPage), nil
	}
}

func (s *grafeasService) ListOccurrences(
	ctx context.Context,
	r *grafeaspb.ListOccurrencesRequest,
) (*grafeaspb.ListOccurrencesResponse, error) {
	if err := checkName(s.names.parent, "parent", r.GetParent()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.list", r.GetParent()); err != nil {
		return nil, err
	}

	// Before any page is read: a list that cannot be whole is refused unless its
	// caller takes parts.
	unreachable, err := s.unreachable(r.GetParent(), r.GetReturnPartialSuccess())
	if err != nil {
		return nil, err
	}

	out, next, err := s.occurrencePage(r.GetParent(), r.GetFilter(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &grafeaspb.ListOccurrencesResponse{Occurrences: out, NextPageToken: next, Unreachable: unreachable}, nil
}

func (s *grafeasService) ListNoteOccurrences(
	ctx context.Context,
	r *grafeaspb.ListNoteOccurrencesRequest,
) (*grafeaspb.ListNoteOccurrencesResponse, error) {
	if err := checkName(s.names.note, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.notes.listOccurrences", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.RLock()
	_, ok := s.store.get(tableNotes, r.GetName())
	s.store.mu.RUnlock()
	if !ok {
		return nil, notFound("note with name %q does not exist", r.GetName())
	}

	out, next, err := s.occurrencePage("note="+r.GetName(), r.GetFilter(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &grafeaspb.ListNoteOccurrencesResponse{Occurrences: out, NextPageToken: next}, nil
}

// unreachable is what a list of a whole project says of locations that do not
// answer: their names if the caller takes partial answers, else an error.
func (s *grafeasService) unreachable(parent string, partial bool) ([]string, error) {
	locations := s.Behaviour().Unreachable
	if len(locations) == 0 || strings.Contains(parent, "/locations/") {
		return nil, nil
	}
	out := make([]string, len(locations))
	for i, l := range locations {
		out[i] = parent + "/locations/" + lastSegment(l)
	}

	if !partial {
		return nil, status.Errorf(codes.Unavailable, "locations are unreachable: %s", strings.Join(out, ", "))
	}
	return out, nil
}

// occurrencePage is one page of the list under an index key.
func (s *grafeasService) occurrencePage(
	key, filter string,
	size int32,
	token string,
) ([]*grafeaspb.Occurrence, string, error) {
	n, err := parseFilter(filter)
	if err != nil {
		return nil, "", err
	}

	// Refused before a page is made, as a service without unions would.
	if s.Behaviour().RefuseUnions && resourcesOf(n) > 1 {
		return nil, "", filterError("OR between resources is not supported")
	}
	limit, err := pageSize(size)
	if err != nil {
		return nil, "", err
	}

	scope := key + "\n" + filter
	cur, err := parseCursor(token, scope)
	if err != nil {
		return nil, "", err
	}

	// One moment for the whole page, so that a row is listed or not, and never half
	// the time.
	b := s.Behaviour()
	visibleBefore := s.now().Add(-b.ListLag)
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	// The next page starts where this one would have: nothing is skipped by an empty
	// one.
	if s.emptyPage(b, cur) {
		return nil, cursor{after: cur.after, wasGone: true}.token(scope), nil
	}

	var out []*grafeaspb.Occurrence
	var last uint64
	for _, r := range s.candidates(n, key, cur.after) {
		if r.dead || b.ListLag > 0 && r.occ.created.After(visibleBefore) {
			continue
		}

		// The index narrows; the filter decides.
		v := &occView{row: r, vex: s.carryVEX}
		if !under(r, key) || !matches(n, v) {
			continue
		}

		if len(out) == limit {
			return out, cursor{after: last}.token(scope), nil
		}
		out, last = append(out, v.message()), r.seq
	}
	return out, "", nil
}

// emptyPage is whether this page comes empty.
func (s *grafeasService) emptyPage(b Behaviour, cur cursor) bool {
	if b.EmptyPages == 0 || cur.wasGone {
		return false
	}
	return s.pages.n.Add(1)%int64(b.EmptyPages) == 0
}

// candidates are the rows after seq that a list must look at, in order: those
// under its key, or under the resources its filter is about if that is less.
// The caller holds the store's lock.
func (s *grafeasService) candidates(n node, key string, seq uint64) []*row {
	// A filter on a resource makes a list of a million rows one of a few.
	keys, ok := indexHint(n)
	if !ok {
		return s.store.list(tableOccurrences, key).after(seq)
	}

	// A digest may be named twice: each list is read once.
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var out []*row
	for _, k := range keys {
		out = append(out, s.store.list(tableOccurrences, k).after(seq)...)
	}

	// Rows of several lists are put in the order of the one that they replace, each
	// once.
	slices.SortFunc(out, func(a, b *row) int { return cmp.Compare(a.seq, b.seq) })
	return slices.CompactFunc(out, func(a, b *row) bool { return a == b })
}

// under is whether a row is in the list of an index key.
func under(r *row, key string) bool {
	if note, ok := strings.CutPrefix(key, "note="); ok {
		return r.occ.note == note
	}
	return slices.Contains(parents(r.name), key)
}

// objectQuery is what a list of a small collection is asked for.
type objectQuery struct {
	parent, token string
	size          int32
	// filter as the caller sent it, and where there is one its meaning.
	filter  string
	meaning node
	// orderBy as the caller sent it, and where there is one the comparison of two messages.
	orderBy string
	compare func(a, b protoreflect.Message) int
}

// objectPage is one page of the small collections: notes, keys, attestors.
func objectPage[T any, P interface {
	*T
	proto.Message
}](s *store, table string, q objectQuery) ([]*T, string, error) {
	limit, err := pageSize(q.size)
	if err != nil {
		return nil, "", err
	}
	scope := strings.Join([]string{table, q.parent, q.filter, q.orderBy}, "\n")
	cur, err := parseCursor(q.token, scope)
	if err != nil {
		return nil, "", err
	}

	// From the cursor to the end of the page under one lock: the page is of one moment.
	s.mu.RLock()
	defer s.mu.RUnlock()

	if q.compare != nil {
		return orderedPage[T, P](s, table, q, scope)
	}

	var out []*T
	var last uint64
	for _, r := range s.list(table, q.parent).after(cur.after) {
		if r.dead {
			continue
		}
		m := decode[T, P](r)
		if !matches(q.meaning, &occView{other: P(m).ProtoReflect()}) {
			continue
		}

		if len(out) == limit {
			return out, cursor{after: last}.token(scope), nil
		}
		out, last = append(out, m), r.seq
	}
	return out, "", nil
}

// orderedPage is a page of a list in another order than that of creation. The caller holds the store's lock.
func orderedPage[T any, P interface {
	*T
	proto.Message
}](s *store, table string, q objectQuery, scope string) ([]*T, string, error) {
	var all []*T
	for _, r := range s.list(table, q.parent).after(0) {
		if r.dead {
			continue
		}
		if m := decode[T, P](r); matches(q.meaning, &occView{other: P(m).ProtoReflect()}) {
			all = append(all, m)
		}
	}

	// Stable: what the order leaves open stays in the order of creation.
	slices.SortStableFunc(all, func(a, b *T) int { return q.compare(P(a).ProtoReflect(), P(b).ProtoReflect()) })
	return slicePage(all, scope, q.size, q.token)
}
