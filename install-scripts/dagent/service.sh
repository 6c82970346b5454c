# --- as a service of the host ---------------------------------------------------

# find_manager sets MANAGER to what runs services here: systemd, openrc or nothing.
find_manager() {
	MANAGER=
	if [ -d "$SYSTEMD_RUNS" ] && have systemctl; then
		MANAGER=systemd
	elif have rc-service && have rc-update && have supervise-daemon; then
		MANAGER=openrc
	fi
}

# service_file prints where the service manager looks for the service.
service_file() {
	case $MANAGER in
	systemd) printf '%s/%s.service' "$SYSTEMD_UNITS" "$CONTAINER" ;;
	openrc) printf '%s/%s' "$OPENRC_SERVICES" "$CONTAINER" ;;
	esac
}

# choose_mode decides between container and service: what was asked for, or what is
# installed.
choose_mode() {
	find_manager
	if [ -z "$MODE" ]; then
		MODE=container
		if [ -e "$ROOT_PATH/bin/dagent" ]; then MODE=service; fi
	fi
}

check_service() {
	[ "$MODE" = service ] || return 0
	if [ -z "$MANAGER" ]; then
		problem "neither systemd nor OpenRC runs this machine: install the agent as a container, without --service"
	elif [ "$(id -u)" != 0 ]; then
		problem "a service is installed by root: run this as root (sudo sh …)"
	fi
	for tool in tar gunzip sed readlink; do
		have $tool || problem "the command $tool is missing: --service needs it"
	done
	# What files of both service managers take as it is.
	case $ROOT_PATH in *[!A-Za-z0-9._/+-]*) problem "--service needs a state folder of plain letters, digits and ._+-, not $ROOT_PATH" ;; esac
	case $SOCKET in *[!A-Za-z0-9._/+-]*) problem "--service needs a socket of plain letters, digits and ._+-, not $SOCKET" ;; esac
	other=$(service_file)
	if [ -n "$other" ] && [ -e "$other" ] && ! grep -q "^# Fairlead agent of node $NODE_ID\$" "$other"; then
		problem "$other is there already and is not this node's: uninstall that first"
	fi
}

# check_service_values refuses what cannot stand in the service's file of variables.
check_service_values() {
	[ "$MODE" = service ] || return 0
	for name in $POLICY HTTPS_PROXY HTTP_PROXY NO_PROXY https_proxy http_proxy no_proxy; do
		eval "value=\${$name:-}"
		case $value in *[!A-Za-z0-9\ ._/:,@=+%*-]*) problem "$name has characters that the file of a service cannot hold" ;; esac
	done
}

# build_name is what this script's program is called beside others.
build_name() { printf 'dagent.%s' "$(printf '%s' "$ARTIFACT_SHA256" | cut -c 1-16)"; }

# installed_build is the name of the program that the service manager starts.
installed_build() { readlink "$ROOT_PATH/bin/dagent" 2>/dev/null || :; }

service_active() {
	case $MANAGER in
	systemd) systemctl is-active --quiet "$CONTAINER.service" ;;
	openrc) rc-service "$CONTAINER" status >/dev/null 2>&1 ;;
	*) return 1 ;;
	esac
}

stop_service() {
	[ -e "$(service_file)" ] || return 0
	case $MANAGER in
	systemd) systemctl stop "$CONTAINER.service" ;;
	openrc) rc-service --ifstarted "$CONTAINER" stop >/dev/null ;;
	esac
}

start_service() {
	case $MANAGER in
	systemd)
		systemctl daemon-reload &&
			systemctl enable --quiet "$CONTAINER.service" &&
			systemctl start "$CONTAINER.service"
		;;
	openrc)
		rc-update add "$CONTAINER" default >/dev/null &&
			rc-service "$CONTAINER" start >/dev/null
		;;
	esac
}

# print_variables prints what the agent is told; both service managers read it.
print_variables() {
	printf 'FAIRLEAD_STATE_DIR="%s"\nDAGENT_SECRETS_DIR="/run/%s/secrets"\nDOCKER_HOST="unix://%s"\n' "$ROOT_PATH" "$CONTAINER" "$SOCKET"
	for name in $POLICY HTTPS_PROXY HTTP_PROXY NO_PROXY https_proxy http_proxy no_proxy; do
		eval "value=\${$name:-}"
		if [ -n "$value" ]; then printf '%s="%s"\n' "$name" "$value"; fi
	done
}

# print_unit prints the service for systemd. The agent steers the engine, which can
# do anything; what is taken away here is what a fault of its own could do. Exit code
# 3 says that there is nothing to serve; 2 must not end the service, since Go's
# runtime ends with it after a panic and after the watchdog's SIGABRT.
print_unit() {
	cat <<UNIT
# Fairlead agent of node $NODE_ID
[Unit]
Description=Fairlead agent
After=network-online.target docker.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=$ROOT_PATH/bin/dagent run
EnvironmentFile=$ROOT_PATH/service.env
Restart=always
RestartSec=2
RestartPreventExitStatus=3
WatchdogSec=90
TimeoutStartSec=90
TimeoutStopSec=60
RuntimeDirectory=$CONTAINER
RuntimeDirectoryMode=0711
RuntimeDirectoryPreserve=yes
UMask=0077
ReadWritePaths=$ROOT_PATH
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
UNIT
}

# print_init prints the service for OpenRC.
print_init() {
	cat <<INIT
#!/sbin/openrc-run
# Fairlead agent of node $NODE_ID
description="Fairlead agent"
supervisor=supervise-daemon
command="$ROOT_PATH/bin/dagent"
command_args="run"
respawn_delay=2
respawn_max=0
output_log="/var/log/$CONTAINER.log"
error_log="/var/log/$CONTAINER.log"
umask=0077

depend() {
	need net
	after docker
}

start_pre() {
	checkpath --directory --mode 0711 "/run/$CONTAINER"
	set -a
	. "$ROOT_PATH/service.env"
	set +a
}

# A build that was to take over when the service was stopped ends with it.
stop_post() {
	for exe in /proc/[0-9]*/exe; do
		case \$(readlink "\$exe") in
		"$ROOT_PATH"/bin/dagent.*)
			exe=\${exe%/exe}
			kill "\${exe#/proc/}" 2>/dev/null || :
			;;
		esac
	done
}
INIT
}

# take_program puts the agent's program, out of the checked archive, beside the one
# that is there.
take_program() {
	mkdir -p "$ROOT_PATH/bin"
	BUILD=$(build_name)
	layer=$(tar -xOf "$WORK/agent.tar" manifest.json | sed -n 's/.*"Layers":\["\([^"]*\)"\].*/\1/p') || layer=
	[ -n "$layer" ] || die "the archive does not hold the agent's program"
	tar -xOf "$WORK/agent.tar" "$layer" | gunzip -c | tar -xOf - dagent >"$ROOT_PATH/bin/$BUILD.part" ||
		die "the archive does not hold the agent's program"
	[ -s "$ROOT_PATH/bin/$BUILD.part" ] || die "the archive does not hold the agent's program"
	chmod 0700 "$ROOT_PATH/bin/$BUILD.part"
	mv "$ROOT_PATH/bin/$BUILD.part" "$ROOT_PATH/bin/$BUILD"
}

# lead_to BUILD: has the service manager start it.
lead_to() {
	rm -f "$ROOT_PATH/bin/dagent.new"
	ln -s "$1" "$ROOT_PATH/bin/dagent.new"
	mv -f "$ROOT_PATH/bin/dagent.new" "$ROOT_PATH/bin/dagent"
}

start_as_service() {
	take_program
	lead_to "$BUILD"
	file=$(service_file)
	for kept in "$file" "$ROOT_PATH/service.env"; do
		if [ -e "$kept" ]; then cp -p "$kept" "$WORK/before-${kept##*/}"; fi
	done
	print_variables >"$ROOT_PATH/service.env.new"
	mv "$ROOT_PATH/service.env.new" "$ROOT_PATH/service.env"
	case $MANAGER in
	systemd)
		print_unit >"$file.new"
		chmod 0644 "$file.new"
		;;
	openrc)
		print_init >"$file.new"
		chmod 0755 "$file.new"
		;;
	esac
	mv "$file.new" "$file"
	say "starting the agent as the service $CONTAINER ($MANAGER)"
	start_service >"$WORK/start.log" 2>&1 || {
		service_words
		die "the service $CONTAINER does not start: $(tail -n 1 "$WORK/start.log")"
	}
}

service_words() {
	warn "its last log lines:"
	case $MANAGER in
	systemd) journalctl --unit "$CONTAINER.service" --lines 20 --no-pager --output cat 2>&1 | plain >&2 || : ;;
	openrc) tail -n 20 "/var/log/$CONTAINER.log" 2>&1 | plain >&2 || : ;;
	esac
}

# service_state prints of the service what is asked of a container: whether it runs,
# its restarts and its exit code.
service_state() {
	restarts=0 code=unknown seen=ended
	if [ "$MANAGER" = systemd ]; then
		restarts=$(systemctl show --property NRestarts --value "$CONTAINER.service") || restarts=0
		code=$(systemctl show --property ExecMainStatus --value "$CONTAINER.service") || code=unknown
		# Between an end and the next start.
		case $(systemctl is-active "$CONTAINER.service") in activating) seen=running ;; esac
	fi
	if service_active; then seen=running; fi
	printf '%s %s %s' $seen "${restarts:-0}" "${code:-unknown}"
}

# put_service_back has the service as it was before this run; none if there was none.
put_service_back() {
	stop_service 2>/dev/null || :
	if [ -z "$OLD_BUILD" ]; then
		remove_service
		return 0
	fi
	lead_to "$OLD_BUILD"
	file=$(service_file)
	for kept in "$file" "$ROOT_PATH/service.env"; do
		if [ -e "$WORK/before-${kept##*/}" ]; then cp -p "$WORK/before-${kept##*/}" "$kept"; fi
	done
	if [ -n "$BUILD" ] && [ "$BUILD" != "$OLD_BUILD" ]; then rm -f "$ROOT_PATH/bin/$BUILD" "$ROOT_PATH/bin/$BUILD.part"; fi
	if [ -n "$OLD_SERVICE" ] && start_service >/dev/null 2>&1; then warn "the previous agent is back"; fi
}

remove_service() {
	file=$(service_file)
	if [ -n "$file" ] && [ -e "$file" ]; then
		stop_service || :
		case $MANAGER in
		systemd) systemctl disable --quiet "$CONTAINER.service" || : ;;
		openrc) rc-update del "$CONTAINER" >/dev/null || : ;;
		esac
		rm -f "$file"
		if [ "$MANAGER" = systemd ]; then systemctl daemon-reload; fi
	fi
	rm -rf "${ROOT_PATH:?}/bin" "$ROOT_PATH/service.env" "$ROOT_PATH/service.env.new"
}
