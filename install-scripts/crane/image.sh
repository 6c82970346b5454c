# --- the image ----------------------------------------------------------------

machine_arch() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64 | arm64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# save_archive is for a registry of the cluster.
save_archive() {
	ARCH=${ARCH:-$(machine_arch)}
	artifact_for "$ARCH" || die "the controller has no agent for the architecture $ARCH"
	[ ! -e "$SAVE" ] || die "$SAVE is there already"
	take_archive
	cp "$WORK/agent.tar" "$SAVE"
	say "the image $ARCHIVE_IMAGE is in $SAVE; push it where the cluster's nodes can pull it, so that it keeps"
	say "its digest, by which the agent asks for it when it is updated: as go-containerregistry's crane does,"
	say "  crane push $SAVE registry.example.org/fairlead/crane:$VERSION"
	say "and run this script with --image registry.example.org/fairlead/crane:$VERSION"
}

# load_image gives the archive to this machine's containerd, as Kubernetes uses it.
load_image() {
	take_archive
	if have k3s; then
		set -- k3s ctr
	else
		set -- ctr
	fi
	"$@" --namespace k8s.io images import "$WORK/agent.tar" >"$WORK/import.log" 2>&1 ||
		die "could not give the image to containerd: $(tail -n 1 "$WORK/import.log")"
}
