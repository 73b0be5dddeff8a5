#!/usr/bin/env bash
# kill.sh KILLS: runs TestKill in batches of 20 until KILLS kills are done on each database. bin/kill.txt has a line for each
# batch that passed, so that an interrupted run goes on where it was.
set -euo pipefail

kills=$1
batch=20
done_file=bin/kill.txt
mkdir -p bin
touch "$done_file"

for part in sqlite postgres two_instances; do
	while (($(grep -c "^$part " "$done_file" || true) * batch < kills)); do
		seed=$((RANDOM * 32768 + RANDOM + 1))
		echo "kill: $part, $(($(grep -c "^$part " "$done_file" || true) * batch)) of $kills, GATE_KILL_SEED=$seed"
		GATE_REQUIRE_PARTS=1 GATE_KILLS=$batch GATE_KILL_SEED=$seed \
			"${GO:-go}" test ./internal/engine -count=1 -timeout 30m -run "^TestKill\$/^$part\$"
		echo "$part $batch GATE_KILL_SEED=$seed $(date -u +%FT%TZ)" >>"$done_file"
	done
done
awk '{n[$1] += $2} END {for (p in n) printf "%s: %d kills\n", p, n[p]}' "$done_file" | sort
