# --- the image, out of a registry ----------------------------------------------

# check_image leaves REPOSITORY without tag and digest: what is pulled has the
# digest that this script pins.
check_image() {
	[ "$MODE" = container ] ||
		problem "--image is for an agent in a container: a service takes its program out of the archive; leave --image out, or run the agent in a container (--container)"
	[ -n "${IMAGE_DIGEST:-}" ] || problem "this script pins no image to be pulled: leave --image out"
	case $REPOSITORY in
	-* | *[!A-Za-z0-9._/:@-]*)
		problem "--image: $REPOSITORY has characters that do not belong there"
		;;
	*@"${IMAGE_DIGEST:-}") ;;
	*@*) problem "--image: $REPOSITORY is not the agent that this script is for, which is ${REPOSITORY%%@*}@${IMAGE_DIGEST:-}" ;;
	esac
	REPOSITORY=${REPOSITORY%%@*}
	case ${REPOSITORY##*/} in *:*) REPOSITORY=${REPOSITORY%:*} ;; esac
}

# pull_image has the engine pull the agent from a registry, by the digest that is
# pinned in this script, whose own is pinned in the pasted command; and looks at
# what the engine has then. The image goes by the name that it has out of the
# archive, and by no other.
pull_image() {
	pulled=$REPOSITORY@$IMAGE_DIGEST
	say "pulling the agent $VERSION for linux/$ARCH: $pulled"
	docker pull --quiet "$pulled" >/dev/null 2>"$WORK/pull.err" || not_pulled "$(tail -n 1 "$WORK/pull.err" | plain)"
	got=$(docker image inspect --format '{{.Id}}' "$pulled" 2>/dev/null) || got=
	# An engine that keeps images as registries do has them by the digest.
	if [ "$got" != "$IMAGE_ID" ] && [ "$got" != "$IMAGE_DIGEST" ]; then
		docker image rm "$pulled" >/dev/null 2>&1 || :
		die "what the engine pulled is ${got:-nothing}, not $IMAGE_ID: it is not the agent this script is for; nothing was run"
	fi
	docker tag "$pulled" "$IMAGE"
	docker image rm "$pulled" >/dev/null 2>&1 || warn "the image's name $pulled stays: docker image rm it with the agent"
	say "the image is the one that this script pins"
}

# not_pulled WHY says what to do about it.
not_pulled() {
	case $1 in
	*unauthorized* | *denied* | *'no basic auth credentials'* | *'authentication required'*)
		die "the registry does not give $pulled to $(id -un): docker login first, as that user ($1)"
		;;
	*'manifest unknown'* | *'name unknown'* | *'not found'*)
		die "the registry has no $pulled: controller artifacts push dagent $REPOSITORY brings it there, from where the controller's archives of the version $VERSION are ($1)"
		;;
	esac
	die "could not pull $pulled; nothing was run: $1"
}
