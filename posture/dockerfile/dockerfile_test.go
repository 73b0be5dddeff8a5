package dockerfile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor/posture/dockerfile"
)

const example = `# syntax=docker/dockerfile:1
ARG BASE=debian:12
ARG PORT
FROM golang:1.26 AS Build
ARG BASE
RUN --mount=type=cache,target=/go/pkg make
FROM ${BASE}
ARG UNKNOWN
ENV APP=/srv
COPY --from=build /app $APP
COPY --from=docker.io/library/busybox:1 /bin/sh /sh
USER ${UNKNOWN}
ENTRYPOINT exec /app
CMD ["-v"]
`

func TestParse(t *testing.T) {
	b, err := dockerfile.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	word := func(text string, known bool, line int) dockerfile.Word {
		return dockerfile.Word{Text: text, Known: known, Line: line}
	}
	user := word("", false, 12)
	want := []dockerfile.Stage{
		{Name: "build", Line: 4, Base: word("golang:1.26", true, 4), Parent: -1, Args: []dockerfile.Variable{{Name: "BASE", Line: 5}},
			Runs: []dockerfile.Run{{Words: []string{"make"}, Shell: true, Caches: []string{"/go/pkg"}, Line: 6}}},
		{Line: 7, Base: word("debian:12", true, 7), Parent: -1, Args: []dockerfile.Variable{{Name: "UNKNOWN", Line: 8}},
			Env: []dockerfile.Variable{{Name: "APP", Value: "/srv", Set: true, Line: 9}}, User: &user,
			Copies: []dockerfile.Copy{{Sources: []string{"/app"}, From: "build", Line: 10},
				{Sources: []string{"/bin/sh"}, From: "docker.io/library/busybox:1", Line: 11}},
			Images:     []dockerfile.Word{word("docker.io/library/busybox:1", true, 11)},
			Entrypoint: &dockerfile.Run{Words: []string{"exec /app"}, Shell: true, Line: 13},
			Command:    &dockerfile.Run{Words: []string{"-v"}, Line: 14}},
	}
	if d := cmp.Diff(want, b.Stages, cmpopts.IgnoreUnexported(dockerfile.Stage{}), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if b.Frontend != "docker/dockerfile:1" || len(b.Chain()) != 1 {
		t.Errorf("frontend %q, a chain of %d", b.Frontend, len(b.Chain()))
	}
}

func TestUnreadable(t *testing.T) {
	for text, want := range map[string]string{"": "", "# nothing\n": "", "RUN make\n": "line 1",
		"FROM a\nWHAT x\n": "line 2", "FROM\n": "line 1", "FROM a AS 1\n": "line 1"} {
		if _, err := dockerfile.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestIgnore(t *testing.T) {
	i, err := dockerfile.ParseIgnore([]byte("# none\n.git\n**/*.pem\n!public.pem\nsecrets/\n"))
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{".git/config": true, "a/b.pem": true, "public.pem": false, "secrets/a": true, "main.go": false} {
		if got := i.Excludes(file); got != want {
			t.Errorf("%s: %t, want %t", file, got, want)
		}
	}
	if _, err := dockerfile.ParseIgnore([]byte("[\n")); err == nil {
		t.Error("a broken pattern is accepted")
	}
}
