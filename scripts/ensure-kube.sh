#!/bin/sh
# ensure-kube.sh: makes sure that the programs are on this machine which a test
# cluster of Kubernetes takes from Debian: containerd, runc and what sets
# networks up. Says nothing when they are there; otherwise installs them, as
# root. It starts nothing: each cluster has a containerd of its own.
set -eu

PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in containerd:containerd ctr:containerd runc:runc ip:iproute2 nft:nftables iptables:iptables; do
	command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
# shellcheck disable=SC2086 # one word a package
exec "$(dirname "$0")/apt-install.sh" $missing
