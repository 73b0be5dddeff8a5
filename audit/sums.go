package audit

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
)

// sumColumns are the numbers of hour_sums and day_sums.
func sumColumns() []string {
	return []string{
		"decisions", "in_earnest", "emulated", "critical", "high", "medium", "low", "minimal", "unspecified",
	}
}

// sumLevels are the severities of the last columns, in their order.
func sumLevels() [6]attestor.Severity {
	return [...]attestor.Severity{
		attestor.Critical, attestor.High, attestor.Medium, attestor.Low, attestor.Minimal, attestor.Unspecified,
	}
}

// sumOf has the numbers of sumColumns, in their order.
type sumOf [9]int64

// A sumKey is a row of hour_sums or day_sums: start counts hours or days, and
// repository is "" in hour_sums.
type sumKey struct {
	start                       int64
	repository, policy, verdict string
}

const (
	hourMicros = int64(time.Hour / time.Microsecond)
	dayMicros  = int64(tally.Day / time.Microsecond)
	dayHours   = int64(tally.Day / time.Hour)
)

// sumEarlier adds one batch of earlier decisions or images to the sums, and returns how
// many it had: 0 where all are in them.
func (s *Store) sumEarlier(ctx context.Context) (n int, err error) {
	if n, err = s.sumSome(ctx); n == 0 && err == nil {
		n, err = s.sumImages(ctx)
	}
	if n > 0 {
		n = indexBatch // there may be more
	}
	return n, err
}

// sumSome adds one batch of earlier decisions to the sums, and returns how many it had.
func (s *Store) sumSome(ctx context.Context) (n int, err error) {
	err = s.tx(ctx, "summing up decisions", func(ctx context.Context, tx *txn) error {
		if err := s.lockIndex(ctx, tx); err != nil {
			return err
		}

		batch, err := s.queuedDecisions(ctx, tx, "sum_queue", indexBatch)
		if n = len(batch); err != nil || n == 0 {
			return err
		}

		ids := make([]any, 0, n)
		for _, q := range batch {
			ids = append(ids, q.id)
		}

		// Added and taken from the queue in one transaction, so that each decision counts once, whenever the process
		// ends.
		if err := addSums(ctx, tx, counted(batch), 1); err != nil {
			return err
		}
		return deleteFrom(ctx, tx, "sum_queue", "id", ids)
	})
	return n, err
}

// summed is an error while earlier decisions are missing in the sums.
func (s *Store) summed(ctx context.Context) error {
	var waiting bool
	if err := s.from(ctx).QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sum_queue)
		OR EXISTS (SELECT 1 FROM images WHERE rank = -1)`).Scan(&waiting); err != nil {
		return err
	}
	if waiting {
		return &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "earlier decisions are still being added to the sums of the record",
			Fix:  "try again later",
		}
	}

	return nil
}

// counted are the repositories and decisions of a batch.
func counted(batch []queued) iter.Seq2[string, *attestor.Decision] {
	return func(yield func(string, *attestor.Decision) bool) {
		for _, q := range batch {
			if q.decision != nil && !yield(q.repository, q.decision) {
				return
			}
		}
	}
}

// addSums adds decisions to the sums of their hours and days. A sign of -1 takes them
// away.
func addSums(ctx context.Context, tx *txn, decisions iter.Seq2[string, *attestor.Decision], sign int64) error {
	hours, days := map[sumKey]*sumOf{}, map[sumKey]*sumOf{}
	for repository, d := range decisions {
		c, at := tally.CountOf(*d), d.Time.UnixMicro()
		policy, verdict := text(c.Policy), string(c.Verdict)
		addTo(hours, sumKey{floorDiv(at, hourMicros), "", policy, verdict}, numbersOf(c), sign)
		addTo(days, sumKey{floorDiv(at, dayMicros), repository, policy, verdict}, numbersOf(c), sign)
	}

	hourRows, dayRows := make([][]any, 0, len(hours)), make([][]any, 0, len(days))
	for key, sum := range hours {
		hourRows = append(hourRows, append([]any{key.start, key.policy, key.verdict}, sum.args()...))
	}
	for key, sum := range days {
		dayRows = append(dayRows, append([]any{key.start, key.repository, key.policy, key.verdict}, sum.args()...))
	}
	if err := addRows(ctx, tx, "hour_sums", []string{"hour", "policy", "verdict"}, hourRows); err != nil {
		return err
	}
	return addRows(ctx, tx, "day_sums", []string{"day", "repository", "policy", "verdict"}, dayRows)
}

// addRows adds rows to those with the same key.
func addRows(ctx context.Context, tx *txn, table string, key []string, rows [][]any) error {
	var set []string
	for _, c := range sumColumns() {
		set = append(set, c+" = "+table+"."+c+" + excluded."+c)
	}
	return upsert(ctx, tx, table, slices.Concat(key, sumColumns()), rows,
		"("+strings.Join(key, ", ")+") DO UPDATE SET "+strings.Join(set, ", "))
}

// floorDiv is a / b, rounded down.
func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

func addTo(sums map[sumKey]*sumOf, key sumKey, n sumOf, sign int64) {
	sum := sums[key]
	if sum == nil {
		sum = new(sumOf)
		sums[key] = sum
	}
	for i, v := range n {
		sum[i] += sign * v
	}
}

// numbersOf are the numbers of a count.
func numbersOf(c tally.DayCount) sumOf {
	out := sumOf{int64(c.Decisions), int64(c.Enforced), int64(c.Emulated)}
	for i, level := range sumLevels() {
		out[3+i] = int64(c.Findings[level]) //nolint:gosec // a sum has three numbers, and one of each level
	}
	return out
}

// args are the numbers as parameters.
func (n *sumOf) args() []any {
	out := make([]any, 0, len(n))
	for _, v := range n {
		out = append(out, v)
	}
	return out
}

// dests are where a row's numbers are scanned to.
func (n *sumOf) dests() []any {
	out := make([]any, 0, len(n))
	for i := range n {
		out = append(out, &n[i])
	}
	return out
}

// Countable reports whether [Store.Days] answers a filter.
func Countable(f Filter) bool {
	rest := f
	rest.Since, rest.Until, rest.Repository, rest.Period, rest.Visible = time.Time{}, time.Time{}, "", "", nil
	rest.Policy, rest.Verdict = "", ""

	// A policy's digest names one version of it; the sums are of all versions together.
	_, err := attestor.ParseDigest(f.Policy)
	return len(rest.Values()) == 0 && err != nil
}

func noSums() error {
	return &attestor.Error{Kind: attestor.Unsupported, Msg: "the record keeps no sums for this filter"}
}

// Days iterates over the counts of the decisions that f selects, by UTC day, policy and
// verdict, in this order. Of f, Since, Until, Repository, Policy by its name, Verdict
// and Visible are heeded; any other field is an error of kind Unsupported.
//
// The counts are exact for any Since and Until. They are read from sums by hour, or by
// day and repository where f selects repositories; only the decisions of the hours or
// days that Since and Until divide are read themselves.
func (s *Store) Days(ctx context.Context, f Filter) iter.Seq2[tally.DayCount, error] {
	return func(yield func(tally.DayCount, error) bool) {
		counts, err := s.days(ctx, f)
		for _, c := range counts {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(tally.DayCount{}, s.fail("reading sums", err))
		}
	}
}

func (s *Store) days(ctx context.Context, f Filter) ([]tally.DayCount, error) {
	if !s.none && !Countable(f) {
		return nil, noSums()
	}
	keep, err := s.kept(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := s.summed(ctx); err != nil {
		return nil, err
	}

	// Sums of all decisions are by hour, those of repositories by day.
	all := f.Repository == "" && f.Visible == nil
	unit := dayMicros
	if all {
		unit = hourMicros
	}
	whole, edges := divide(f, unit)

	sums := map[sumKey]*sumOf{}
	if all {
		err = s.readHours(ctx, f, whole, sums)
	} else {
		err = s.readDays(ctx, f, whole, keep, sums)
	}
	if err != nil {
		return nil, err
	}

	for _, edge := range edges {
		for d, err := range s.Decisions(ctx, edge) {
			if err != nil {
				return nil, err
			}
			c := tally.CountOf(d)
			addTo(sums, sumKey{c.Day.UnixMicro() / dayMicros, "", text(c.Policy), string(c.Verdict)}, numbersOf(c), 1)
		}
	}
	return dayCounts(sums, f.Verdict), nil
}

// A span is from one hour or day to before another one. noEnd is the end of one that
// has none.
type span struct{ from, to int64 }

const noEnd = int64(1) << 60

// divide returns the whole units, in microseconds, of a filter's period, and filters
// for the rest before and after them.
func divide(f Filter, unit int64) (whole span, edges []Filter) {
	f.Period = ""
	whole = span{from: -noEnd, to: noEnd}
	before, after := f, f
	if !f.Since.IsZero() {
		whole.from = -floorDiv(-f.Since.UnixMicro(), unit) // rounded up
		before.Until = time.UnixMicro(whole.from * unit)
	}
	if !f.Until.IsZero() {
		whole.to = floorDiv(f.Until.UnixMicro(), unit)
		after.Since = time.UnixMicro(whole.to * unit)
	}
	if whole.from >= whole.to {
		return span{}, []Filter{f} // no whole unit
	}

	if !f.Since.IsZero() && f.Since.Before(before.Until) {
		edges = append(edges, before)
	}
	if !f.Until.IsZero() && after.Since.Before(f.Until) {
		edges = append(edges, after)
	}
	return whole, edges
}

// narrow adds the conditions that hour_sums and day_sums share.
func narrow(st *statement, f Filter) {
	if f.Policy != "" {
		st.add(" AND policy = ?", f.Policy)
	}
	if f.Verdict != "" {
		st.add(" AND verdict = ?", string(f.Verdict))
	}
}

// readHours adds the sums of all decisions in whole hours, by day.
func (s *Store) readHours(ctx context.Context, f Filter, hours span, sums map[sumKey]*sumOf) error {
	var st statement
	st.add("SELECT hour, '', policy, verdict, "+strings.Join(sumColumns(), ", ")+
		" FROM hour_sums WHERE hour >= ? AND hour < ?", hours.from, hours.to)
	narrow(&st, f)
	return s.readSums(ctx, &st, dayHours, func(string) bool { return true }, sums)
}

// readDays adds the sums of repositories in whole days.
func (s *Store) readDays(
	ctx context.Context, f Filter, days span, keep func(string) bool, sums map[sumKey]*sumOf,
) error {
	columns := "SELECT day, repository, policy, verdict, " + strings.Join(sumColumns(), ", ") + " FROM day_sums"
	if !f.Full() {
		var st statement
		st.add(columns+" WHERE day >= ? AND day < ?", days.from, days.to)
		narrow(&st, f)
		return s.readSums(ctx, &st, 1, keep, sums)
	}

	// One repository is looked up in each day that has decisions.
	var some statement
	some.add("SELECT DISTINCT hour FROM hour_sums WHERE hour >= ? AND hour < ?",
		max(days.from, -noEnd/dayHours)*dayHours, min(days.to, noEnd/dayHours)*dayHours)
	known, err := s.numbers(ctx, &some)
	if err != nil {
		return err
	}

	// Hours become days, of which each is read once.
	for i := range known {
		known[i] = floorDiv(known[i], dayHours)
	}
	slices.Sort(known)

	for chunk := range slices.Chunk(slices.Compact(known), maxRows) {
		var st statement
		st.add(columns+" WHERE repository = ? AND day IN (", f.Repository)
		for i, day := range chunk {
			if i > 0 {
				st.add(", ")
			}
			st.add("?", day)
		}
		st.add(")")
		narrow(&st, f)
		if err := s.readSums(ctx, &st, 1, keep, sums); err != nil {
			return err
		}
	}
	return nil
}

// numbers runs a query for one column of integers.
func (s *Store) numbers(ctx context.Context, st *statement) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

// readSums adds rows to the sums of their days. A day has so many units.
func (s *Store) readSums(
	ctx context.Context, st *statement, units int64, keep func(string) bool, sums map[sumKey]*sumOf,
) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for rows.Next() {
		var key sumKey
		var n sumOf
		dests := append([]any{&key.start, &key.repository, &key.policy, &key.verdict}, n.dests()...)
		if err := rows.Scan(dests...); err != nil {
			return err
		}
		if !keep(key.repository) {
			continue
		}
		key.start, key.repository = floorDiv(key.start, units), ""
		addTo(sums, key, n, 1)
	}
	return rows.Err()
}

// dayCounts turns sums into counts, without those of no decision or of another verdict.
func dayCounts(sums map[sumKey]*sumOf, verdict attestor.Outcome) []tally.DayCount {
	var out []tally.DayCount
	for key, n := range sums {
		// A sum of no decision is what pruning left.
		if n[0] == 0 || verdict != "" && key.verdict != string(verdict) {
			continue
		}
		c := tally.DayCount{
			Day: time.UnixMicro(key.start * dayMicros).UTC(), Policy: key.policy,
			Verdict:   attestor.Outcome(key.verdict),
			Decisions: int(n[0]), Enforced: int(n[1]), Emulated: int(n[2]), Findings: map[attestor.Severity]int{},
		}
		for i, level := range sumLevels() {
			c.Findings[level] = int(n[3+i])
		}
		out = append(out, c)
	}

	slices.SortFunc(out, func(a, b tally.DayCount) int {
		return cmp.Or(a.Day.Compare(b.Day), strings.Compare(a.Policy, b.Policy),
			strings.Compare(string(a.Verdict), string(b.Verdict)))
	})
	return out
}
