package state

import (
	"crypto/x509"
	"fmt"

	"fairlead.dev/shared/pki"
)

// fileTrust has every root the agent trusts, once its controller changed them.
// The root it enrolled with stays in a file of its own, where an older build
// looks for it.
const fileTrust = folderIdentity + "/trust.pem"

// SetTrust keeps the roots that the agent is to trust from now on. When it
// returns nil they are on the disk.
func (d *Dir) SetTrust(roots []*x509.Certificate) error {
	var chain [][]byte
	for _, root := range roots {
		chain = append(chain, root.Raw)
	}
	return d.write(fileTrust, pki.EncodeCertificates(chain...))
}

// trust returns the roots that SetTrust kept; ok is false when it kept none.
func (d *Dir) trust() (roots []*x509.Certificate, ok bool, err error) {
	text, ok, err := d.read(fileTrust)
	if err != nil || !ok {
		return nil, false, err
	}
	if roots, err = pki.DecodeCertificates(text); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", fileTrust, err)
	}
	return roots, true, nil
}
