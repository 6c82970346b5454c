package state

import (
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/pki"
)

const (
	folderIdentity    = "identity"
	folderNewIdentity = "identity.new"

	fileAgent    = "agent.json"
	fileKey      = "key.pem"
	fileCert     = "cert.pem"
	fileRoot     = "root.pem"
	fileKeyNext  = "identity/key.next"
	fileCertNext = "identity/cert.next"
)

// Identity is who the agent is and whom it trusts.
type Identity struct {
	AgentID    string
	NodeID     string
	NodeName   string
	Controller string
	// Trust is whom the agent takes for its controller. It changes while the
	// agent runs; SetTrust keeps it.
	Trust *pki.Trust
	// Own is the client certificate; its Leaf is set.
	Own tls.Certificate

	enrolledWith string
}

type agentFile struct {
	AgentID     string `json:"agentId"`
	NodeID      string `json:"nodeId"`
	NodeName    string `json:"nodeName"`
	Controller  string `json:"controller"`
	RootSHA256  string `json:"rootSha256"`
	TokenSHA256 string `json:"tokenSha256"`
}

// Identity returns the agent's identity; ok is false when it has none.
func (d *Dir) Identity() (id Identity, ok bool, err error) {
	content, ok, err := d.read(folderIdentity + "/" + fileAgent)
	if err != nil || !ok {
		return id, false, err
	}
	var file agentFile
	if err := json.Unmarshal(content, &file); err != nil {
		return id, false, fmt.Errorf("read %s: %w", fileAgent, err)
	}
	text, _, err := d.read(folderIdentity + "/" + fileRoot)
	if err != nil {
		return id, false, err
	}
	roots, err := pki.DecodeCertificates(text)
	if err != nil {
		return id, false, fmt.Errorf("read %s: %w", fileRoot, err)
	}
	if pki.PinOf(roots[0]).String() != file.RootSHA256 {
		return id, false, apperr.New(apperr.Invalid, "%s is not the root this agent was enrolled with", fileRoot)
	}
	if later, ok, err := d.trust(); err != nil {
		return id, false, err
	} else if ok {
		roots = later
	}
	own, err := d.pair(folderIdentity+"/"+fileCert, folderIdentity+"/"+fileKey)
	if err != nil {
		return id, false, err
	}
	return Identity{
		AgentID: file.AgentID, NodeID: file.NodeID, NodeName: file.NodeName,
		Controller: file.Controller, Trust: pki.NewTrust(roots...), Own: own, enrolledWith: file.TokenSHA256,
	}, true, nil
}

// Candidate returns the renewed certificate on trial; ok is false when there
// is none.
func (d *Dir) Candidate() (own tls.Certificate, ok bool, err error) {
	if !d.exists(fileCertNext) {
		return own, false, nil
	}
	own, err = d.pair(fileCertNext, fileKeyNext)
	return own, err == nil, err
}

// Try keeps a renewed certificate for trial: the key first, so that a
// certificate without a key can only come from a promotion cut short.
func (d *Dir) Try(key *ecdsa.PrivateKey, chain [][]byte) error {
	if d.exists(fileCertNext) && !d.exists(fileKeyNext) { // it must not get another's key
		if err := d.finishPromotion(); err != nil {
			return err
		}
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := d.write(fileKeyNext, text); err != nil {
		return err
	}
	return d.write(fileCertNext, pki.EncodeCertificates(chain...))
}

// Promote makes the candidate the agent's certificate.
func (d *Dir) Promote() error {
	if err := d.rename(d.at(fileKeyNext), d.at(folderIdentity+"/"+fileKey)); err != nil {
		return fmt.Errorf("promote the renewed key: %w", err)
	}
	return d.finishPromotion()
}

// Discard removes the candidate.
func (d *Dir) Discard() error { return d.remove(fileCertNext, fileKeyNext) }

func (d *Dir) finishPromotion() error {
	if err := d.rename(d.at(fileCertNext), d.at(folderIdentity+"/"+fileCert)); err != nil {
		return fmt.Errorf("promote the renewed certificate: %w", err)
	}
	return errors.Join(d.syncFolder(d.at(folderIdentity)), d.kept(true))
}

func (d *Dir) pair(certName, keyName string) (tls.Certificate, error) {
	cert, _, err := d.read(certName)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, _, err := d.read(keyName)
	if err != nil {
		return tls.Certificate{}, err
	}
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return own, fmt.Errorf("read %s and %s: %w", certName, keyName, err)
	}
	return own, nil
}

// writeNewIdentity completes the folder of the identity to be; agent.json is
// last and says that the rest is there.
func (d *Dir) writeNewIdentity(id Identity, token string) error {
	roots := id.Trust.Roots()
	if len(roots) != 1 {
		return apperr.New(apperr.Invalid, "an agent enrols with one root, not %d", len(roots))
	}
	file, err := json.MarshalIndent(agentFile{
		AgentID: id.AgentID, NodeID: id.NodeID, NodeName: id.NodeName, Controller: id.Controller,
		RootSHA256: pki.PinOf(roots[0]).String(), TokenSHA256: token,
	}, "", "  ")
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{fileCert, pki.EncodeCertificates(id.Own.Certificate...)},
		{fileRoot, pki.EncodeCertificates(roots[0].Raw)},
		{fileAgent, file},
	} {
		if err := d.write(folderNewIdentity+"/"+f.name, f.content); err != nil {
			return err
		}
	}
	return nil
}

// recoverIdentity ends an enrolment or a promotion that was cut short.
func (d *Dir) recoverIdentity() error {
	if d.exists(folderNewIdentity + "/" + fileAgent) {
		err := errors.Join(
			d.remove(fileAssignments, fileResults, fileBegun, fileRevoked, fileDeletion),
			d.change("remove the old identity", func() error { return os.RemoveAll(d.at(folderIdentity)) }),
		)
		if err == nil {
			err = d.rename(d.at(folderNewIdentity), d.at(folderIdentity))
		}
		if err == nil {
			err = d.syncFolder(d.path)
		}
		if err == nil {
			err = d.kept(true)
		}
		if err != nil {
			return fmt.Errorf("take the new identity: %w", err)
		}
	}
	if d.exists(fileCertNext) && !d.exists(fileKeyNext) {
		return d.finishPromotion()
	}
	return nil
}
