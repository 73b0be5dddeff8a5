package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}

	return out
}

// TestDependencies: docs/dependencies.md has a reason for each direct
// dependency and for nothing else, and knows how many modules are linked.
func TestDependencies(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}

	if err := json.Unmarshal(goList(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}

	var direct, documented []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}

	doc := string(read(t, "../docs/dependencies.md"))
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\S.* \\|$").FindAllStringSubmatch(doc, -1) {
		documented = append(documented, m[1])
	}

	for _, m := range direct {
		if !slices.Contains(documented, m) {
			t.Errorf("docs/dependencies.md says not why there is %s", m)
		}
	}

	for _, m := range documented {
		if !slices.Contains(direct, m) {
			t.Errorf("docs/dependencies.md has %s, which go.mod does not require directly", m)
		}
	}

	modules := linked(t)
	m := regexp.MustCompile(`modules linked into the binary \| (\d+) \|`).FindStringSubmatch(doc)
	if m == nil || m[1] != strconv.Itoa(len(modules)) {
		t.Errorf("%d modules are linked, docs/dependencies.md says %q", len(modules), m)
	}
}

// linked are the modules of which anything is in the binary, and where each is.
func linked(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}

	for line := range strings.Lines(string(goList(t, "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Main}}\t{{.Dir}}{{end}}", "./cmd/attestor"))) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 3 && f[1] == "false" {
			out[f[0]] = f[2]
		}
	}
	return out
}

// licences tells allowed ones by words that only they have.
func licences() map[string]string {
	return map[string]string{
		"Apache-2.0": "Apache License, Version 2.0", "Apache-2.0 ": "Apache License Version 2.0",
		"MIT":       "Permission is hereby granted, free of charge, to any person obtaining a copy",
		"BSD":       "Redistribution and use in source and binary forms, with or without modification, are permitted",
		"ISC":       "Permission to use, copy, modify, and/or distribute this software",
		"Unlicense": "free and unencumbered software released into the public domain",
		"MPL-2.0":   "Mozilla Public License Version 2.0", "MPL-2.0 ": "Mozilla Public License, version 2.0",
	}
}

var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)(-apache-2\.0)?(\.(txt|md))?$`)

// licenceOf is "" where none is known to be allowed.
func licenceOf(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	for _, no := range []string{"GNU GENERAL PUBLIC LICENSE", "GNU LESSER GENERAL PUBLIC", "GNU AFFERO",
		"Business Source License", "Server Side Public License", "Commons Clause"} {
		if strings.Contains(strings.ToUpper(text), strings.ToUpper(no)) && !strings.Contains(text, "Mozilla Public License") { // which names them as secondary
			return ""
		}
	}

	for name, words := range licences() {
		if strings.Contains(text, words) {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// TestLicences reads the licence of every module that is linked.
func TestLicences(t *testing.T) {
	modules := linked(t)
	if len(modules) < 100 {
		t.Fatalf("only %d modules", len(modules))
	}

	for path, dir := range modules {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}

		found, allowed := 0, false
		for _, e := range entries {
			if e.IsDir() || !licenceFile.MatchString(e.Name()) {
				continue
			}

			found++
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}

			allowed = allowed || licenceOf(string(text)) != ""
		}

		if found == 0 || !allowed {
			t.Errorf("%s: %d licence files, none that is allowed", path, found)
		}
	}

	for _, text := range []string{"", "All rights reserved.", "GNU GENERAL PUBLIC LICENSE Version 3",
		"Business Source License 1.1\nApache License, Version 2.0"} {
		if l := licenceOf(text); l != "" {
			t.Errorf("%q is taken for %s", text, l)
		}
	}
}
