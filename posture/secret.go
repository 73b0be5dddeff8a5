package posture

import (
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/attestor-gate/attestor/posture/leaks"
)

// shapes are secrets that can be recognised by their form alone.
var shapes = []struct {
	what string
	re   *regexp.Regexp
}{
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`)},
	{"a service account key", regexp.MustCompile(`"type"\s*:\s*"(service_account|authorized_user)"`)},
	{"a Google API key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`)},
	{"a Google OAuth secret", regexp.MustCompile(`\b(GOCSPX-[0-9A-Za-z_-]{20,}|ya29\.[0-9A-Za-z_-]{20,})`)},
	{"an AWS access key", regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a GitHub token", regexp.MustCompile(`\b(gh[pousr]_[0-9A-Za-z]{30,}|github_pat_[0-9A-Za-z_]{30,})`)},
	{"a GitLab token", regexp.MustCompile(`\bglpat-[0-9A-Za-z_-]{20,}`)},
	{"a Slack token", regexp.MustCompile(`\bxox[abeoprs]-[0-9A-Za-z-]{10,}`)},
	{"a Stripe key", regexp.MustCompile(`\b[rs]k_(live|test)_[0-9A-Za-z]{10,}`)},
	{"a SendGrid key", regexp.MustCompile(`\bSG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}`)},
	{"a signed token", regexp.MustCompile(`\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}`)},
	{"a password in a URL", regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s:@]*:[^/\s@]+@`)},
	{"a password in the address of a database", regexp.MustCompile(`(^|[\s"'=])[^\s:/@"'=]+:[^\s:/@"']+@(tcp|unix)\(`)},
	{"a password in a connection string", regexp.MustCompile(`(?i)(^|[;\s])(password|pwd)\s*=\s*[^;\s]+`)},
}

var (
	// Names are split into words, so that MONKEY is no key.
	wordsOf = regexp.MustCompile(`[A-Z]+[a-z0-9]*|[a-z0-9]+`)
	// References and addresses are what stands in place of a secret.
	reference = regexp.MustCompile(`^(projects/[^/]+/(secrets|locations|topics|subscriptions|serviceAccounts|` +
		`databases|instances)/\S+|(gs|sm|gcpsm|secretmanager)://\S+|berglas://\S+|\$\{?[A-Z_]+\}?|\$\([A-Z_]+\))$`)
	filePath = regexp.MustCompile(`^(/|\./)[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+/?$`)
	digested = regexp.MustCompile(`@?sha256:[0-9a-f]{64}$`)
	uuid     = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	dense    = regexp.MustCompile(`[A-Za-z0-9+/=_-]{20,}`)
	hexRun   = regexp.MustCompile(`^[0-9a-fA-F]{32,}$`)
)

// secretive are the words that name secrets; one of describing as the last
// word says that only something about a secret is meant.
func secretive(name string) bool {
	parts := wordsOf.FindAllString(name, -1)
	for i := range parts {
		parts[i] = strings.ToLower(parts[i])
	}

	if len(parts) == 0 {
		return false
	}

	switch parts[len(parts)-1] {
	case "file", "path", "name", "url", "uri", "id", "ttl", "expiry", "expires", "expiration", "seconds", "minutes",
		"hours", "days", "length", "enabled", "disabled",
		"type", "issuer", "audience", "endpoint", "host", "port", "version", "header", "algorithm",
		"alg", "dir", "region", "project", "limit", "count", "budget":
		return false
	}

	// Between separators, so that only whole words count.
	joined := "_" + strings.Join(parts, "_") + "_"
	for _, w := range []string{
		"password", "passwords", "passwd", "passphrase", "pwd", "pass", "secret", "secrets", "token", "apikey", "apikeys",
		"credential", "credentials", "dsn", "jwt", "salt", "pat", "htpasswd",
		"creds", "cred", "passcode", "bearer", "authorization", "basic_auth", "redis_auth",
		"hmac_key", "aes_key", "cookie_key", "app_key", "crypto_key", "webhook_key", "shared_key",
		"storage_key", "ssh_key",
		"api_key", "api_keys", "private_key", "private_keys", "access_key", "access_keys", "secret_key", "secret_keys",
		"access_tokens", "auth_tokens", "api_tokens", "bearer_tokens", "refresh_tokens", "signing_key", "encryption_key", "master_key", "auth_key",
		"session_key", "service_key", "account_key", "license_key",
		"client_secret", "connection_string",
	} {
		if strings.Contains(joined, "_"+w+"_") {
			return true
		}
	}

	// Words that are written together, such as DBPASS and JWTSECRET.
	for _, part := range parts {
		for _, end := range []string{"pass", "pwd", "secret", "token"} {
			if strings.HasSuffix(part, end) && len(part) > len(end) &&
				!slices.Contains([]string{"compass", "bypass", "trespass", "surpass"}, part) {
				return true
			}
		}
	}

	for _, w := range []string{"password", "passwd", "apikey", "privatekey", "secretkey", "accesskey"} {
		if strings.Contains(strings.Join(parts, ""), w) {
			return true
		}
	}

	return false
}

// looksSecret says why a value looks like a secret, or "". The value itself is
// never part of the answer.
func looksSecret(name, value string) string {
	value = strings.TrimSpace(value)
	if why := named(name, value); why != "" {
		return why
	}

	// The order matters: a reference is no secret whatever its name is, and a secret's name counts before the forms
	// that only look random.
	switch {
	case value == "", reference.MatchString(value), filePath.MatchString(value), isSwitch(value):
		return ""
	case secretive(name):
		return "has the name of a secret"
	case digested.MatchString(value), uuid.MatchString(value), isAddress(value):
		return ""
	case random(value):
		return "is as random as a key"
	}

	return structured(value)
}

// shaped says which kind of secret a value has the form of, or "".
func shaped(value string) string { return named("", value) }

// detector has the rules of a library about the tokens of many services. They are fixed when the program is built, and
// compiled once, when the first definition is judged.
var detector = sync.OnceValues(leaks.New)

// named is shaped for the value of a variable, whose name says which service a token is of.
func named(name, value string) string {
	for _, s := range shapes {
		if s.re.MatchString(value) {
			return "has the form of " + s.what
		}
	}

	// Short values are not tokens: most values need no search.
	const shortest = 12
	if len(value) < shortest || reference.MatchString(value) || filePath.MatchString(value) {
		return ""
	}

	d, err := detector()
	if err != nil {
		return "could not be searched for secrets" // counts as one: a search that failed finds nothing
	}
	if kind := d.Find(name + ` = "` + value + `"`); kind != "" {
		return "has the form of a secret (" + kind + ")"
	}

	return ""
}

var (
	// Spaces and tabs alone stand around the sign: a line that ends with a colon begins a mapping, and has no value.
	assignment = regexp.MustCompile(`(?:^|[\s&;?,]|/:)-{0,2}_?D?([A-Za-z][A-Za-z0-9_.-]*)[ \t]*=[ \t]*([^\s&;,=][^\s&;,]*)`)
	property   = regexp.MustCompile(
		`(?m)^[ \t]*(?:-[ \t]+)*["']?([A-Za-z][A-Za-z0-9_.-]*)["']?[ \t]*:[ \t]+["']?([^\s"']+)`)
	quotedPair = regexp.MustCompile(`["']([A-Za-z][A-Za-z0-9_.-]*)["']\s*:\s*["']([^"']+)["']`)
	element    = regexp.MustCompile(`<([A-Za-z][A-Za-z0-9_.-]*)>([^<\s]+)</`)
)

// structured says which field of a structured value (JSON, properties, a query
// string, YAML) has the name of a secret, or "". Names alone count inside of a
// value: its random parts were judged with the whole.
func structured(value string) string {
	if name := documentField(value); name != "" {
		return "has a field " + clip(name) + ", which has the name of a secret"
	}

	for _, re := range []*regexp.Regexp{assignment, property, quotedPair, element} {
		for _, m := range re.FindAllStringSubmatch(value, -1) {
			if secretive(m[1]) && !harmless(m[2]) {
				return "has a field " + clip(m[1]) + ", which has the name of a secret"
			}
		}
	}

	return ""
}

// documentField is secretField of a text that is a document, or "".
func documentField(value string) string {
	if !strings.HasPrefix(value, "{") && !strings.HasPrefix(value, "[") {
		return ""
	}

	// What begins like JSON may be YAML on one line.
	docs, err := parse(Source{Text: []byte(value)})
	if err != nil && len(value) <= maxFile {
		docs, err = yamlDocuments([]byte(value))
	}
	if err != nil {
		return ""
	}

	for _, n := range docs {
		if name := secretField(n, ""); name != "" {
			return name
		}
	}

	return ""
}

// secretField returns the name of a field with the name of a secret and a text
// of its own, at any depth; depth and size are bounded by [parse].
func secretField(n *node, name string) string {
	// Names in order, so that the field that is reported is the same each time.
	switch n.kind {
	case nodeText:
		if name != "" && secretive(name) && !harmless(n.text) {
			return name
		}

		// A document within the document is shorter than what holds it, so that this ends.
		return documentField(n.text)
	case nodeList:
		for _, item := range n.items {
			if found := secretField(item, name); found != "" {
				return found
			}
		}
	case nodeMapping:
		// {"name": "password", "value": …}: a list of variables.
		if of, v := n.fields["name"], n.fields["value"]; of != nil && v != nil && of.kind == nodeText &&
			v.kind == nodeText && secretive(of.text) && !harmless(v.text) {
			return of.text
		}

		for _, key := range slices.Sorted(maps.Keys(n.fields)) {
			if found := secretField(n.fields[key], key); found != "" {
				return found
			}
		}
	}

	return ""
}

// harmless reports a value that stands in place of a secret, or names one.
func harmless(value string) bool {
	return value == "" || reference.MatchString(value) || filePath.MatchString(value) || isSwitch(value)
}

func isSwitch(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "none", "enabled", "disabled":
		return true
	}
	return false
}

// isAddress is a URL without user and query, an e-mail address, or a resource.
func isAddress(s string) bool {
	if u, err := url.Parse(s); err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && u.RawQuery == "" {
		return !random(strings.ReplaceAll(u.Path, "/", " ")) // a webhook's path may be its secret
	}
	return strings.Count(s, "@") == 1 && strings.Contains(s, ".") && !strings.ContainsAny(s, " :/")
}

// random reports whether some run of characters is denser than words are: 32
// and more hexadecimal digits, or 20 and more of base64's characters at over
// 4 bits each with letters of both cases and digits.
func random(s string) bool {
	for _, r := range dense.FindAllString(s, -1) {
		bits := entropy(r)
		mixed := strings.ContainsAny(r, "0123456789") && strings.ToLower(r) != r && strings.ToUpper(r) != r
		if hexRun.MatchString(r) && bits > 3 || mixed && bits > 4 {
			return true
		}
	}

	return false
}

// entropy is Shannon's, in bits for each character.
func entropy(s string) float64 {
	counts := map[rune]float64{}
	for _, r := range s {
		counts[r]++
	}

	bits := 0.0
	for _, n := range counts {
		p := n / float64(len(s))
		bits -= p * math.Log2(p)
	}

	return bits
}
