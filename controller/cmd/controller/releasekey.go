package main

import (
	"encoding/base64"
	"fmt"
	"io"

	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/keys"
)

const releaseKeyUsage = `usage: controller release-key rotate [flags]

Replaces the key that signs install scripts and builds of the agent by another
one, which the present one signs: agents follow by that signature. Running
controllers use it once they were started again; where they keep copies of the
key folder, bring every copy up to date before. The flags are those of the
controller.
`

// releaseKeyCommand replaces the release key.
func releaseKeyCommand(args, environ []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] != "rotate" {
		fmt.Fprint(stderr, releaseKeyUsage)
		return exitUsage
	}
	c, err := config.Load(args[1:], environ)
	if err != nil {
		return misconfigured(err, releaseKeyUsage, stdout, stderr)
	}
	public, err := keys.RotateRelease(c.KeysDir)
	if err != nil {
		fmt.Fprintf(stderr, "controller: %v\n", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "the release key is %s from the next start on; back up %s\n", base64.StdEncoding.EncodeToString(public), c.KeysDir)
	return exitOK
}
