package kube

import (
	"context"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// secretHash is a hash of what a secret holds.
func secretHash(u *unstructured.Unstructured) string {
	held, _, _ := unstructured.NestedStringMap(u.Object, "data")
	return contentHash(held)
}

// makeAll makes all objects of the release, by workload, and notes which secrets
// are among them.
func (a *applying) makeAll() error {
	a.wantedSecrets = secretNames{}
	for _, wl := range a.dep.Workloads {
		made, err := a.build(a.dep, wl)
		if err != nil {
			return apperr.Wrap(apperr.Invalid, err, "make the objects of %s", wl.Name())
		}
		var list record
		for _, object := range made.all() {
			u, err := manifest(object)
			if err != nil {
				return err
			}
			if u.GetKind() == "Secret" {
				a.wantedSecrets[u.GetName()] = secretHash(u)
			}
			list = append(list, u)
		}
		a.made = append(a.made, list)
		a.wanted = append(a.wanted, list...)
	}
	return nil
}

// announce writes down which secrets will be made, before any is: one that was
// not written down would stay for ever.
func (a *applying) announce(ctx context.Context) error {
	all := maps.Clone(a.secrets)
	for name, hash := range a.wantedSecrets {
		if a.secrets[name] != hash {
			all[name] = ""
		}
	}
	if maps.Equal(all, a.secrets) {
		return nil
	}
	a.secrets, a.recorded = all, maps.Clone(all)
	if a.good == nil {
		return a.writeRecord(ctx, a.dep.Prefix, nil, all)
	}
	return a.keep(ctx, a.dep.Prefix, a.good, all)
}

// putSecret applies a secret, unless it is there as it should be.
func (a *applying) putSecret(ctx context.Context, u *unstructured.Unstructured) error {
	a.applied.Lock()
	there := a.secrets[u.GetName()]
	a.applied.Unlock()
	if there == secretHash(u) {
		return nil
	}
	if _, err := a.send(ctx, u, false); err != nil {
		return err
	}
	a.applied.Lock()
	defer a.applied.Unlock()
	a.secrets[u.GetName()] = secretHash(u)
	return nil
}

// dropSecrets deletes the secrets that the release does not need.
func (a *applying) dropSecrets(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(a.secrets)) {
		if _, wanted := a.wantedSecrets[name]; wanted {
			continue
		}
		if err := a.drop(ctx, secretOf(a.dep.Prefix, name)); err != nil {
			return err
		}
	}
	return nil
}

// secretOf names a secret.
func secretOf(namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("Secret")
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// secretVariables names the variables that come from secrets, for Inspect.
func secretVariables(c spec.Container) string {
	variables, _ := secretsBy(c)
	names := slices.Sorted(maps.Keys(variables))
	return strings.Join(names, ",")
}
