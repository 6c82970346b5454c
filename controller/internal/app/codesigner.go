package app

import (
	"crypto/tls"
	"time"

	"fairlead.dev/controller/internal/config"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

// codeSigningLifetime is how long the signature of a script that stays on a
// machine is good.
const codeSigningLifetime = 2 * 365 * 24 * time.Hour

// codeSigner returns what signs PowerShell scripts: the operator's certificate,
// read anew each time, or one of the controller's own root, made for the one
// script.
func codeSigner(c config.Config, k *keys.Keys) func() (*tls.Certificate, error) {
	if c.CodeSigningCert == "" {
		return func() (*tls.Certificate, error) {
			at := now()
			return k.Roots.CodeSigning(at.Add(-pki.ClockTolerance), at.Add(codeSigningLifetime))
		}
	}
	return func() (*tls.Certificate, error) {
		signer, err := tls.LoadX509KeyPair(c.CodeSigningCert, c.CodeSigningKey)
		if err != nil {
			return nil, apperr.Wrap(apperr.Precondition, err, "the certificate that signs PowerShell scripts (FAIRLEAD_CODE_SIGNING_CERT) cannot be used")
		}
		return &signer, nil
	}
}
