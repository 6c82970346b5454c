# --- fetching -----------------------------------------------------------------

# fetch URL FILE [HEADERS]: downloads over whichever of curl and wget is here.
fetch() {
	if have curl; then
		curl -fsSL --connect-timeout 20 --speed-time 60 --speed-limit 1 \
			-D "${3:-/dev/null}" -o "$2" "$1" 2>"$WORK/fetch.err"
	elif wget --help 2>&1 | grep -q BusyBox; then
		# No -T: builds without it crash on the option.
		wget -S -O "$2" "$1" 2>"$WORK/fetch.err"
	else
		wget -nv -S -T 60 -t 2 -O "$2" "$1" 2>"$WORK/fetch.err"
	fi || return 1
	if [ -n "${3:-}" ] && ! have curl; then cp "$WORK/fetch.err" "$3"; fi
}

# fetch_error prints why the last fetch failed, on one line.
fetch_error() { tail -n 3 "$WORK/fetch.err" 2>/dev/null | tr '\n' ' '; }

sha256_of() { sha256sum <"$1" | cut -d ' ' -f 1; }

# take_archive leaves the agent's archive at $WORK/agent.tar, checked: its SHA-256
# is pinned in this script, whose own is pinned in the pasted command; and where
# OpenSSL 3 is, the controller's release key must have signed it as well. It is
# taken from the file $ARCHIVE when that is said.
take_archive() {
	if [ -n "$ARCHIVE" ]; then
		say "taking the agent $VERSION for linux/$ARCH from $ARCHIVE"
		cp "$ARCHIVE" "$WORK/agent.tar" || die "could not read $ARCHIVE"
		got=$(sha256_of "$WORK/agent.tar")
		[ "$got" = "$ARTIFACT_SHA256" ] ||
			die "the SHA-256 of $ARCHIVE is $got, not $ARTIFACT_SHA256: it is not the agent this script is for; nothing was run"
	else
		say "downloading the agent $VERSION for linux/$ARCH ($((ARTIFACT_SIZE / 1024)) KiB)"
		fetch "$CONTROLLER_URL$ARTIFACT_PATH" "$WORK/agent.tar" ||
			die "could not download $CONTROLLER_URL$ARTIFACT_PATH: $(fetch_error)"
		got=$(sha256_of "$WORK/agent.tar")
		[ "$got" = "$ARTIFACT_SHA256" ] ||
			die "the agent's SHA-256 is $got, not $ARTIFACT_SHA256: it was changed or cut short on its way; nothing was run"
	fi
	check_signature
}

# check_signature checks that the controller's release key signed the artifact.
# Where OpenSSL cannot (Ed25519 needs version 3), the digest has to do: the chain
# from the pasted command to it is complete.
check_signature() {
	if ! openssl pkeyutl -help 2>&1 | grep -q -e -rawin; then
		say "SHA-256 is right; signature not checked: OpenSSL 3 is not here (package openssl)"
		return 0
	fi
	if [ -n "$ARCHIVE" ]; then
		cp "$ARCHIVE.sig" "$WORK/agent.sig" 2>/dev/null || die "there is no signature beside the archive: $ARCHIVE.sig"
	else
		fetch "$CONTROLLER_URL$ARTIFACT_PATH.sig" "$WORK/agent.sig" ||
			die "could not download the agent's signature $CONTROLLER_URL$ARTIFACT_PATH.sig: $(fetch_error)"
	fi
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
