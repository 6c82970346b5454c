package app

import "fairlead.dev/shared/seal"

// sealer seals secrets to nodes' keys.
type sealer struct{}

func (sealer) Seal(publicKey, value string) (string, error) { return seal.Seal(publicKey, value) }

func (sealer) Check(sealed string) error { return seal.Check(sealed) }
