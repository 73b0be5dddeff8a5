package posture

import (
	"cmp"
	"regexp"
	"strings"
)

// secretsByReference looks for secrets in variables and arguments. Definitions
// are readable to everybody with run.services.get, and are kept in repositories
// and logs. A finding names the variable and the pattern, never the value.
func secretsByReference(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	var faults []fault
	unknown, flag, holder := false, "NAME", []string(nil)
	for i, k := range c.s.containers {
		for _, v := range k.env {
			// A value that is known only after apply may be a password that Terraform
			// generates; a reference to Secret Manager is not a value.
			if v.value.unknown && v.secret == nil {
				unknown = true
			}
			if why := looksSecret(v.name, v.value.text); why != "" {
				if len(faults) == 0 {
					flag, holder = variableName(v.name), containersOf(c.s, k.name)
				}
				faults = append(faults, fault{subject: v.name, found: "the value of " + clip(v.name) + " " + why})
			}
		}
		for _, words := range append([][]string{k.args}, k.execs...) {
			for _, why := range argumentSecrets(words) {
				faults = append(faults, fault{subject: "args", found: "an argument of " + k.label(i) + " " + why})
			}
		}
		for _, file := range k.files {
			unknown = unknown || file.value.unknown
			if why := cmp.Or(shaped(file.value.text), structured(file.value.text)); why != "" {
				faults = append(faults,
					fault{subject: file.name, found: "the source file " + clip(file.name) + " " + why})
			}
		}
		for _, h := range k.headers {
			unknown = unknown || h.value.unknown
			if why := headerSecret(h.name, h.value.text); why != "" {
				faults = append(faults, fault{subject: h.name, found: "the probe header " + clip(h.name) + " " + why})
			}
		}
	}

	for _, v := range c.s.texts {
		unknown = unknown || v.value.unknown
		if why := looksSecret(v.name, v.value.text); why != "" {
			faults = append(faults, fault{subject: v.name, found: "the build variable " + clip(v.name) + " " + why})
		}
	}

	// Annotations are named by their readers: "run.googleapis.com/secrets" lists
	// references. Only the form of their values, or a field inside, counts.
	for _, v := range c.s.annotated {
		unknown = unknown || v.value.unknown && !googles(v.name)
		if why := cmp.Or(shaped(v.value.text), structured(v.value.text)); why != "" {
			faults = append(faults,
				fault{subject: v.name, found: "the annotation or label " + clip(v.name) + " " + why})
		}
	}

	// The secret of the remedy has the variable's name.
	secret := strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
	switch {
	case len(faults) > 0:
		return violated("a reference to Secret Manager, and a new secret, since this one is exposed", remedy{
			flag:       "--remove-env-vars=" + flag + " --update-secrets=" + flag + "=" + secret + ":1",
			containers: holder,
			knative: []edit{revisionField(
				[]any{map[string]any{"name": flag, "valueFrom": map[string]any{"secretKeyRef": map[string]any{
					"name": secret, "key": "1"}}}}, "containers", "[]", "env").toFill()},
			fields: []edit{field(
				[]any{map[string]any{"name": flag, "valueSource": map[string]any{"secretKeyRef": map[string]any{
					"secret": secret, "version": "1"}}}}, "template", "containers", "[]", "env").toFill()},
			function: block("service_config", block("secret_environment_variables", `key        = "`+flag+`"`,
				`project_id = "PROJECT"`,
				`secret     = "`+secret+`"`, `version    = "1"`)),
		}, faults...)
	case unknown:
		return afterApply("a variable's value")
	}

	return satisfied("no variable or argument looks like a secret")
}

// googles reports an annotation or a label whose reader is the platform: it holds a setting, such as the name of a
// database.
func googles(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return strings.HasSuffix(domain, "googleapis.com") || strings.HasSuffix(domain, "knative.dev")
}

// argumentSecrets judges the words of a command: --name=value and "--name value"
// by name and value, any other word by its form, and the whole command by its.
func argumentSecrets(words []string) []string {
	var out []string
	for i, word := range words {
		name, value, joined := strings.Cut(word, "=")
		dashed := strings.HasPrefix(word, "-")

		why := ""
		switch {
		case dashed && joined:
			why = looksSecret(strings.TrimLeft(name, "-"), value)
		case dashed && i+1 < len(words) && secretive(strings.TrimLeft(word, "-")) &&
			(!strings.HasPrefix(words[i+1], "-") || takesValue(word) && !isFlag(words[i+1])):
			// Only a name of a secret makes the next word a value: after a switch it is
			// an argument of its own.
			why = looksSecret(strings.TrimLeft(word, "-"), words[i+1])
		default:
			why = cmp.Or(shaped(word), structured(word))
		}

		if why != "" {
			out = append(out, why)
		}
	}

	// "curl -u NAME:PASSWORD": no word of it says by itself that it is a password. Which words do depends on the program,
	// which a shell may run.
	commands := [][]string{words}
	for _, word := range words {
		if strings.ContainsAny(word, " \t\n") {
			commands = append(commands, shellWords(word))
		}
	}
	if why := shaped(strings.Join(words, " ") + " "); why != "" && len(out) == 0 {
		out = append(out, why)
	}
	for _, command := range commands {
		if why := clientPassword(command); why != "" && len(out) == 0 {
			out = append(out, why)
		}
	}

	return out
}

// takesValue reports whether a flag is named for the secret itself, as --token and --api-key are. --use-token and
// --password-stdin are switches.
func takesValue(flag string) bool {
	parts := wordsOf.FindAllString(flag, -1)
	if len(parts) == 0 {
		return false
	}
	switch strings.ToLower(parts[0]) {
	case "no", "use", "with", "without", "enable", "disable", "skip", "show", "print", "require", "allow", "ask",
		"prompt", "ignore", "read", "insecure":
		return false
	}

	return secretive(parts[len(parts)-1]) || secretive(strings.Join(parts[max(0, len(parts)-2):], "_")) &&
		strings.EqualFold(parts[len(parts)-1], "key")
}

var flagForm = regexp.MustCompile(`^(-|--.*|-[A-Za-z]|-[a-z-]+=.*)$`)

// isFlag reports whether a word that begins with a dash is a flag of its own. After a flag that takes a value, a program
// takes any word for that value; -h and --all are left, since the flag before may ask for the secret.
func isFlag(word string) bool { return flagForm.MatchString(word) }

// headerSecret judges a header by name and value. The headers that carry
// credentials by definition count whatever their value is.
func headerSecret(name, value string) string {
	switch strings.ToLower(name) {
	case "authorization", "proxy-authorization", "cookie", "x-api-key":
		if value != "" {
			return "carries a credential"
		}
	}

	return looksSecret(name, value)
}

// variableName returns a name that needs no quoting in a shell, or else the
// placeholder.
func variableName(s string) string {
	if s == "" || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return "NAME"
	}
	return s
}

// secretsAsFiles advises against secrets in the environment, which child
// processes inherit and crash reports print.
func secretsAsFiles(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	var faults []fault
	var inVariables []taken
	for _, t := range c.s.secretsTaken() {
		if t.inVariable {
			inVariables = append(inVariables, t)
			faults = append(faults, fault{subject: t.name, found: "secret " + clip(t.name) + " is set in the environment"})
		}
	}

	if len(faults) == 0 {
		return satisfied("no secret is set in the environment")
	}

	return violated("the secret mounted as a file, which child processes do not inherit and crash dumps do not show",
		mountedAsFiles(c.s, inVariables), faults...)
}

// secretVersionPinned asks for versions by number. A secret without items is
// mounted at its latest version too, and so needs a version as well.
func secretVersionPinned(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	// Both ways in count: a volume is no safer than a variable here.
	var faults []fault
	var loose []taken
	unknown := false
	for _, ref := range c.s.secretsTaken() {
		before := len(faults)
		switch v := ref.version; {
		case v.unknown:
			unknown = true
		case v.text == "" || strings.EqualFold(lastPart(v.text), "latest"):
			faults = append(faults, fault{subject: ref.name,
				found: "secret " + clip(cmp.Or(ref.secret, ref.name)) + " is used at version latest"})
		case !isNumber(lastPart(v.text)):
			// An alias can be moved to another version.
			faults = append(faults, fault{subject: ref.name,
				found: "secret " + clip(cmp.Or(ref.secret, ref.name)) + " is used at version " + quote(v.text) +
					", which is not a number"})
		}
		if len(faults) > before {
			loose = append(loose, ref)
		}
	}

	switch {
	case len(faults) > 0:
		return violated("a numbered version", pinnedAt(c.s, loose), faults...)
	case unknown:
		return afterApply("a secret's version")
	}

	return satisfied("every secret has a numbered version")
}
