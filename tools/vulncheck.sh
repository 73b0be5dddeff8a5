#!/bin/sh
# Runs govulncheck over the module and fails for every reachable vulnerability
# that docs/vulnerabilities.md does not justify, and for every justification
# that is no longer needed.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
db=""
if ! curl -fsS --max-time 5 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then
	tar -C "$work" -xJf tools/vulndb/govulndb-*.tar.xz
	db="-db=file://$(dirname "$(dirname "$(find "$work" -path '*/index/db.json')")")"
	echo "vulncheck: vuln.go.dev cannot be reached; using the copy in tools/vulndb" >&2
fi
status=0
# shellcheck disable=SC2086 # db is one argument or none
go tool -modfile=tools/dev/go.mod govulncheck $db ./... >"$work/out" 2>"$work/err" || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then
	cat "$work/out" "$work/err" >&2
	exit 1
fi
sed -n 's/^Vulnerability #[0-9]*: //p' "$work/out" | sort -u >"$work/found"

# Status 3 says that there is something. Where nothing of it can be read, nothing of it is justified either.
if [ "$status" -eq 3 ] && [ ! -s "$work/found" ]; then
	cat "$work/out" "$work/err" >&2
	echo "vulncheck: govulncheck found vulnerabilities, and its output has none in the form that is read here" >&2
	exit 1
fi
sed -n 's/^## \(GO-[0-9-]*\).*/\1/p' docs/vulnerabilities.md | sort -u >"$work/justified"
if ! comm -23 "$work/found" "$work/justified" | tee "$work/new" | grep -q .; then
	stale=$(comm -13 "$work/found" "$work/justified")
	if [ -n "$stale" ]; then
		echo "vulncheck: docs/vulnerabilities.md justifies what is no longer reachable:" $stale >&2
		exit 1
	fi
	echo "vulncheck: $(wc -l <"$work/found") reachable, all justified in docs/vulnerabilities.md"
	exit 0
fi
cat "$work/out"
echo "vulncheck: reachable and not justified:" $(cat "$work/new") >&2
exit 1
