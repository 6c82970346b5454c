#!/bin/sh
# ensure-postgres.sh: makes sure that PostgreSQL's server programs are on this
# machine, for controllers and tests that run their own servers. Says nothing
# when they are. Otherwise installs the package postgresql (Debian, as root)
# without the server that Debian would create and keep running.
set -eu

CONF=/etc/postgresql-common/createcluster.conf

say() { printf 'ensure-postgres: %s\n' "$*" >&2; }

present() {
	for folder in "$(dirname "$(command -v postgres 2>/dev/null || echo /nowhere/postgres)")" \
		/usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /usr/local/bin /opt/homebrew/bin; do
		if [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ]; then return 0; fi
	done
	return 1
}

restore() { if [ -e "$CONF.fairlead" ]; then mv "$CONF.fairlead" "$CONF"; fi; }

main() {
	if present; then return 0; fi
	here=$(dirname "$0")
	"$here/apt-install.sh" postgresql-common
	# Only for this installation: the machine's own setting comes back after it.
	trap restore EXIT
	cp -p "$CONF" "$CONF.fairlead"
	printf '\ncreate_main_cluster = false\n' >>"$CONF"
	"$here/apt-install.sh" postgresql
	if ! present; then
		say "the package postgresql is installed, but initdb and postgres are not in /usr/lib/postgresql/*/bin"
		exit 1
	fi
	say "installed PostgreSQL's server programs; no server was created or started"
}

main "$@"
