#!/bin/sh
# buf-breaking.sh BUF: fails when the agent protocol breaks what agents in the
# field were built with: every protocol in protobuf/frozen, and that of the last
# release, or, before there is one, of the main branch.
set -eu

buf=$(CDPATH='' cd "$(dirname "$1")" && pwd)/$(basename "$1")

for old in protobuf/frozen/*.binpb; do
	if ! (cd protobuf && "$buf" breaking --against "../$old"); then
		echo "the agent protocol breaks $(basename "$old" .binpb): messages only grow"
		exit 1
	fi
done

base() {
	git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null && return
	for branch in origin/main main; do
		git rev-parse --verify --quiet "$branch" && return
	done
	return 1
}

if ! base=$(base); then
	echo "there is no release and no main branch here to compare the agent protocol with"
	exit 0
fi
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
if ! git archive "$base" protobuf 2>/dev/null | tar -x -C "$old" 2>/dev/null || [ ! -e "$old/protobuf/buf.yaml" ]; then
	echo "there was no agent protocol in $base to compare with"
	exit 0
fi
cd protobuf
"$buf" breaking --against "$old/protobuf"
