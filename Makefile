SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# SQLite is C that a machine translated. The race detector makes it three times slower, and we look for no races in it.
UNRACED := -gcflags=modernc.org/sqlite/...=-race=false -gcflags=modernc.org/libc/...=-race=false
RACE := $(shell command -v gcc >/dev/null 2>&1 && echo -race $(UNRACED))
LINT := $(GO) tool -modfile=tools/lint/go.mod golangci-lint

.PHONY: help docs run test test-all kill soak check build bench image emulator-image release trial fuzz mutate parts clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | sort | awk -F'\t' '{printf "make %-14s %s\n", $$1, $$2}'

run: build ## the gate on this machine, with emulated Google services: no account, no cloud; ARGS="…" for attestor dev
	@bin/attestor dev $(ARGS)

test: ## every test but the slow ones, with the race detector where a C compiler is at hand
	$(GO) test $(RACE) -timeout 25m ./...

# Everything that is too slow for every change: soak, whole fault tables, what is built from source for minutes, fuzzing.
test-all: test ## every test, the slow ones too, and fuzzing
	GATE_REQUIRE_PARTS=1 GATE_TEST_ALL=1 $(GO) test -timeout 90m ./...
	$(MAKE) fuzz FUZZTIME=10s
	$(MAKE) mutate MUTATE='-sample 40 -seed 1 -for 10m'

# One batch after the other, each with the whole record verified after every ten kills and in its end. bin/kill.txt has the
# batches that are done: after an interruption the others follow. After a change of the code it begins anew.
KILLS ?= 200
kill: ## SIGKILL under load, 200 times on SQLite, on PostgreSQL and with two instances on it; goes on where it was interrupted
	@GO=$(GO) tools/kill.sh $(KILLS)

SOAK ?= 1h
soak: ## load, and then everything that can go wrong at once, for an hour each or SOAK=5m; answers, record and memory are compared
	GATE_SOAK=$(SOAK) $(GO) test ./internal/engine -run '^TestSoak' -count=1 -v -timeout 4h

# What a change must pass before anyone reads it.
check: ## what a change must pass before anyone reads it: formatting, vet, linters, vulnerabilities
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(LINT) run ./...
	tools/vulncheck.sh

docs: ## what is generated: docs/commands.md, docs/schema, and manual pages in bin/man
	$(GO) run ./cmd/attestor reference docs --man bin/man

# Without -trimpath, which only a release needs: go build, go vet and gopls then share what is compiled here. A first build
# compiles for minutes, and says how far it is.
build: ## bin/attestor
	@total=$$($(GO) list -deps ./cmd/attestor | wc -l); \
	CGO_ENABLED=0 $(GO) build -v -ldflags='$(LDFLAGS)' -o bin/attestor ./cmd/attestor 2>&1 \
	  | awk -v total="$$total" '/^[^ ]+$$/ { n++; if (n % 25 == 0) printf "compiled %d of at most %d packages: %s\n", n, total, $$0; next } { print }'; \
	exit $${PIPESTATUS[0]}

# What the gate takes, as one Markdown document, on standard output and in bin/bench.md: about six minutes on a machine that
# does nothing else. BENCH=-quick is a sample of it; docs/performance.md has the last, and the benchmarks of single functions.
bench: ## round trips, rates, CPU and memory against stand-ins, as Markdown
	@mkdir -p bin
	$(GO) run ./bench -out bin/bench.md $(BENCH)

# In a throw-away project, with the credentials of the environment; docs/trial.md says what it makes, asks and deletes.
trial: ## what the gate assumes about Google, asked of PROJECT, into trial.json; ARGS=-sweep deletes what earlier runs left
	$(GO) run ./deploy/trial -project '$(PROJECT)' -out trial.json $(ARGS)

# Every fuzz target of this module for FUZZTIME, on the cores there are. A seed that grows the corpus is not minimised for
# minutes: what makes a parser fail is small.
FUZZTIME ?= 60s
fuzz: ## every fuzz target for FUZZTIME (60s)
	@set -euo pipefail; \
	targets=$$(grep -rHoE '^func Fuzz[A-Za-z0-9]+' --include='*_test.go' --exclude-dir=tools --exclude-dir=bin --exclude-dir=dist .); \
	while IFS=: read -r file name; do \
	  pkg=$$(dirname "$$file"); name=$${name#func }; echo "fuzz $$pkg $$name"; \
	  $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$pkg" </dev/null; \
	done <<< "$$targets"

# Small changes of a package's code that its own tests do not notice; docs/testing.md has the scores. It goes on where it was
# interrupted, takes one core, and fails where a change survives in a file that decides (tools/mutate/deciding.txt).
# PACKAGE=./policy runs one package, MUTATE='-for 10m' or '-sample 50 -seed 2' a part of it.
PACKAGE ?= . ./policy ./verify ./verify/signed ./verify/provenance ./vuln ./attest ./server/identity
mutate: ## changes of the code that the tests of PACKAGE do not notice
	nice -n 19 $(GO) run ./tools/mutate -go $(GO) $(MUTATE) $(PACKAGE)

# Needs buildah, or docker with BuildKit; either makes the same bytes twice. BASE and BUILDER may name local images.
IMAGE_ARGS = --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) $(if $(BASE),--build-arg BASE=$(BASE)) $(if $(BUILDER),--build-arg BUILDER=$(BUILDER)) -t attestor:$(VERSION)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
image: ## the container image, by buildah or docker
	@if command -v buildah >/dev/null; then set -x; \
	  buildah bud --format oci --identity-label=false --timestamp $(SOURCE_DATE_EPOCH) $(IMAGE_ARGS) .; \
	else set -x; docker build --provenance=false --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(IMAGE_ARGS) .; fi

# On the gate's image of the same version.
emulator-image: ## the image of the emulator, for other people's CI, on the gate's own
	@if command -v buildah >/dev/null; then set -x; \
	  buildah bud --format oci --build-arg GATE=attestor:$(VERSION) -t attestor-emulator:$(VERSION) deploy/emulator; \
	else set -x; docker build --build-arg GATE=attestor:$(VERSION) -t attestor-emulator:$(VERSION) deploy/emulator; fi

# Binaries and image for two architectures, SBOM, provenance, checksums, into dist/.
release: ## binaries, images, SBOM, provenance and checksums, into dist/
	VERSION=$(VERSION) tools/release/release.sh

# Debian's packages that the tests take as real parts, and what axe needs.
parts: ## install what the tests need beside Go, as root on Debian
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  gcc libc6-dev xz-utils curl jq openssl gnupg postgresql-15 chromium-headless-shell buildah >/dev/null
	command -v npm >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null
	cd audit/testdata/browser && npm ci --ignore-scripts --no-audit --no-fund --silent

clean: ## remove bin/ and dist/
	rm -rf bin dist
