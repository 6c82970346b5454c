package keys

import (
	"crypto/tls"
	"time"
)

// Replica makes this controller's certificate among the controllers of the
// installation, signed by the current root; see pki.Authority.Replica.
func (r *Roots) Replica(id string, notBefore, notAfter time.Time) (*tls.Certificate, error) {
	r.mu.Lock()
	authority := r.current().authority
	r.mu.Unlock()
	return authority.Replica(id, notBefore, notAfter)
}
