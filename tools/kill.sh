#!/usr/bin/env bash
# kill.sh KILLS: runs TestKill in batches of 20 until KILLS kills are done on each database. bin/kill.txt has a line for each
# batch that passed, so that an interrupted run goes on where it was. A batch counts for the code that it was run with.
set -euo pipefail

kills=$1
batch=20
done_file=bin/kill.txt
mkdir -p bin
touch "$done_file"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

code=$(find . -path ./bin -prune -o -type f \( -name '*.go' -o -name '*.sql' -o -name go.mod -o -name go.sum \) -print0 |
	sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
finished() { awk -v part="$1" -v code="$code" '$1 == part && $3 == code {n += $2} END {print n + 0}' "$done_file"; }

for part in sqlite postgres two_instances; do
	while (($(finished "$part") < kills)); do
		seed=$((RANDOM * 32768 + RANDOM + 1))
		echo "kill: $part, $(finished "$part") of $kills, GATE_KILL_SEED=$seed"
		GATE_REQUIRE_PARTS=1 GATE_KILLS=$batch GATE_KILL_SEED=$seed \
			"${GO:-go}" test ./internal/engine -count=1 -v -timeout 30m -run "^TestKill\$/^$part\$" >"$log" 2>&1 ||
			{ cat "$log"; exit 1; }

		# go test succeeds as well where no test has this name, and where it was skipped.
		if ! grep -q -- "--- PASS: TestKill/$part (" "$log" || ! grep -q ": $batch kills, " "$log"; then
			cat "$log"
			echo "kill: $part passed without $batch kills" >&2
			exit 1
		fi
		echo "$part $batch $code GATE_KILL_SEED=$seed $(date -u +%FT%TZ)" >>"$done_file"
	done
done
for part in sqlite postgres two_instances; do echo "$part: $(finished "$part") kills of this code"; done
