package app

import (
	"context"
	"crypto/tls"
	"net/url"

	"golang.org/x/crypto/acme/autocert"

	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres"
	"fairlead.dev/controller/internal/rest"
	"fairlead.dev/shared/apperr"
)

// httpTLS returns the configuration of the HTTP listener, nil for none.
func (a *App) httpTLS(vault *keys.Vault) (*tls.Config, error) {
	switch a.config.HTTPTLS {
	case "files":
		files, err := rest.NewCertificateFiles(a.config.HTTPTLSCert, a.config.HTTPTLSKey)
		if err != nil {
			return nil, err
		}
		return files.TLSConfig(), nil
	case "acme":
		public, err := url.Parse(a.config.PublicURL)
		if err != nil {
			return nil, err
		}
		return rest.NewACME(rest.ACMEConfig{
			Host: public.Hostname(), Email: a.config.ACMEEmail, Directory: a.config.ACMEDirectory, RootsFile: a.config.ACMERoots,
			Cache: certificates{a.database.db, vault},
		})
	default:
		return nil, nil
	}
}

// certificates keeps certificates and their keys in the database, sealed, so
// that any controller answers the authority's challenge and one renewal serves
// all.
type certificates struct {
	db    *postgres.DB
	vault *keys.Vault
}

// Get returns what is kept under a name.
func (c certificates) Get(ctx context.Context, name string) ([]byte, error) {
	sealed, err := c.db.FindCertificate(ctx, name)
	if apperr.Is(err, apperr.NotFound) {
		return nil, autocert.ErrCacheMiss
	}
	if err != nil {
		return nil, err
	}
	content, err := c.vault.Open(certificatePurpose(name), sealed)
	return []byte(content), err
}

// Put keeps something under a name.
func (c certificates) Put(ctx context.Context, name string, content []byte) error {
	return c.db.KeepCertificate(ctx, name, c.vault.Seal(certificatePurpose(name), string(content)), now())
}

// Delete forgets what is kept under a name.
func (c certificates) Delete(ctx context.Context, name string) error {
	return c.db.DropCertificate(ctx, name)
}

func certificatePurpose(name string) string { return "http-certificate:" + name }
