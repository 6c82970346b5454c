#!/bin/sh
# ensure-compose.sh: compiles docker compose v2 from its Go module into .tools,
# for the benchmarks that compare with it, unless it is there.
set -eu

VERSION=v2.40.3
cd "$(dirname "$0")/.."
program=$PWD/.tools/docker-compose
[ ! -x "$program" ] || exit 0
mkdir -p .tools
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
source=$(cd "$folder" && GOWORK=off GOFLAGS=-mod=mod go mod download -json "github.com/docker/compose/v2@$VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
# Its go.mod has replacements, which only count for a main module.
cp -R "$source" "$folder/compose"
chmod -R u+w "$folder/compose"
cd "$folder/compose"
GOWORK=off GOFLAGS=-mod=mod CGO_ENABLED=0 go build -trimpath -o "$program" ./cmd
