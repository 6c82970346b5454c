package state

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/seal"
)

// markSealed begins a password that is sealed in the file. No password that is
// typed begins so.
const markSealed = "\x00sealed:"

// sealCredentials returns the set with the passwords of registries sealed to the
// node's own key: copies of the file alone open no registry.
func (d *Dir) sealCredentials(set *agentv1.AssignmentSet) (*agentv1.AssignmentSet, error) {
	if len(passwords(set)) == 0 {
		return set, nil
	}
	key, err := d.SealingKey()
	if err != nil {
		return nil, err
	}
	set = proto.CloneOf(set)
	known := map[string]string{}
	for _, auth := range passwords(set) {
		sealed, seen := known[auth.GetPassword()]
		if !seen {
			if sealed, err = seal.Seal(key.Public(), auth.GetPassword()); err != nil {
				return nil, fmt.Errorf("seal the credentials of registry %s: %w", auth.GetServer(), err)
			}
			known[auth.GetPassword()] = sealed
		}
		auth.Password = markSealed + sealed
	}
	return set, nil
}

// openCredentials undoes sealCredentials in place. A password that can't be
// opened, as after another key was made, is left out: the controller sends it
// anew.
func (d *Dir) openCredentials(set *agentv1.AssignmentSet) error {
	var key seal.Key
	known := map[string]string{}
	for _, auth := range passwords(set) {
		sealed, is := strings.CutPrefix(auth.GetPassword(), markSealed)
		if !is {
			continue // written by an older agent
		}
		password, seen := known[sealed]
		if !seen {
			if len(known) == 0 {
				var err error
				if key, err = d.SealingKey(); err != nil {
					return err
				}
			}
			password, _ = key.Open(sealed) // else it is empty; see above
			known[sealed] = password
		}
		auth.Password = password
	}
	return nil
}

// passwords returns the credentials in the set that have a password.
func passwords(set *agentv1.AssignmentSet) (list []*agentv1.RegistryAuth) {
	for _, a := range set.GetAssignments() {
		for _, w := range a.GetDeployment().GetWorkloads() {
			if auth := w.GetImage().GetAuth(); auth.GetPassword() != "" {
				list = append(list, auth)
			}
		}
	}
	return list
}
