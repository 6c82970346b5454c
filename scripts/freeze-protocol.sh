#!/bin/sh
# freeze-protocol.sh BUF VERSION: keeps the agent protocol as it is now in
# protobuf/frozen, under the version whose protocol it is. Done once for each
# release that changed it; what was kept is never written again.
set -eu

buf=$(CDPATH='' cd "$(dirname "$1")" && pwd)/$(basename "$1")
kept=protobuf/frozen/$2.binpb
if [ -e "$kept" ]; then
	echo "$kept exists; the protocol of a version does not change" >&2
	exit 1
fi
cd protobuf
"$buf" build --exclude-source-info -o "../$kept"
