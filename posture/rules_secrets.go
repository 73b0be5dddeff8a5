package posture

import (
	"cmp"
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
	unknown, flag := false, "NAME"
	for i, k := range c.s.containers {
		for _, v := range k.env {
			// A value that is known only after apply may be a password that Terraform
			// generates; a reference to Secret Manager is not a value.
			if v.value.unknown && v.secret == nil {
				unknown = true
			}
			if why := looksSecret(v.name, v.value.text); why != "" {
				if len(faults) == 0 {
					flag = variableName(v.name)
				}
				faults = append(faults, fault{subject: v.name, found: "the value of " + clip(v.name) + " " + why})
			}
		}
		for _, arg := range k.args {
			if why := argumentSecret(arg); why != "" {
				faults = append(faults, fault{subject: "args", found: "an argument of " + k.label(i) + " " + why})
			}
		}
	}

	secret := strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
	switch {
	case len(faults) > 0:
		return violated("a reference to Secret Manager, and a new secret, since this one is exposed", remedy{
			flag: "--remove-env-vars=" + flag + " --update-secrets=" + flag + "=" + secret + ":1",
			yaml: "spec.template.spec.containers[].env: [{name: " + flag + ", valueFrom: {secretKeyRef: {name: " + secret +
				", key: '1'}}}]",
			v2: `"env": [{"name": "` + flag + `", "valueSource": {"secretKeyRef": {"secret": "` + secret +
				`", "version": "1"}}}]`,
			terraform: `env { name = "` + flag + `" value_source { secret_key_ref { secret = "` + secret +
				`", version = "1" } } }`,
		}, faults...)
	case unknown:
		return afterApply("a variable's value")
	}

	return satisfied("no variable or argument looks like a secret")
}

// argumentSecret judges --name=value by name and value, and any other argument
// by its form.
func argumentSecret(arg string) string {
	if name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "="); ok && strings.HasPrefix(arg, "-") {
		return looksSecret(name, value)
	}

	for _, s := range shapes {
		if s.re.MatchString(arg) {
			return "has the form of " + s.what
		}
	}

	return ""
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
	for _, k := range c.s.containers {
		for _, v := range k.env {
			if v.secret != nil {
				faults = append(faults, fault{subject: v.name, found: "secret " + clip(v.name) + " is set in the environment"})
			}
		}
	}

	if len(faults) == 0 {
		return satisfied("no secret is set in the environment")
	}

	return violated("the secret mounted as a file, which child processes do not inherit and crash dumps do not show", remedy{
		flag: "--update-secrets=/secrets/NAME=SECRET:1",
		yaml: "spec.template.spec.volumes: [{name: NAME, secret: {secretName: SECRET, items: [{key: '1', path: " +
			"NAME}]}}]",
		v2: `"volumes": [{"name": "NAME", "secret": {"secret": "SECRET", "items": [{"version": "1", "path": ` +
			`"NAME"}]}}]`,
		terraform: `volumes { name = "NAME" secret { secret = "SECRET" items { version = "1", path = "NAME" } } }`,
	}, faults...)
}

// secretVersionPinned asks for versions by number. A secret without items is
// mounted at its latest version too, and so needs a version as well.
func secretVersionPinned(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	// Both ways in count: a volume is no safer than a variable here.
	refs := append([]secretRef{}, c.s.volumes...)
	for _, k := range c.s.containers {
		for _, v := range k.env {
			if v.secret != nil {
				refs = append(refs, *v.secret)
			}
		}
	}

	var faults []fault
	unknown := false
	for _, ref := range refs {
		switch v := ref.version; {
		case v.unknown:
			unknown = true
		case v.text == "" || strings.EqualFold(v.text, "latest"):
			faults = append(faults, fault{subject: ref.name,
				found: "secret " + clip(cmp.Or(ref.secret, ref.name)) + " is used at version latest"})
		}
	}

	switch {
	case len(faults) > 0:
		return violated("a numbered version", remedy{
			flag: "--update-secrets=NAME=SECRET:1", yaml: "secretKeyRef.key, or secret.items[].key: '1'", v2: `"version": "1"`,
			terraform: `version = "1"`,
		}, faults...)
	case unknown:
		return afterApply("a secret's version")
	}

	return satisfied("every secret has a numbered version")
}
