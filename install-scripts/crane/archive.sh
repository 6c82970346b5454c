# --- the archive ---------------------------------------------------------------

# fetch URL FILE: downloads over whichever of curl and wget is here.
fetch() {
	if have curl; then
		curl -fsSL --connect-timeout 20 --speed-time 60 --speed-limit 1 -o "$2" "$1" 2>"$WORK/fetch.err"
	else
		wget -q -O "$2" "$1" 2>"$WORK/fetch.err"
	fi
}

# fetch_error prints why the last fetch failed, on one line.
fetch_error() { tail -n 3 "$WORK/fetch.err" 2>/dev/null | tr '\n' ' '; }

machine_arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64 | arm64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# fetch_archive leaves the archive at $WORK/agent.tar, checked: its SHA-256 is
# pinned in this script, whose own is pinned in the pasted command; and where
# OpenSSL 3 is, the controller's release key must have signed it as well.
fetch_archive() {
	say "fetching the agent $VERSION ($((ARTIFACT_SIZE / 1024)) KiB)"
	fetch "$CONTROLLER_URL$ARTIFACT_PATH" "$WORK/agent.tar" ||
		die "could not download $CONTROLLER_URL$ARTIFACT_PATH: $(fetch_error)"
	got=$(sha256sum <"$WORK/agent.tar" | cut -d ' ' -f 1)
	[ "$got" = "$ARTIFACT_SHA256" ] ||
		die "the agent's SHA-256 is $got, not $ARTIFACT_SHA256: it was changed or cut short on its way; nothing was run"
	if ! openssl pkeyutl -help 2>&1 | grep -q -e -rawin; then
		say "SHA-256 is right; signature not checked: OpenSSL 3 is not here (package openssl)"
		return 0
	fi
	fetch "$CONTROLLER_URL$ARTIFACT_PATH.sig" "$WORK/agent.sig" ||
		die "could not download the agent's signature $CONTROLLER_URL$ARTIFACT_PATH.sig: $(fetch_error)"
	printf '%s' "$RELEASE_KEY" >"$WORK/release.pem"
	printf 'fairlead artifact v1\npath %s\nversion %s\nsha256 %s\nsize %s\n' \
		"$ARTIFACT_PATH" "$VERSION" "$ARTIFACT_SHA256" "$ARTIFACT_SIZE" >"$WORK/statement"
	# Written back it must be the same text: base64 has spare bits.
	if openssl base64 -d -A -in "$WORK/agent.sig" -out "$WORK/signature" 2>/dev/null &&
		[ "$(openssl base64 -A -in "$WORK/signature")" = "$(cat "$WORK/agent.sig")" ] &&
		openssl pkeyutl -verify -pubin -inkey "$WORK/release.pem" -rawin \
			-in "$WORK/statement" -sigfile "$WORK/signature" >/dev/null 2>&1; then
		say "SHA-256 and signature are right"
	else
		die "the agent's signature is not the controller's: nothing was run"
	fi
}

# save_archive is for a registry of the cluster.
save_archive() {
	artifact_for "${ARCH:-$(machine_arch)}" || die "the controller has no agent for the architecture ${ARCH:-$(machine_arch)}"
	[ ! -e "$SAVE" ] || die "$SAVE is there already"
	fetch_archive
	cp "$WORK/agent.tar" "$SAVE"
	say "the image $ARCHIVE_IMAGE is in $SAVE; push it where the cluster's nodes can pull it, for example:"
	say "  skopeo copy docker-archive:$SAVE docker://registry.example.org/fairlead/crane:$VERSION"
	say "and run this script with --image registry.example.org/fairlead/crane:$VERSION"
}

# load_image gives the archive to this machine's containerd, as Kubernetes uses it.
load_image() {
	fetch_archive
	if have k3s; then
		set -- k3s ctr
	else
		set -- ctr
	fi
	"$@" --namespace k8s.io images import "$WORK/agent.tar" >"$WORK/import.log" 2>&1 ||
		die "could not give the image to containerd: $(tail -n 1 "$WORK/import.log")"
}
