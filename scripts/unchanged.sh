#!/bin/sh
# unchanged.sh MESSAGE PATHS COMMAND...: runs the command and fails with the
# message and the difference when the command changed a file under one of the
# paths (one word, separated by spaces). What was uncommitted before is not
# held against it.
set -eu

message=$1
paths=$2
shift 2

# tree is the state of the paths as one object id, in an index of its own.
tree() {
	# shellcheck disable=SC2086 # a list of words
	GIT_INDEX_FILE=$index git add --force --all -- $paths
	GIT_INDEX_FILE=$index git write-tree
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
index=$scratch/index

before=$(tree)
"$@"
after=$(tree)
if [ "$before" != "$after" ]; then
	git --no-pager diff --stat "$before" "$after"
	printf '%s\n' "$message" >&2
	exit 1
fi
