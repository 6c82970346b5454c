package state

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
	"fairlead.dev/shared/pki"
)

const (
	fileEnrol      = "enrol.json"
	fileEnrolError = "enrol-error"
	fileEnrolled   = "enrolled"
)

// Enrolment is what the install script hands over.
type Enrolment struct {
	// Controller is host:port of the controller's agent listener.
	Controller string
	Pin        pki.Pin
	Token      logging.Secret
	NodeName   string
}

// Enrolment returns what the install script left; ok is false when there is
// nothing. It fails with Invalid, naming the field, when it makes no sense.
func (d *Dir) Enrolment() (e Enrolment, ok bool, err error) {
	content, ok, err := d.read(fileEnrol)
	if err != nil || !ok {
		return e, false, err
	}
	var file struct {
		Controller string `json:"controller"`
		RootSHA256 string `json:"rootSha256"`
		Token      string `json:"token"`
		NodeName   string `json:"nodeName"`
	}
	if json.Unmarshal(content, &file) != nil { // the decoder's error may quote the token
		return e, false, apperr.New(apperr.Invalid, "%s is not JSON: run the install script again", fileEnrol)
	}
	if _, _, err := net.SplitHostPort(file.Controller); err != nil {
		return e, false, apperr.InvalidField("controller", file.Controller, "must be host:port")
	}
	if file.Token == "" {
		return e, false, apperr.InvalidField("token", nil, "is missing: run the install script again")
	}
	pin, err := pki.ParsePin(file.RootSHA256)
	if err != nil {
		return e, false, err
	}
	return Enrolment{file.Controller, pin, logging.Secret(file.Token), file.NodeName}, true, nil
}

// PendingKey returns the key to enrol with, made at the first call. It is on
// disk before anybody else sees its public half: when the controller's answer
// is lost, the same key asks again with the same token.
func (d *Dir) PendingKey() (*ecdsa.PrivateKey, error) {
	if err := os.MkdirAll(d.at(folderNewIdentity), 0o700); err != nil {
		return nil, fmt.Errorf("make the identity folder: %w", err)
	}
	name := folderNewIdentity + "/" + fileKey
	if text, ok, err := d.read(name); err != nil {
		return nil, err
	} else if ok {
		if err := d.kept(true); err != nil { // the first call may have failed at this
			return nil, err
		}
		return pki.DecodeKey(text)
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(d.write(name, text), d.syncFolder(d.path))
}

// Enrolled makes the identity the agent's own. What an earlier identity left,
// its assignments included, is dropped: a new controller counts anew.
func (d *Dir) Enrolled(e Enrolment, id Identity) error {
	if err := d.writeNewIdentity(id, fingerprint(e.Token)); err != nil {
		return err
	}
	if err := d.recoverIdentity(); err != nil {
		return err
	}
	return d.FinishEnrolment()
}

// Answered reports whether the enrolment is the one the identity came from: a
// crash may have come between its success and the removal of its file.
func (d *Dir) Answered(e Enrolment, id Identity) bool { return id.enrolledWith == fingerprint(e.Token) }

// FinishEnrolment removes the install script's file, and the token in it, and
// leaves the marker that enrolment is complete.
func (d *Dir) FinishEnrolment() error {
	return errors.Join(d.remove(fileEnrol, fileEnrolError), d.Accepted())
}

// Accepted leaves the marker that the controller knows this agent.
func (d *Dir) Accepted() error {
	if d.exists(fileEnrolled) {
		return nil
	}
	return d.write(fileEnrolled, nil)
}

// RefuseEnrolment leaves the reason for the install script. A token that is
// spent is removed with its file.
func (d *Dir) RefuseEnrolment(reason string, spent bool) error {
	err := d.write(fileEnrolError, []byte(reason+"\n"))
	if spent {
		err = errors.Join(err, d.remove(fileEnrol))
	}
	return err
}

func fingerprint(token logging.Secret) string {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return hex.EncodeToString(sum[:])
}
