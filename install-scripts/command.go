package installscripts

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// commandBody downloads the script, checks its digest and runs it, as root when
// there is sudo. It must not hold a single quote: it becomes one word between
// two of them, which every shell, fish included, reads the same way. In it %s
// is the script's URL and its digest.
const commandBody = `set -eu; umask 077; d=$(mktemp -d); trap "rm -rf \"$d\"" EXIT; trap "exit 130" INT TERM HUP; u="%s"; ` +
	`if command -v curl >/dev/null; then curl -fsSL -o "$d/install.sh" "$u"; else wget -q -O "$d/install.sh" "$u"; fi || ` +
	`{ echo "fairlead: could not fetch the script, so nothing was run; it is served until it has been used, and no longer than its token is good: make a new one, or run the install.sh that the agent keeps in its folder" >&2; exit 1; }; ` +
	`s=$(sha256sum <"$d/install.sh"); if [ "${s%%%% *}" != %s ]; then echo "fairlead: the script is not the one this command is for; nothing was run" >&2; exit 1; fi; ` +
	`s=; if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then s=sudo; [ -z "${HTTPS_PROXY:-}${https_proxy:-}${HTTP_PROXY:-}${http_proxy:-}" ] || s="sudo -E"; fi; ` +
	`$s sh "$d/install.sh" "$@"`

// Command is the one line a person pastes on the machine that becomes a node.
// It downloads the script from scriptURL with curl or wget, runs it only when
// its bytes are script, as root through sudo where needed, and leaves nothing
// behind. Options of the script, like --dry-run, may be added at its end.
func Command(scriptURL string, script []byte) (string, error) {
	if err := checkURL("scriptURL", scriptURL); err != nil {
		return "", err
	}
	if len(script) == 0 {
		return "", refuse("script", "must not be empty")
	}
	sum := sha256.Sum256(script)
	body := fmt.Sprintf(commandBody, scriptURL, hex.EncodeToString(sum[:]))
	if strings.ContainsAny(body, "'\n") {
		return "", refuse("scriptURL", "must need no quoting")
	}
	return "sh -c '" + body + "' fairlead", nil
}
