package tally

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attestor-gate/attestor"
)

// A Kind is what a fact is about.
type Kind string

// The kinds, with what their key is and what N counts.
const (
	KindImage  Kind = "image"  // no key
	KindGroup  Kind = "group"  // the repository; N: fixable findings
	KindReason Kind = "reason" // the code of a refusal; N: reasons
	KindFix    Kind = "fix"    // a fix and the code that asks for it; N: images that ask for nothing else
	// the base, whether it is outdated, and by how many days; N: findings that a rebuild may clear
	KindBase      Kind = "base"
	KindAge       Kind = "age"       // the day of an advisory, as [Published] has it, and the severity; N: findings
	KindException Kind = "exception" // an exception that was used
	KindStale     Kind = "stale"     // an exception that matched nothing, and the message
	KindDay       Kind = "day"       // a day from which images are refused, and its owner
	KindDayReason Kind = "dayReason" // the same, and the code
	KindOwner     Kind = "owner"     // the owner; N: fixable findings
	// the owner, a fix and the code that asks for it; N: images that ask for nothing else
	KindOwnerFix Kind = "ownerFix"
)

// A Fact is a part of what a line says, or of the sum of many lines. Two facts with the
// same kind and key are added up by adding their numbers, and so a record can keep sums
// of lines and take a line out of them again.
type Fact struct {
	Kind Kind
	Key  string // parts, as a list in JSON
	Numbers
}

// Numbers are how many images a fact is about, of these by verdict, and a number whose
// meaning depends on the kind.
type Numbers struct {
	Images, Passed, Refused, Undecided, N int64
}

// Add adds m, or takes it away where sign is -1.
func (n *Numbers) Add(m Numbers, sign int64) {
	n.Images += sign * m.Images
	n.Passed += sign * m.Passed
	n.Refused += sign * m.Refused
	n.Undecided += sign * m.Undecided
	n.N += sign * m.N
}

// maxPart bounds a part of a key, in bytes. A longer one is cut: rows of an index of
// PostgreSQL have 2704 bytes at most.
const maxPart = 400

// Part is a text as the key of a fact has it: cut where it is long.
func Part(p string) string {
	if len(p) <= maxPart {
		return p
	}
	cut := maxPart
	for cut > 0 && !utf8.RuneStart(p[cut]) {
		cut--
	}
	return p[:cut] + "…"
}

// key joins parts.
func key(parts ...string) string {
	for i, p := range parts {
		parts[i] = Part(p)
	}

	// Nearly all parts are plain, and a line has a hundred keys.
	if plain, ok := plainKey(parts); ok {
		return plain
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(parts); err != nil {
		panic("tally: strings do not encode")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plainKey joins parts that JSON has as they are. No parts are null there.
func plainKey(parts []string) (string, bool) {
	size := len("[]")
	for _, p := range parts {
		for i := range len(p) {
			if c := p[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
				return "", false
			}
		}
		size += len(p) + len(`"",`)
	}
	if len(parts) == 0 {
		return "", false
	}

	b := make([]byte, 0, size)
	for i, p := range parts {
		b = append(b, "[,"[min(i, 1)], '"')
		b = append(append(b, p...), '"')
	}
	return string(append(b, ']')), true
}

// partsOf is how many parts the key of each kind has.
func partsOf(k Kind) int {
	switch k {
	case KindImage:
		return 0
	case KindGroup, KindReason, KindOwner:
		return 1
	case KindFix, KindAge, KindStale, KindDay:
		return 2
	case KindBase, KindDayReason, KindOwnerFix:
		return 3
	case KindException:
		return 5
	}
	return -1
}

// Parts are the parts of the key. A kind or a form of the key that this version does not
// know is an error.
func (f Fact) Parts() ([]string, error) {
	var parts []string
	if err := json.Unmarshal([]byte(f.Key), &parts); err != nil || len(parts) != partsOf(f.Kind) {
		return nil, fmt.Errorf("a sum of kind %q has a key that this version does not know: %q", f.Kind, f.Key)
	}
	return parts, nil
}

// Facts are what a line says, in no order, but for the group that it is counted in.
//
// Records keep sums of them. Whoever changes what is here writes a migration too: it
// empties the table image_sums and sets images.rank to -1.
func Facts(l Line) []Fact {
	one := numbersOf(l.Row)
	out := []Fact{{KindImage, key(), one}}
	add := func(kind Kind, key string, n int64) {
		f := Fact{kind, key, one}
		f.N = n
		out = append(out, f)
	}

	for c, n := range l.Codes {
		add(KindReason, key(string(c)), int64(n))
	}
	for fix, c := range l.Fixes {
		alone := flag(len(l.Fixes) == 1 && !l.Unfixable)
		add(KindFix, key(fix, string(c)), alone)
		add(KindOwnerFix, key(l.Row.By(), fix, string(c)), alone)
	}
	add(KindOwner, key(l.Row.By()), int64(l.Row.Fixable))
	if l.Inspected {
		outdated, behind, clears := "", 0, 0
		if l.Row.Outdated {
			outdated, behind, clears = "outdated", l.Behind, l.Clears
		}
		add(KindBase, key(l.Row.Base, outdated, strconv.Itoa(behind)), int64(clears))
	}
	for _, p := range l.Published {
		add(KindAge, key(strconv.FormatInt(p.Day, 10), string(p.Level)), int64(p.N))
	}
	for _, a := range l.Exceptions {
		add(KindException, key(a.ID, a.Owner, a.Reason, a.Expires, strconv.FormatBool(a.Expired)), 0)
	}
	for subject, message := range l.Stale {
		add(KindStale, key(subject, message), 0)
	}

	// An image counts once for each day and once for each code of it.
	later := map[Fact]bool{}
	for _, r := range l.Upcoming {
		for _, f := range []Fact{
			{KindDay, key(r.EffectiveFrom, r.Owner), one},
			{KindDayReason, key(r.EffectiveFrom, r.Owner, string(r.Code)), one},
		} {
			if r.EffectiveFrom != "" && !later[f] {
				later[f] = true
				out = append(out, f)
			}
		}
	}
	return out
}

// GroupFact counts a line in a group.
func GroupFact(l Line, group string) Fact {
	f := Fact{KindGroup, key(group), numbersOf(l.Row)}
	f.N = int64(l.Row.Fixable)
	return f
}

// numbersOf counts one image. Any verdict but pass and error is a refusal, so that the
// three numbers add up to the number of images.
func numbersOf(r Row) Numbers {
	switch r.Verdict {
	case attestor.Pass:
		return Numbers{Images: 1, Passed: 1}
	case attestor.Undecided:
		return Numbers{Images: 1, Undecided: 1}
	}
	return Numbers{Images: 1, Refused: 1}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Rank is the place of a row among others: what needs somebody comes first.
func Rank(r Row) int {
	switch {
	case r.Overridden:
		return 0
	case r.Verdict == attestor.Pass:
		return 3
	case r.Verdict == attestor.Undecided:
		return 2
	}
	return 1
}

// Ranks is how many ranks there are.
const Ranks = 4
