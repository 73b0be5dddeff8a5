package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// TestDockerfilesThatLookRight: what a build does behind a variable, a pattern, ONBUILD or a default, by the reference of Dockerfiles.
func TestDockerfilesThatLookRight(t *testing.T) {
	const pass, deny, warn, missing, failed = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn, attestor.StatusSkipped, attestor.StatusError
	digest := "@sha256:" + strings.Repeat("a", 64)
	good := "FROM alpine:3" + digest + " AS build\nWORKDIR /src\nFROM gcr.io/distroless/static-debian13:nonroot" + digest +
		"\nUSER 65532:65532\nENTRYPOINT [\"/app\"]\n"
	in := func(line string) string { return strings.Replace(good, "WORKDIR /src", line, 1) }
	user := func(lines string) string { return strings.Replace(good, "USER 65532:65532", lines, 1) }

	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"a default of the variable's own", user("ARG U\nUSER ${U:-0}"), "USER_ROOT", deny},
		{"a default that is no root", user("ARG U\nUSER ${U:-1000}"), "USER_ROOT", pass},
		{"no default", user("ARG U\nUSER ${U}"), "USER_ROOT", missing},
		{"an argument that ENV overrides", user("ENV U=0\nARG U=1000\nUSER $U"), "USER_ROOT", deny},
		{"ENV after the argument", user("ARG U=0\nENV U=1000\nUSER $U"), "USER_ROOT", pass},
		{"ENV of the stage beneath", "FROM alpine:3" + digest + " AS a\nENV U=0\nFROM a\nARG U=1000\nUSER $U\n", "USER_ROOT", deny},
		{"the administrator of Windows", user("USER ContainerAdministrator"), "USER_ROOT", deny},
		{"a user of Windows", user("USER ContainerUser"), "USER_ROOT", pass},
		{"a user for builds upon it", "FROM alpine:3" + digest + "\nONBUILD USER 1000\n", "USER_NOT_SET", deny},

		{"an argument for builds upon it", in("ONBUILD ARG NPM_TOKEN"), "SECRET_FOUND", deny},
		{"a command for builds upon it", in("ONBUILD RUN export DB_PASSWORD=hunter2"), "SECRET_FOUND", deny},
		{"a harmless command for builds upon it", in("ONBUILD RUN make"), "SECRET_FOUND", pass},
		{"an argument of the program", user("CMD [\"--db-password=hunter2\"]"), "SECRET_FOUND", deny},
		{"two words of the program", strings.Replace(good, `["/app"]`, `["/app", "--api-token", "hunter2"]`, 1), "SECRET_FOUND", deny},
		{"a health check", user("HEALTHCHECK CMD curl -H 'Authorization: Bearer abcdefgh12345678' http://localhost"), "SECRET_FOUND", deny},
		{"a health check without one", user("HEALTHCHECK CMD [\"/app\", \"health\"]"), "SECRET_FOUND", pass},
		{"a password of a client's health check", user("HEALTHCHECK CMD [\"redis-cli\", \"-a\", \"hunter2\", \"ping\"]"), "SECRET_FOUND", deny},
		{"a password that the shell sets in", user("HEALTHCHECK CMD redis-cli -a \"$REDIS\" ping"), "SECRET_FOUND", pass},
		{"a port that looks like a password", in("RUN ssh -p 2222 host true"), "SECRET_FOUND", pass},
		{"a token of npm", in(`RUN echo "//registry.npmjs.org/:_authToken=abcdefgh" > .npmrc`), "SECRET_FOUND", deny},
		{"a here-document that is a file", in("RUN <<EOF cat > /x\npassword: hunter2\nEOF"), "SECRET_FOUND", deny},
		{"a file with a mapping", in("COPY <<EOF /x\ndb:\n  password: hunter2\nEOF"), "SECRET_FOUND", deny},
		{"keys of SSH", in("COPY .ssh/ /root/.ssh/"), "SECRET_FOUND", deny},
		{"a registry's login", in("COPY .docker/config.json /root/.docker/config.json"), "SECRET_FOUND", deny},
		{"a password in an address", in("ADD --checksum=sha256:" + strings.Repeat("a", 64) + " https://u:hunter2@x.example/f /f"), "SECRET_FOUND", deny},
		{"a secret mount", in("RUN --mount=type=secret,id=npm,env=NPM_TOKEN npm ci"), "SECRET_FOUND", pass},

		{"a download that a shell is given", in(`RUN sh -c "$(curl -fsSL https://x.example)"`), "DOWNLOAD_VERIFIED", deny},
		{"a download in place of a file", in("RUN bash <(curl -s https://x.example)"), "DOWNLOAD_VERIFIED", deny},
		{"a download for another language", in("RUN curl -s https://x.example | python3 -"), "DOWNLOAD_VERIFIED", deny},
		{"a download of a key", in("RUN curl -fsSL https://x.example/k | gpg --dearmor -o /k.gpg"), "DOWNLOAD_VERIFIED", pass},
		{"an unchecked origin among other flags", in("RUN curl -sk https://x.example -o x"), "DOWNLOAD_VERIFIED", deny},
		{"an address in a variable", in("ARG U=https://x.example/a.tgz\nADD $U /a"), "DOWNLOAD_VERIFIED", deny},
		{"a download for builds upon it", in("ONBUILD ADD https://x.example/a.tgz /a"), "DOWNLOAD_VERIFIED", deny},

		{"the context in a variable", in("ARG D=.\nCOPY $D /x"), "CONTEXT_IGNORED", missing},
		{"the context by two stars", in("COPY **/* /x"), "CONTEXT_IGNORED", missing},
		{"the context by a class", in("COPY [a-z.]* /x"), "CONTEXT_IGNORED", missing},
		{"files of one kind", in("COPY *.go /x"), "CONTEXT_IGNORED", pass},
		{"another build's context", in("ONBUILD COPY . /x"), "CONTEXT_IGNORED", pass},

		{"a whole system of a small registry", "FROM alpine-lab.example/micro/debian:12\nUSER 1\n", "BASE_SLIM", warn},
		{"a small image", "FROM cgr.dev/chainguard/python\nUSER 1\n", "BASE_SLIM", pass},
		{"a stage of the other build", in("ONBUILD COPY --from=build /x /x"), "BASE_BY_DIGEST", pass},
		{"an image of the other build", in("ONBUILD COPY --from=busybox:1 /x /x"), "BASE_BY_DIGEST", deny},
		{"a frontend that is called like BuildKit's", "# syntax=docker/dockerfile-evil:1\n" + good, posture.InputComplete, failed},
		{"BuildKit's frontend", "# syntax=docker.io/docker/dockerfile:1.7" + digest + "\n" + good, posture.InputComplete, ""},
	} {
		r := mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{{Name: "Dockerfile", Text: []byte(tt.text)}}})
		if got := worst(r, tt.rule); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.name, tt.rule, got, tt.want)
		}
	}
}
