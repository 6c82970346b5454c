#!/bin/sh
# ensure-kwok.sh: compiles kwok, which plays nodes of a Kubernetes cluster, from
# its Go module into .tools, for the benchmark with more pods than a machine can
# run, unless it is there; and beside it the stages that its nodes and pods go
# through.
set -eu

VERSION=v0.8.0
cd "$(dirname "$0")/.."
program=$PWD/.tools/kwok
[ ! -x "$program" ] || exit 0
mkdir -p .tools
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
source=$(cd "$folder" && GOWORK=off GOFLAGS=-mod=mod go mod download -json "sigs.k8s.io/kwok@$VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
cp -R "$source" "$folder/kwok"
chmod -R u+w "$folder/kwok"
cd "$folder/kwok"
for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
	printf -- '---\n'
	cat "kustomize/stage/$stage.yaml"
done >"$program-stages.yaml"
GOWORK=off GOFLAGS=-mod=mod CGO_ENABLED=0 go build -trimpath -o "$program" ./cmd/kwok
