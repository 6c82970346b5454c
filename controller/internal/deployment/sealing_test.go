package deployment_test

import (
	"github.com/google/uuid"

	"fairlead.dev/shared/seal"
)

// realSealer is what the controller seals with.
type realSealer struct{}

func (realSealer) Seal(publicKey, value string) (string, error) { return seal.Seal(publicKey, value) }

func (realSealer) Check(sealed string) error { return seal.Check(sealed) }

// sealingKey installs an agent with a key of its own on the node, in the place
// of the one before.
func (w *world) sealingKey() seal.Key {
	w.t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.rows.Exec(w.t.Context(), "update agents set revoked_at = now() where node_id = $1", w.node)
	if err == nil {
		_, err = w.rows.Exec(w.t.Context(), `insert into agents (id, node_id, key_hash, certificate_not_after, enrolled_at, sealing_key)
			values ($1, $2, $3, now() + interval '1 day', now(), $4)`, uuid.New(), w.node, []byte(key.Public()), key.Public())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// instanceSecrets returns what is stored of an instance.
func (w *world) instanceSecrets(id uuid.UUID) string {
	w.t.Helper()
	var text string
	if err := w.rows.QueryRow(w.t.Context(), "select config::text from instances where id = $1", id).Scan(&text); err != nil {
		w.t.Fatal(err)
	}
	return text
}
