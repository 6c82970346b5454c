package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"fairlead.dev/shared/pki"
)

// openAuthority reads the private root, key and certificate in one file each
// so that the certificate can be shown around, or makes both. The certificate
// is written last: a key without one is from an interrupted first start and
// nothing was ever signed with it.
func openAuthority(keyPath, certPath string) (*pki.Authority, error) {
	if _, err := os.Lstat(certPath); errors.Is(err, fs.ErrNotExist) {
		return newAuthority(keyPath, certPath)
	}
	return readAuthority(keyPath, certPath)
}

func readAuthority(keyPath, certPath string) (*pki.Authority, error) {
	cert, err := os.ReadFile(certPath)
	if err != nil {
		return nil, fmt.Errorf("read root certificate: %w", err)
	}
	key, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, fmt.Errorf("read root key: %w", err)
	}
	root, err := pki.LoadAuthority(cert, key)
	if err != nil {
		return nil, fmt.Errorf("private root in %s and %s: %w", certPath, keyPath, err)
	}
	return root, nil
}

func newAuthority(keyPath, certPath string) (*pki.Authority, error) {
	root, err := pki.NewAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	return root, writeAuthority(root, keyPath, certPath)
}

func writeAuthority(root *pki.Authority, keyPath, certPath string) error {
	cert, key, err := root.Encode()
	if err != nil {
		return fmt.Errorf("encode the private root: %w", err)
	}
	if err := writeFile(keyPath, key); err != nil {
		return err
	}
	return writeFile(certPath, cert)
}
