#!/bin/sh
# figures.sh -bench PATTERN PACKAGE...: run benchmarks once and print the figures
# that they tell, one a line, and nothing else; when one fails, all they said.
# What is given is handed to go test.
set -eu

out=$(mktemp)
trap 'rm -f "$out"' EXIT
if ! go test -run '^$' -benchtime 1x "$@" >"$out" 2>&1; then
	cat "$out"
	exit 1
fi
sed -n 's/^figure: //p' "$out"
