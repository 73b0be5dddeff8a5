package posture

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture/dockerfile"
)

// buildRules are about Dockerfiles. Where the gate sees the same thing in an image, the rule has the name of the gate's
// code.
func buildRules() []rule {
	on := func(id, means string, judge func(*judging) answer) rule {
		return rule{id: id, means: means, judge: judge, on: []string{kindDockerfile}}
	}
	return []rule{
		on(string(attestor.CodeUserNotSet), "the last stage sets USER", userSet),
		on(string(attestor.CodeUserRoot), "the image's user is not root", userNotRoot),
		on(string(attestor.CodeUserNotNumeric), "the image's user is a number, which Kubernetes can tell from root",
			userNumeric),
		on(string(attestor.CodeGroupRoot), "the image's group is not root", groupNotRoot),
		on("BASE_BY_DIGEST", "every image that the build takes is named by digest", basesByDigest),
		on(string(attestor.CodeBaseNotApproved), "the base is one of those that a policy approves", baseApproved),
		on("BASE_SLIM", "the base has no more than the program needs", baseSlim),
		on(string(attestor.CodeSecretFound), "no secret is in a variable, a command, a label or a copied file",
			noSecretsBuilt),
		on("CONTEXT_IGNORED", ".dockerignore keeps secrets, keys and history out of what is copied", contextIgnored),
		on("DOWNLOAD_VERIFIED", "what the build downloads is checked before it is used", downloadsVerified),
		on("PACKAGES_CLEANED", "package managers leave no caches in the image", packagesCleaned),
		on("ENTRYPOINT_EXEC", "the program is started without a shell, so that it receives signals", entrypointExec),
		on("DOCKERFILE_LINT", "BuildKit's linter has no warning", linted),
	}
}

// user is the image's user: the last USER of the last stage, or of a stage of the file that it is built upon.
func (b *build) user() *dockerfile.Word {
	for _, s := range b.Chain() {
		if s.User != nil {
			return s.User
		}
	}
	return nil
}

// base is what the image is built upon.
func (b *build) base() dockerfile.Word {
	chain := b.Chain()
	return chain[len(chain)-1].Base
}

var userRemedy = remedy{dockerfile: "USER 65532:65532"}

// userSet asks that the file says the user. A base may have one; only "nonroot" in its tag says so.
func userSet(c *judging) answer {
	switch base := c.s.build.base(); {
	case c.s.build.user() != nil:
		return satisfied("USER is set")
	case strings.Contains(base.Text, ":nonroot"):
		return satisfied("the base %s has a user that is not root", clip(base.Text))
	}

	return violated("USER with a number in the last stage", userRemedy,
		fault{found: "no USER is set, so that the base's user runs " +
			"the program, which is root by default"})
}

// userParts are the user and the group of USER, where it is set and known.
func userParts(c *judging) (user, group string, missing *answer) {
	u := c.s.build.user()
	switch {
	case u == nil:
		a := satisfied("no USER is set; see USER_NOT_SET")
		return "", "", &a
	case !u.Known:
		a := missingEvidence("USER has a variable without a value", "give the ARG a default, or write the number")
		return "", "", &a
	}

	user, group, _ = strings.Cut(u.Text, ":")

	return user, group, nil
}

func userNotRoot(c *judging) answer {
	user, _, missing := userParts(c)
	if missing != nil {
		return *missing
	}

	// "00" and "+0" are 0 as well; an empty name is the base's user.
	n, err := strconv.ParseInt(user, 10, 64)
	// The administrator of a Windows image is its root.
	administrator := strings.EqualFold(user, "ContainerAdministrator") || strings.EqualFold(user, "Administrator")
	if strings.EqualFold(user, "root") || administrator || user == "" || err == nil && n == 0 {
		return violated("a user that is not root", userRemedy, fault{subject: user, found: "USER is " + quote(user)})
	}

	return satisfied("USER is %s", clip(user))
}

func userNumeric(c *judging) answer {
	user, _, missing := userParts(c)
	if missing != nil {
		return *missing
	}
	if _, err := strconv.ParseUint(user, 10, 32); err != nil {
		return violated("a number", userRemedy, fault{subject: user, found: "USER is " + quote(user)})
	}

	return satisfied("USER is a number")
}

// groupNotRoot is about a group that is written. Without one the group is that of the user in /etc/passwd, or else 0,
// and only the image shows which.
func groupNotRoot(c *judging) answer {
	_, group, missing := userParts(c)
	if missing != nil {
		return *missing
	}

	n, err := strconv.ParseInt(group, 10, 64)
	if strings.EqualFold(group, "root") || err == nil && n == 0 {
		return violated("a group that is not root", userRemedy,
			fault{subject: group, found: "USER has the group " + quote(group)})
	}
	if group == "" {
		return satisfied("no group is written; the gate looks it up in the image")
	}

	return satisfied("the group is %s", clip(group))
}

// basesByDigest asks for a digest in every FROM, COPY --from and RUN --mount: of intermediate stages too, whose
// programs make what gets into the image.
func basesByDigest(c *judging) answer {
	var faults []fault
	unknown := false
	for i := range c.s.build.Stages {
		s := &c.s.build.Stages[i]
		images := slices.Clone(s.Images)
		if s.Parent < 0 {
			images = append(images, s.Base)
		}

		for _, img := range images {
			if img.Text == "scratch" {
				continue
			}

			// A tag is a fault; a variable without a value may turn out to be a digest.
			if _, pinned := asImage(qualified(img.Text)); !pinned {
				unknown = unknown || !img.Known
				if img.Known {
					faults = append(faults, fault{subject: img.Text, found: line(img.Line) + quote(img.Text)})
				}
			}
		}
	}

	switch {
	case len(faults) > 0:
		return violated("NAME@sha256:DIGEST, so that a moved tag changes nothing",
			remedy{dockerfile: "FROM IMAGE:TAG@sha256:DIGEST"}, faults...)
	case unknown:
		return missingEvidence("a base is a variable without a value", "give the ARG a default that names a digest")
	}

	return satisfied("every image is named by digest")
}

func line(n int) string { return "line " + strconv.Itoa(n) + ": " }

// baseApproved asks for a base of the policy's catalogue. The gate proves by layers or signatures what this file
// claims.
func baseApproved(c *judging) answer {
	base := c.s.build.base()
	if c.bases == nil {
		return missingEvidence("no policy says which bases are approved", "pass --policy FILE")
	}
	if !base.Known {
		return missingEvidence("the base is a variable without a value", "give the ARG a default")
	}

	approved, known := approves(c.bases, base.Text)

	var names []string
	for _, b := range c.bases {
		names = append(names, b.Name)
	}

	switch {
	case approved:
		return satisfied("the base %s is approved", clip(base.Text))
	case !known:
		return missingEvidence("the base "+quote(base.Text)+" is named by digest alone, and the policy approves tags",
			"write the tag before the digest: IMAGE:TAG@sha256:DIGEST")
	}

	return violated("one of "+clip(strings.Join(names, ", ")), remedy{dockerfile: "FROM an approved base"},
		fault{subject: base.Text, found: "the base is " + quote(base.Text)})
}

var slim = regexp.MustCompile(
	`(?i)scratch|distroless|slim|alpine|minimal|micro|static|wolfi|chainguard|busybox|nonroot|nanoserver`)

// slimFamily are folders of registries that hold small images alone.
var slimFamily = regexp.MustCompile(`(^|/)(distroless|chainguard)/`)

// full are repositories of images that are whole systems, unless their tag says otherwise.
var full = regexp.MustCompile(
	`(^|/)(debian|ubuntu|centos|fedora|rockylinux|almalinux|amazonlinux|oraclelinux|opensuse|node|python|ruby|golang|` +
		`rust|openjdk|eclipse-temurin|php|perl|gcc|buildpack-deps|debian1[0-9]|ubuntu[0-9]{4}|ubi[0-9]?)$`)

// baseSlim knows well-known images by their names. Of others nothing is known, and nothing is reported.
func baseSlim(c *judging) answer {
	base := c.s.build.base()
	name, _, _ := strings.Cut(base.Text, "@")
	repository, _, _ := strings.Cut(path.Base(name), ":")

	switch {
	case !base.Known:
		return missingEvidence("the base is a variable without a value", "give the ARG a default")
	case slim.MatchString(path.Base(name)), slimFamily.MatchString(name):
		return satisfied("the base %s is small", clip(name))
	case full.MatchString(repository):
		return violated("a base without what only a build needs, such as distroless or a -slim tag",
			remedy{dockerfile: "FROM gcr.io/distroless/static-debian13:nonroot@sha256:DIGEST"},
			fault{subject: base.Text, found: "the base " + quote(name) + " is a whole system"})
	}

	return satisfied("the base %s is not known to be a whole system", clip(name))
}

// entrypointExec asks for the JSON form: a shell does not hand on the signals that stop a container.
func entrypointExec(c *judging) answer {
	for _, s := range c.s.build.Chain() {
		// Without an ENTRYPOINT the CMD is the program, and otherwise its arguments.
		for name, run := range map[string]*dockerfile.Run{"ENTRYPOINT": s.Entrypoint, "CMD": s.Command} {
			if run != nil && run.Shell && (name == "ENTRYPOINT" || s.Entrypoint == nil) {
				return violated("the JSON form", remedy{dockerfile: name + ` ["/program", "argument"]`},
					fault{subject: name, found: line(run.Line) + name + " is in the shell form"})
			}
		}

		// What a base sets is replaced by this one.
		if s.Entrypoint != nil {
			break
		}
	}

	return satisfied("no shell stands between the platform and the program")
}

// linted passes BuildKit's warnings on, but those that rules of their own are about.
func linted(c *judging) answer {
	var faults []fault
	for _, l := range c.s.build.Lint {
		switch l.Rule {
		case "SecretsUsedInArgOrEnv", "JSONArgsRecommended":
			continue
		}
		faults = append(faults, fault{subject: l.Rule, found: line(l.Line) + clip(l.Message) + " (" + l.Rule + ")"})
	}

	if len(faults) > 0 {
		return violated("no warning", remedy{dockerfile: "see docs.docker.com/reference/build-checks/"}, faults...)
	}

	return satisfied("BuildKit's linter has no warning")
}

var (
	// By a pipe, or by what a shell is given to run.
	pipedToShell = regexp.MustCompile(
		`\b(curl|wget)\b[^|;&\n]*\|\s*(sudo\s+(-\S+\s+)*)?(env\s+)?(/\S*/)?` +
			`((ba|da|z|k)?sh|python[0-9.]*|perl|ruby|node|php)\b|` +
			`\b((ba|da|z|k)?sh|eval|source|exec)\b[^;&|\n]*[$<]\(\s*(curl|wget)\b|` +
			"\\b((ba|da|z|k)?sh|eval|source|exec)\\b[^;&|\\n]*`\\s*(curl|wget)\\b")
	insecure = regexp.MustCompile(
		`\bcurl\b[^|;&\n]*\s(-[fsSLlgiIjJnNqRvOZ0-9#]*k[fsSLlgiIjJnNqRvOZ0-9#]*|--insecure)(\s|$)|` +
			`\bwget\b[^|;&\n]*--no-check-certificate|--trusted-host\b|--allow-unauthenticated\b|--force-yes\b|` +
			`--nogpgcheck\b|--allow-untrusted\b`)
	commit = regexp.MustCompile(`#[0-9a-f]{40}\b`)
)

// downloadsVerified asks that ADD of an address has a checksum, or a commit, and that no download is run as it comes.
func downloadsVerified(c *judging) answer {
	var faults []fault
	for i := range c.s.build.Stages {
		s := &c.s.build.Stages[i]
		for _, a := range s.Copies {
			for _, source := range a.Sources {
				if a.Add && isRemote(source) && a.Checksum == "" && !commit.MatchString(source) {
					faults = append(faults,
						fault{subject: source, found: line(a.Line) + "ADD of an address without --checksum"})
				}
			}
		}

		for _, r := range s.Runs {
			switch text := r.Text(); {
			case pipedToShell.MatchString(text):
				faults = append(faults, fault{subject: "RUN", found: line(r.Line) + "a download is run as it comes"})
			case insecure.MatchString(text):
				faults = append(faults, fault{subject: "RUN", found: line(r.Line) + "a download is not checked"})
			}
		}
	}

	if len(faults) > 0 {
		return violated("a checksum, or a commit", remedy{dockerfile: "ADD --checksum=sha256:DIGEST ADDRESS /FILE"},
			faults...)
	}

	return satisfied("no download is used unchecked")
}

func isRemote(source string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "git@", "ssh://"} {
		if strings.HasPrefix(strings.ToLower(source), prefix) {
			return true
		}
	}
	return false
}

// A manager is a package manager: how it installs, and what shows that it leaves nothing.
type manager struct {
	name    string
	install *regexp.Regexp
	clean   *regexp.Regexp
	cache   string // a cache mount that keeps its files out of the image
}

func managers() []manager {
	of := func(name, install, clean, cache string) manager {
		return manager{name, regexp.MustCompile(install), regexp.MustCompile(clean), cache}
	}

	return []manager{
		of("apt", `\bapt(-get)?\b[^;&|\n]*\binstall\b`, `rm\s+-\S*r\S*\s[^;&|\n]*/var/lib/apt`, "/var/lib/apt"),
		of("apk", `\bapk\b[^;&|\n]*\badd\b`, `--no-cache|rm\s+-\S*r\S*\s[^;&|\n]*/var/cache/apk`, "/var/cache/apk"),
		of("dnf", `\b(micro)?dnf\b[^;&|\n]*\binstall\b`,
			`dnf\s[^;&|\n]*clean\s+all|rm\s+-\S*r\S*\s[^;&|\n]*/var/cache`, "/var/cache/dnf"),
		of("yum", `\byum\b[^;&|\n]*\binstall\b`,
			`yum\s[^;&|\n]*clean\s+all|rm\s+-\S*r\S*\s[^;&|\n]*/var/cache`, "/var/cache/yum"),
		of("pip", `\bpip3?\b[^;&|\n]*\binstall\b`,
			`--no-cache-dir|PIP_NO_CACHE_DIR|pip3?\s+cache\s+purge`, "/root/.cache/pip"),
	}
}

// packagesCleaned looks at the stages that become the image. A later RUN cannot take files out of an earlier layer, so
// that each command has to clean up itself.
func packagesCleaned(c *judging) answer {
	var faults []fault
	for _, s := range c.s.build.Chain() {
		// A variable such as PIP_NO_CACHE_DIR holds for every RUN of the stage.
		environment := ""
		for _, v := range s.Env {
			environment += " " + v.Name
		}

		for _, r := range s.Runs {
			text := r.Text()
			for _, m := range managers() {
				mounted := slices.ContainsFunc(r.Caches, func(target string) bool {
					return target == m.cache || strings.HasPrefix(target, m.cache+"/") ||
						strings.HasPrefix(m.cache, target+"/")
				})
				if m.install.MatchString(text) && !m.clean.MatchString(text+environment) && !mounted {
					faults = append(faults,
						fault{subject: m.name, found: line(r.Line) + m.name + " leaves its cache in the image"})
				}
			}
		}
	}

	if len(faults) > 0 {
		return violated("the cache removed in the same RUN, or mounted",
			remedy{dockerfile: "RUN apt-get update && apt-get install -y " +
				"--no-install-recommends PACKAGE && rm -rf /var/lib/apt/lists/*"}, faults...)
	}

	return satisfied("no package manager leaves a cache")
}

// contextFiles are files that no image needs, one for each kind.
func contextFiles() []string {
	return []string{".git/config", ".env", "config/.env.production", "server.key", "certs/server.pem",
		"id_rsa", "keystore.p12"}
}

// contextIgnored asks that where whole folders of the context are copied, .dockerignore keeps out what no image needs.
func contextIgnored(c *judging) answer {
	b := c.s.build
	whole := ""
	for i := range b.Stages {
		for _, cp := range b.Stages[i].Copies {
			for _, source := range cp.Sources {
				if cp.From == "" && !cp.Later && !isRemote(source) && wholeContext(source) {
					whole = cmp.Or(whole, line(cp.Line)+"the whole context is copied")
				}
			}
		}
	}

	const want = ".git, .env, *.key, *.pem, *.p12 and id_rsa in .dockerignore"
	switch {
	case whole == "":
		return satisfied("only named files of the context are copied")
	case b.ignore == nil:
		return missingEvidence(whole+", and no .dockerignore was given",
			"pass the .dockerignore too; without one, write it")
	}

	var faults []fault
	for _, file := range contextFiles() {
		if !b.ignore.Excludes(file) {
			faults = append(faults, fault{subject: file, found: quote(file) + " is not kept out"})
		}
	}

	if len(faults) > 0 {
		return violated(want, remedy{dockerfile: ".git\n**/.env*\n**/*.key\n**/*.pem\n**/*.p12\n**/id_rsa* # in " +
			".dockerignore"}, faults...)
	}

	return satisfied("%s keeps secrets, keys and history out", clip(b.ignored))
}

// wholeContext reports whether a source of COPY is the context itself, or a pattern that takes what no image needs.
func wholeContext(source string) bool {
	clean := strings.TrimPrefix(path.Clean("/"+source), "/")
	first, _, _ := strings.Cut(clean, "/")
	if first == "" || first == "**" {
		return true
	}

	return strings.ContainsAny(first, "*?[") && slices.ContainsFunc(contextFiles(), func(file string) bool {
		top, _, _ := strings.Cut(file, "/")
		match, err := path.Match(first, top)
		return match && err == nil
	})
}
