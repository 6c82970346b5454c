package artifact

import (
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/release"
)

// SignScript returns a detached signature over an install script for "ssh" or
// "minisign". Invalid for another tool.
func (l *Library) SignScript(tool string, script []byte) ([]byte, error) {
	d, err := release.DigestsOf(script)
	if err != nil {
		return nil, err
	}
	switch tool {
	case "ssh":
		return release.SignSSH(l.key, d)
	case "minisign":
		return release.SignMinisign(l.key, d, "file:install.sh")
	default:
		return nil, apperr.InvalidField("signature", tool, "must be ssh or minisign")
	}
}
