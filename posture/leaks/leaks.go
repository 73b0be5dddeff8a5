// Package leaks finds secrets in texts by the rules of gitleaks: the form of the tokens of some two hundred services,
// the words that must stand beside them, and the least entropy of what they match. It looks at one value at a time, and
// never returns it.
package leaks

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
)

// maxText bounds the text that is searched at a time; pieces of a longer one have overlap bytes in common, which is more
// than a token has, so that each token is whole in one of them.
const (
	maxText = 64 << 10
	overlap = 16 << 10
)

// A Detector holds the rules. It is safe for concurrent use.
type Detector struct {
	rules   []rule
	allowed allowed // of every rule
}

type rule struct {
	id       string
	re       *regexp.Regexp
	group    int
	entropy  float64
	keywords []string // in lower case; one must be in the text
	allowed  []allowed
}

// allowed are matches that are no secrets: examples and placeholders.
type allowed struct {
	secrets, matches []*regexp.Regexp // of the secret, and of the whole match or line
	words            []string
}

// The document of rules, as far as it is about contents.
type document struct {
	Allowlist allowlist
	Rules     []struct {
		ID          string
		Regex       string
		SecretGroup int
		Entropy     float64
		Keywords    []string
		Allowlists  []allowlist
	}
}

type allowlist struct {
	RegexTarget string
	Regexes     []string
	StopWords   []string
	Paths       []string
	Condition   string
}

// New compiles the rules that gitleaks has by default.
func New() (*Detector, error) {
	var doc document
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &doc); err != nil {
		return nil, fmt.Errorf("reading the rules of gitleaks: %w", err)
	}

	d := &Detector{}
	var err error
	if d.allowed, err = compile(doc.Allowlist); err != nil {
		return nil, err
	}

	for _, r := range doc.Rules {
		// Rules about names of files have no expression; the generic one is about names
		// of variables, which are judged elsewhere.
		if r.Regex == "" || r.ID == "generic-api-key" {
			continue
		}

		one := rule{id: r.ID, group: r.SecretGroup, entropy: r.Entropy}
		if one.re, err = regexp.Compile(r.Regex); err != nil {
			return nil, fmt.Errorf("rule %s of gitleaks: %w", r.ID, err)
		}
		for _, word := range r.Keywords {
			one.keywords = append(one.keywords, strings.ToLower(word))
		}

		for _, list := range r.Allowlists {
			// A list that also asks for a path is about files, of which there are none here.
			if len(list.Paths) > 0 && list.Condition == "AND" {
				continue
			}
			a, err := compile(list)
			if err != nil {
				return nil, err
			}
			one.allowed = append(one.allowed, a)
		}

		d.rules = append(d.rules, one)
	}

	return d, nil
}

func compile(list allowlist) (a allowed, err error) {
	for _, text := range list.Regexes {
		re, err := regexp.Compile(text)
		if err != nil {
			return a, fmt.Errorf("an allowed pattern of gitleaks: %w", err)
		}
		if list.RegexTarget == "match" || list.RegexTarget == "line" {
			a.matches = append(a.matches, re)
		} else {
			a.secrets = append(a.secrets, re)
		}
	}

	for _, word := range list.StopWords {
		a.words = append(a.words, strings.ToLower(word))
	}

	return a, nil
}

// Rules is how many kinds of secrets are known.
func (d *Detector) Rules() int { return len(d.rules) }

// Find returns the kind of the first secret in a text, such as "github-pat", or "". Some kinds are recognised by the name
// of the variable, so that a value is best searched as NAME = "VALUE".
func (d *Detector) Find(text string) string {
	// Nothing is left out: a secret behind a long text is as exposed as one before it.
	for len(text) > maxText {
		if kind := d.find(text[:maxText]); kind != "" {
			return kind
		}
		text = text[maxText-overlap:]
	}

	return d.find(text)
}

// find is [Detector.Find] for a text of at most maxText bytes.
func (d *Detector) find(text string) string {
	// Keywords are looked for first: most rules need no search after that.
	lower := strings.ToLower(text)
	for i := range d.rules {
		r := &d.rules[i]
		if len(r.keywords) > 0 && !slices.ContainsFunc(r.keywords, func(word string) bool {
			return strings.Contains(
				lower, word)
		}) {
			continue
		}
		if r.matches(text, d.allowed) {
			return r.id
		}
	}

	return ""
}

func (r *rule) matches(text string, everywhere allowed) bool {
	for _, m := range r.re.FindAllStringSubmatch(text, -1) {
		secret := m[0]
		switch {
		case r.group > 0 && r.group < len(m):
			secret = m[r.group]
		case r.group == 0:
			// Without a group of its own, the first that matched is the secret.
			secret = cmp.Or(append(slices.Clone(m[1:]), m[0])...)
		}

		// Texts without enough entropy, and known examples, are no secrets.
		if r.entropy > 0 && entropy(secret) <= r.entropy || everywhere.has(secret, text) {
			continue
		}
		if slices.ContainsFunc(r.allowed, func(a allowed) bool { return a.has(secret, m[0]) }) {
			continue
		}

		return true
	}

	return false
}

func (a allowed) has(secret, match string) bool {
	in := func(text string) func(*regexp.Regexp) bool {
		return func(re *regexp.Regexp) bool { return re.MatchString(text) }
	}
	lower := strings.ToLower(secret)

	return slices.ContainsFunc(a.secrets, in(secret)) || slices.ContainsFunc(a.matches, in(match)) ||
		slices.ContainsFunc(a.words, func(word string) bool { return strings.Contains(lower, word) })
}

// entropy is Shannon's, in bits for each character.
func entropy(s string) float64 {
	counts := map[rune]float64{}
	for _, r := range s {
		counts[r]++
	}

	bits := 0.0
	for _, n := range counts {
		p := n / float64(len([]rune(s)))
		bits -= p * math.Log2(p)
	}

	return bits
}
