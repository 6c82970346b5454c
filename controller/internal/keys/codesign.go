package keys

import (
	"crypto/tls"
	"time"
)

// CodeSigning makes a certificate that signs scripts for Windows, by the current
// root; see pki.Authority.CodeSigning.
func (r *Roots) CodeSigning(notBefore, notAfter time.Time) (*tls.Certificate, error) {
	r.mu.Lock()
	authority := r.current().authority
	r.mu.Unlock()
	return authority.CodeSigning(notBefore, notAfter)
}
