package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/shared/apperr"
)

// tokenBytes is the size of an enrolment token's randomness.
const tokenBytes = 32

// Installation is one generated install script with its one-time token.
type Installation struct {
	ID     uuid.UUID
	NodeID uuid.UUID
	// TokenHash is TokenHash of the token.
	TokenHash []byte
	// Script is sealed: it holds the token.
	Script    []byte
	Command   string
	ExpiresAt time.Time
	CreatedAt time.Time
	CreatedBy string
}

// InstallOptions are the choices of an install script.
type InstallOptions struct {
	Type       Type
	ScriptType ScriptType
	// RootPath is the host folder for the agent's state; "" means the default.
	RootPath string
	// ACMEEmail is what a certificate authority is told of the node's proxy,
	// which the agent is then to run; "" means that nothing is said of it.
	ACMEEmail string
}

// ScriptType is what runs an install script.
type ScriptType string

// Types of scripts.
const (
	Shell      ScriptType = "shell"
	PowerShell ScriptType = "powershell"
)

// ScriptRequest is what an install script is rendered from.
type ScriptRequest struct {
	Type     Type
	TeamSlug string
	NodeID   uuid.UUID
	NodeName string
	// ScriptType is what runs the script; "" is the shell.
	ScriptType ScriptType
	RootPath   string
	// ACMEEmail is that of InstallOptions.
	ACMEEmail string
	Token     string
	ExpireAt  time.Time
}

// Renderer makes install scripts.
type Renderer interface {
	// Render returns the script and the one line that fetches, checks and
	// runs it. Invalid when a value can't be put into a script safely,
	// Precondition when this controller has no agent to install.
	Render(r ScriptRequest) (script []byte, command string, err error)
}

// Sealer encrypts scripts at rest.
type Sealer interface {
	Seal(purpose, text string) []byte
	Open(purpose string, sealed []byte) (string, error)
}

// TokenHash returns what is stored of an enrolment token.
func TokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// Script is a generated install script as its maker sees it.
type Script struct {
	Command  string
	Content  string
	ExpireAt time.Time
}

// CreateScript makes a node's install script; an earlier unused one stops
// working. Errors: Conflict while the node's agent is connected, Unsupported
// for scripts this controller can't make.
func (s *Service) CreateScript(ctx context.Context, id uuid.UUID, o InstallOptions) (Script, error) {
	n, err := s.find(ctx, authz.NodeInstall, id)
	if err != nil {
		return Script{}, err
	}
	team, who, err := authz.Require(ctx, authz.NodeInstall)
	if err != nil {
		return Script{}, err
	}
	if err := o.supported(); err != nil {
		return Script{}, err
	}
	now := s.Now()
	if n.Agent.Status(now) == "connected" {
		return Script{}, apperr.New(apperr.Conflict, "the node is already connected; revoke its token before installing it anew").WithField("id", id)
	}
	token := newToken()
	expireAt := now.Add(s.TokenLifetime)
	content, command, err := s.Renderer.Render(ScriptRequest{
		Type: o.Type, TeamSlug: team.Slug, NodeID: n.ID, NodeName: n.Name, ScriptType: o.ScriptType, RootPath: o.RootPath, ACMEEmail: o.ACMEEmail, Token: token, ExpireAt: expireAt,
	})
	if err != nil {
		return Script{}, err
	}
	installationID, err := uuid.NewV7()
	if err != nil {
		return Script{}, err
	}
	err = s.Store.InTx(ctx, func(ctx context.Context) error {
		if err := s.Store.SetNodeType(ctx, id, o.Type); err != nil {
			return err
		}
		err := s.Store.ReplaceInstallation(ctx, Installation{
			ID: installationID, NodeID: id, TokenHash: TokenHash(token), Script: s.Sealer.Seal(sealPurpose(id), string(content)),
			Command: command, ExpiresAt: expireAt, CreatedAt: now, CreatedBy: who.Ref(),
		})
		if err != nil {
			return err
		}
		return s.Audit.Record(ctx, authz.NodeInstall, map[string]any{"id": id, "name": n.Name, "type": o.Type})
	})
	return Script{Command: command, Content: string(content), ExpireAt: expireAt}, err
}

// ServeScript returns a node's live install script. It asks for no login: the
// node that fetches it has none, and the script works once and for minutes.
// NotFound when there is none, or it was used or has expired.
func (s *Service) ServeScript(ctx context.Context, teamSlug string, nodeID uuid.UUID) (string, error) {
	sealed, err := s.Store.FindInstallationScript(ctx, teamSlug, nodeID, s.Now())
	if apperr.Is(err, apperr.NotFound) {
		return "", apperr.New(apperr.NotFound, "there is no install script for this node: it was used, has expired, or was never made; make a new one").WithField("nodeId", nodeID)
	}
	if err != nil {
		return "", err
	}
	return s.Sealer.Open(sealPurpose(nodeID), sealed)
}

// InstallScript returns the node's live script as its maker saw it, opening
// what is stored. It returns nil when there is none.
func (s *Service) InstallScript(n Node) (*Script, error) {
	if n.Installation.ID == uuid.Nil || !s.Now().Before(n.Installation.ExpiresAt) {
		return nil, nil
	}
	content, err := s.Sealer.Open(sealPurpose(n.ID), n.Installation.Script)
	if err != nil {
		return nil, err
	}
	return &Script{Command: n.Installation.Command, Content: content, ExpireAt: n.Installation.ExpiresAt}, nil
}

// DeleteScript makes a node's unused install script useless. NotFound when
// there is none.
func (s *Service) DeleteScript(ctx context.Context, id uuid.UUID) error {
	if _, err := s.find(ctx, authz.NodeInstall, id); err != nil {
		return err
	}
	return s.Store.InTx(ctx, func(ctx context.Context) error {
		found, err := s.Store.DeleteInstallation(ctx, id)
		if err != nil {
			return err
		}
		if !found {
			return apperr.New(apperr.NotFound, "the node has no unused install script").WithField("nodeId", id)
		}
		return s.Audit.Record(ctx, authz.NodeInstall, map[string]any{"id": id, "deleted": true})
	})
}

func (o InstallOptions) supported() error {
	switch {
	case o.Type != Docker && o.Type != Kubernetes:
		return apperr.New(apperr.Unsupported, "install scripts are made for docker and k8s nodes only").WithField("type", o.Type)
	case o.Type == Kubernetes && o.ScriptType != Shell:
		return apperr.New(apperr.Unsupported, "the install script of a cluster is made for shell only").WithField("scriptType", o.ScriptType)
	case o.ScriptType != Shell && o.ScriptType != PowerShell:
		return apperr.New(apperr.Unsupported, "install scripts are made for shell and powershell only").WithField("scriptType", o.ScriptType)
	}
	return nil
}

// newToken returns a one-time enrolment token; its beginning says what it is
// to whoever finds one.
func newToken() string {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // documented never to fail
	return "fle_" + base64.RawURLEncoding.EncodeToString(b)
}

func sealPurpose(nodeID uuid.UUID) string { return "install-script:" + nodeID.String() }
