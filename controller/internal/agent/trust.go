package agent

import "github.com/google/uuid"

// Trust is which private roots an agent said it trusts, in a session.
type Trust struct {
	AgentID uuid.UUID
	Epoch   int64
	// Roots are SHA-256 of certificates, in hex.
	Roots []string
}
