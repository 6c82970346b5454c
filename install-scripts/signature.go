package installscripts

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// Statement is the text a signature over the artifact covers: what is served
// where, as which version. version is that of the Params it is rendered with.
func (a Artifact) Statement(version string) []byte {
	return fmt.Appendf(nil, "fairlead artifact v1\npath %s\nversion %s\nsha256 %s\nsize %d\n",
		a.Path, version, a.SHA256, a.Size)
}

// Sign makes the content of the file that is served at the artifact's path +
// ".sig": the base64 form of the release key's Ed25519 signature over the
// artifact's statement, and a line end.
func Sign(key ed25519.PrivateKey, artifact Artifact, version string) []byte {
	signature := ed25519.Sign(key, artifact.Statement(version))
	return append(base64.StdEncoding.AppendEncode(nil, signature), '\n')
}
