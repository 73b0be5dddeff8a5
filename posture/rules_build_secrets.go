package posture

import (
	"cmp"
	"path"
	"regexp"
	"strings"

	"github.com/attestor-gate/attestor/posture/dockerfile"
)

var (
	// A file that is copied by its name, and holds a secret by its name.
	secretFile = regexp.MustCompile(
		`(?i)^(\.env(\..+)?|id_(rsa|dsa|ecdsa|ed25519)|.*\.(pem|key|p12|pfx|jks|keystore)|\.npmrc|\.netrc|\.pypirc|` +
			`\.git-credentials|credentials(\.json)?|application_default_credentials\.json|service[-_]account.*\.json|` +
			`.*-sa-key.*\.json|kubeconfig|\.dockerconfigjson)$`)
	// Folders of credentials.
	secretFolder = regexp.MustCompile(
		`(^|/)(\.(ssh|aws|gnupg|kube|azure)|\.config/gcloud)(/|$)|(^|/)\.docker/config\.json$`)
	harmlessFile = regexp.MustCompile(`(?i)(example|sample|template|\.pub$|public|ca-cert|ca\.pem|cacert)`)

	// What a command sets or passes: NAME=value, and headers.
	assigned = regexp.MustCompile(
		`(?:^|[\s;&|"'(:/])_?(?:export\s+)?(?:--?)?([A-Za-z][A-Za-z0-9_-]*)=("[^"$]*"|'[^'$]*'|[^\s"'$;&|]+)`)
	authorization = regexp.MustCompile(
		`(?i)(authorization|private-token|x-api-key)\s*:\s*(bearer|basic|token)?\s*[A-Za-z0-9+/=_.-]{8,}`)
)

// noSecretsBuilt looks in every stage. Layers and build arguments of intermediate stages stay in the build's cache and
// in its provenance; a file that a later layer removes stays in the earlier one.
func noSecretsBuilt(c *judging) answer {
	var faults []fault
	add := func(subject string, at int, found string) {
		faults = append(faults, fault{subject: subject, found: line(at) + found})
	}

	b := c.s.build
	for _, v := range b.Args {
		if why := builtSecret(v.Name, v.Value, true); why != "" {
			add(v.Name, v.Line, "ARG "+clip(v.Name)+" "+why)
		}
	}

	for i := range b.Stages {
		s := &b.Stages[i]

		// A build argument is in the image's history and in its provenance, whatever
		// its default is.
		for _, v := range s.Args {
			if why := builtSecret(v.Name, v.Value, true); why != "" {
				add(v.Name, v.Line, "ARG "+clip(v.Name)+" "+why)
			}
		}
		for _, v := range s.Env {
			if why := builtSecret(v.Name, v.Value, false); why != "" {
				add(v.Name, v.Line, "ENV "+clip(v.Name)+" "+why)
			}
		}
		for _, v := range s.Labels {
			if why := cmp.Or(shaped(v.Value), structured(v.Value)); why != "" {
				add(v.Name, v.Line, "the label "+clip(v.Name)+" "+why)
			}
		}
		for _, r := range s.Runs {
			if why := commandSecret(r.Text()); why != "" {
				add("RUN", r.Line, "a command "+why)
			}
			for _, file := range r.Files {
				if m := secretProperty(file.Text); m != "" {
					add("RUN", r.Line, "a file "+m)
				}
			}
		}

		// Arguments of the program are in the image's configuration.
		for _, of := range []struct {
			name string
			run  *dockerfile.Run
		}{{"ENTRYPOINT", s.Entrypoint}, {"CMD", s.Command}, {"HEALTHCHECK", s.Health}} {
			run := of.run
			if run == nil {
				continue
			}
			if why := cmp.Or(commandSecret(run.Text()), strings.Join(argumentSecrets(run.Words), ", ")); why != "" {
				add(of.name, run.Line, of.name+" "+why)
			}
		}

		for _, cp := range s.Copies {
			for _, source := range cp.Sources {
				if why := shaped(source); why != "" {
					add("ADD", cp.Line, "an address "+why)
				}
				if cp.From == "" && secretFolder.MatchString(source) {
					add(path.Base(source), cp.Line, "copies "+quote(source)+", which holds credentials")
				}
				if name := path.Base(source); cp.From == "" && secretFile.MatchString(name) &&
					!harmlessFile.MatchString(source) {
					add(name, cp.Line, "copies "+quote(source)+", which has the name of a secret")
				}
			}
			for _, file := range cp.Files {
				if why := cmp.Or(shaped(file.Text), structured(file.Text)); why != "" {
					add(file.Name, cp.Line, "the file "+quote(file.Name)+" "+why)
				}
			}
		}
	}

	if len(faults) > 0 {
		return violated("a secret mount of the one command that needs it, and a new secret, since this one is exposed",
			remedy{
				dockerfile: "RUN --mount=type=secret,id=TOKEN,env=TOKEN COMMAND",
			}, faults...)
	}

	return satisfied("no variable, command, label or copied file looks like a secret")
}

// secretProperty says which line "NAME: VALUE" of a here-document has the name of a secret, or "". Assignments in it
// are those of a script, see commandSecret.
func secretProperty(text string) string {
	for _, m := range property.FindAllStringSubmatch(text, -1) {
		if secretive(m[1]) && !harmless(m[2]) && !strings.HasPrefix(m[2], "$") {
			return "has a field " + clip(m[1]) + ", which has the name of a secret"
		}
	}

	return ""
}

// builtSecret judges ARG and ENV. A value that is only another variable's has none of its own, but a build argument
// with the name of a secret is one that the caller passes.
func builtSecret(name, value string, argument bool) string {
	value = strings.Trim(value, `"'`)
	if argument && secretive(name) && !isSwitch(value) && !filePath.MatchString(value) {
		return "has the name of a secret"
	}
	if secretive(name) && strings.HasPrefix(value, "$") {
		return "takes a secret from a variable"
	}

	return looksSecret(name, value)
}

// commandSecret judges a shell's command: well-known forms, credentials in headers, and assignments of a fixed value to
// a name of a secret.
func commandSecret(text string) string {
	if why := shaped(text); why != "" {
		return why
	}
	if authorization.MatchString(text) {
		return "sends a credential"
	}

	for _, m := range assigned.FindAllStringSubmatch(text, -1) {
		if value := strings.Trim(m[2], `"'`); secretive(m[1]) && !harmless(value) {
			return "sets " + clip(m[1]) + ", which has the name of a secret"
		}
	}

	return clientPassword(shellWords(text))
}
