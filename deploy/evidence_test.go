package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Evidence is what the configuration comes to, rather than its text: the examples' plans, the project that gcloud.sh made, and
// parsed documents.
type evidence struct {
	t          *testing.T
	dirs       map[string]dir
	one, split *plan
	ran        *cloud
}

func newEvidence(t *testing.T) *evidence {
	t.Helper()
	e := &evidence{t: t, dirs: readDirs(t)}
	e.one = planExample(t, e.dirs, oneProject, `{}`)
	e.split = planExample(t, e.dirs, splitProjects, everyOption)
	return e
}

// script is the project that gcloud.sh made.
func (e *evidence) script() *cloud {
	if e.ran == nil {
		e.ran = newCloud(e.t)
		if err := e.ran.run(e.t, []string{"SECURITY=group:security@demo.example"}); err != nil {
			e.t.Fatal(err)
		}
	}
	return e.ran
}

// An applied says where a control stands: a file under deploy/, and what is wrong with what it comes to, or nothing.
type applied struct {
	file  string
	wrong func(e *evidence) string
}

// instance finds a resource of the first example, or of the second where it alone has it.
func (e *evidence) instance(addr string) *instance {
	if in := e.one.instances[addr]; in != nil {
		return in
	}
	return e.split.instances[addr]
}

// planned: a value of a resource, at an address in the examples' plans, is exactly this.
func planned(file, addr, path, want string) applied {
	return applied{file, func(e *evidence) string {
		in := e.instance(addr)
		if in == nil {
			return addr + " is not planned"
		}
		if got := in.text(path); got != want {
			return fmt.Sprintf("%s: %s is %q, want %q", addr, path, got, want)
		}
		return ""
	}}
}

// plannedAs is the same for a value that a pattern describes as a whole.
func plannedAs(file, addr, path, pattern string) applied {
	return applied{file, func(e *evidence) string {
		in := e.instance(addr)
		if in == nil {
			return addr + " is not planned"
		}
		if got := in.text(path); !regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(got) {
			return fmt.Sprintf("%s: %s is %q, want %s", addr, path, got, pattern)
		}
		return ""
	}}
}

// kept: terraform does not destroy a resource.
func kept(file, addr string) applied {
	return applied{file, func(e *evidence) string {
		if in := e.instance(addr); in == nil || shown(in.lifecycle["prevent_destroy"]) != "true" {
			return addr + " can be destroyed by a slip"
		}
		return ""
	}}
}

// unplanned: no example makes a resource of a kind.
func unplanned(file, kind string) applied {
	return applied{file, func(e *evidence) string {
		for _, p := range []*plan{e.one, e.split} {
			if made := p.of(kind); len(made) > 0 {
				return made[0].addr + " is planned"
			}
		}
		return ""
	}}
}

// unset: no planned service has a value at a path.
func unset(file, path string) applied {
	return applied{file, func(e *evidence) string {
		for _, in := range e.one.of("google_cloud_run_v2_service") {
			if got := in.text(path); got != "" && got != "false" {
				return fmt.Sprintf("%s: %s is %s", in.addr, path, got)
			}
		}
		return ""
	}}
}

// noVolume: no volume of a planned service is of a kind.
func noVolume(file, kind string) applied {
	return applied{file, func(e *evidence) string {
		for _, in := range e.one.of("google_cloud_run_v2_service") {
			for _, v := range list(get(in.value, "template.0.volumes")) {
				if len(list(get(v, kind))) > 0 {
					return in.addr + " mounts " + kind
				}
			}
		}
		return ""
	}}
}

// refuses: a module does not take a variable of the first example's value.
func refuses(file, module, more, message string) applied {
	return applied{file, func(e *evidence) string {
		refused := planExample(e.t, e.dirs, oneProject, more).refused
		for _, r := range refused {
			if strings.HasPrefix(r, "module."+module+".var.") && strings.Contains(r, message) {
				return ""
			}
		}
		return fmt.Sprintf("%s takes %s: refused is %q", module, more, refused)
	}}
}

// moduleRefuses: a module alone does not take a value.
func moduleRefuses(file, module, given, message string) applied {
	return applied{file, func(e *evidence) string {
		refused := planModule(e.t, e.dirs, module, given).refused
		if !strings.Contains(strings.Join(refused, "\n"), message) {
			return fmt.Sprintf("%s takes %s: refused is %q", module, given, refused)
		}
		return ""
	}}
}

// made: gcloud.sh made a resource with a flag.
func made(resource, flag, want string) applied {
	return applied{script, func(e *evidence) string {
		flags, _ := e.script().flags(resource)
		got, ok := flags[flag]
		if !ok || got != want {
			return fmt.Sprintf("%s: %s is %q, want %q", resource, flag, got, want)
		}
		return ""
	}}
}

// granted: gcloud.sh granted a role on a resource to a member, and nobody else has it there.
func granted(resource, role string, members ...string) applied {
	return applied{script, func(e *evidence) string {
		var got []string
		grants := e.script().granted(resource)
		for g := range grants {
			if r, m, _ := strings.Cut(g, " "); r == role {
				got = append(got, m)
			}
		}
		for _, m := range members {
			if !grants[role+" "+m] {
				return fmt.Sprintf("%s: %s lacks %s: %q", resource, role, m, got)
			}
		}
		if len(got) != len(members) {
			return fmt.Sprintf("%s: %s is granted to %q", resource, role, got)
		}
		return ""
	}}
}

// inYAML: a value of a YAML document, by its path (A > B > 0), is this, or matches ~this as a whole; empty: it is not there.
func inYAML(file, path, want string) applied {
	return applied{file, func(e *evidence) string {
		var doc any
		readYAML(e.t, file, &doc)
		for step := range strings.SplitSeq(path, " > ") {
			switch v := doc.(type) {
			case map[string]any:
				doc = v[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil || i >= len(v) {
					doc = nil
					continue
				}
				doc = v[i]
			default:
				doc = nil
			}
		}
		got := ""
		if doc != nil {
			got = fmt.Sprint(doc)
		}
		pattern, matches := strings.CutPrefix(want, "~")
		if matches && !regexp.MustCompile(`^(?:`+pattern+`)$`).MatchString(got) || !matches && got != want {
			return fmt.Sprintf("%s is %q, want %q", path, got, want)
		}
		return ""
	}}
}

// annotated: an annotation of a service, or with template of its revisions.
func annotated(file, annotation, want string) applied {
	return inYAML(file, "metadata > annotations > run.googleapis.com/"+annotation, want)
}

func revision(file, annotation, want string) applied {
	return inYAML(file, "spec > template > metadata > annotations > "+annotation, want)
}

func container(file, path, want string) applied {
	return inYAML(file, "spec > template > spec > containers > 0 > "+path, want)
}

// headed: a page has a section of a name.
func headed(file, pattern string) applied {
	return applied{file, func(e *evidence) string {
		for line := range strings.Lines(string(read(e.t, file))) {
			if title, is := strings.CutPrefix(strings.TrimSpace(line), "## "); is && regexp.MustCompile(pattern).MatchString(title) {
				return ""
			}
		}
		return "no section " + pattern
	}}
}

// ignored: the image's build does not see these paths, and sees what it needs.
func ignored(hidden, seen []string) applied {
	return applied{"../.dockerignore", func(e *evidence) string {
		text := string(read(e.t, "../.dockerignore"))
		for _, path := range hidden {
			if !unseen(text, path) {
				return "the build sees " + path
			}
		}
		for _, path := range seen {
			if unseen(text, path) {
				return "the build does not see " + path
			}
		}
		return ""
	}}
}

// unseen is whether a build leaves a path out: the last line that matches it, or a directory above it, decides.
func unseen(text, path string) (out bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		pattern, back := strings.CutPrefix(line, "!")
		re := strings.NewReplacer(`\*\*/`, `(?:.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(regexp.QuoteMeta(pattern))
		if regexp.MustCompile(`^` + re + `(?:/.*)?$`).MatchString(path) {
			out = !back
		}
	}
	return out
}

// instruction: the last instruction of a kind in the Dockerfile, with its arguments' defaults put in, matches as a whole.
func instruction(kind, pattern string) applied {
	return applied{"../Dockerfile", func(e *evidence) string {
		got, args := "", map[string]string{}
		for line := range strings.Lines(string(read(e.t, "../Dockerfile"))) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name, value, ok := strings.Cut(rest, "="); word == "ARG" && ok && args[name] == "" {
				args[name] = value
			}
			if word == kind {
				got = os.Expand(rest, func(name string) string { return args[name] })
			}
		}
		if !regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(got) {
			return fmt.Sprintf("%s is %q, want %s", kind, got, pattern)
		}
		return ""
	}}
}

// noCookies: no Go file of a directory sets a cookie. A control that is left out has nothing to evaluate but its absence.
func noCookies(dir string) applied {
	return applied{dir, func(e *evidence) string {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			return fmt.Sprintf("%d files, %v", len(files), err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") && regexp.MustCompile(`http\.SetCookie|"Set-Cookie"`).Match(read(e.t, f)) {
				return f + " sets a cookie"
			}
		}
		return ""
	}}
}

// everyVolume: each volume of a definition is of one kind.
func everyVolume(file, kind string) applied {
	return applied{file, func(e *evidence) string {
		var d struct {
			Spec struct {
				Template struct {
					Spec struct {
						Volumes []map[string]any `yaml:"volumes"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		readYAML(e.t, file, &d)
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v[kind] == nil {
				return fmt.Sprintf("a volume of another kind: %v", v)
			}
		}
		return ""
	}}
}

// scriptRefuses: the script ends at once with a message.
func scriptRefuses(env, message string) applied {
	return applied{script, func(e *evidence) string {
		if err := e.script().run(e.t, []string{env}, "apis"); err == nil || !strings.Contains(err.Error(), message) {
			return fmt.Sprintf("%s: %v", env, err)
		}
		return ""
	}}
}

// alone: a module called alone with these values makes a resource with these ones.
func alone(file, module, given, addr string, want map[string]string) applied {
	return applied{file, func(e *evidence) string {
		in := planModule(e.t, e.dirs, module, given).instances[addr]
		if in == nil {
			return addr + " is not planned"
		}
		for path, value := range want {
			if got := in.text(path); got != value {
				return fmt.Sprintf("%s: %s is %q, want %q", addr, path, got, value)
			}
		}
		return ""
	}}
}

// serviceInputs are the least that module service takes, with one more value.
func serviceInputs(more string) string {
	if !strings.Contains(more, "connection_string") {
		more += `, "connection_string": "postgres://gate-api%40acme.iam@127.0.0.1:5432/gate?sslmode=disable"`
	}
	digest := "@sha256:" + strings.Repeat("a", 64)
	return `{"project": "acme", "region": "us-east1", "name": "gate", "image": "gate` + digest + `", "proxy_image": "proxy` + digest + `",
		"service_account": "gate-api@acme.iam.gserviceaccount.com", "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "default_url_disabled": true,
		"network": "n", "subnetwork": "s", "connection_name": "acme:us-east1:gate", "config": "", "policies": {},
		"invokers": [], ` + more + `}`
}

// noteGrants: the note's IAM policy, in the emulator, grants a role to these members.
func noteGrants(role string, members ...string) applied {
	return applied{script, func(e *evidence) string {
		bindings, _ := e.script().rest(e.t, "POST", notePolicy+":getIamPolicy", "{}")["bindings"].([]any)
		for _, b := range bindings {
			binding, _ := b.(map[string]any)
			if got := fmt.Sprint(binding["members"]); binding["role"] == role && got == fmt.Sprint(members) {
				return ""
			}
		}
		return fmt.Sprintf("%v: no %s for %q", bindings, role, members)
	}}
}

// admits: a field of the default rule that the script gave Binary Authorization.
func admits(field, want string) applied {
	return applied{script, func(e *evidence) string {
		rule, _ := e.script().rest(e.t, "GET", admissionPolicy, "")["defaultAdmissionRule"].(map[string]any)
		if rule[field] != want {
			return fmt.Sprintf("%s is %v, want %s", field, rule[field], want)
		}
		return ""
	}}
}

func allowlisted(pattern string) applied {
	return applied{script, func(e *evidence) string {
		patterns := e.script().rest(e.t, "GET", admissionPolicy, "")["admissionWhitelistPatterns"]
		if fmt.Sprint(patterns) != fmt.Sprint([]any{map[string]any{"namePattern": pattern}}) {
			return fmt.Sprintf("the allowlist is %v", patterns)
		}
		return ""
	}}
}

// enabled: the script enabled an API.
func enabled(api string) applied { return made("services "+api+".googleapis.com", "enabled", "true") }
