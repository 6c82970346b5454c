package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

// maxPaths bounds how many fields one line names.
const maxPaths = 20

// othersOf names who else has fields of an object than the agent, and what only
// the cluster says of it, and marks which fields those are and since when.
func othersOf(o metav1.Object) (names []string, mark string) {
	sum := sha256.New()
	for _, m := range o.GetManagedFields() {
		if m.Manager == fieldManager || m.Subresource == "status" {
			continue
		}
		if !slices.Contains(names, m.Manager) {
			names = append(names, m.Manager)
		}
		fmt.Fprintf(sum, "%q %q %q", m.Manager, m.Operation, m.Subresource)
		if m.Time != nil {
			fmt.Fprintf(sum, " %s", m.Time.UTC().Format(time.RFC3339))
		}
		if m.FieldsV1 != nil {
			_, _ = sum.Write(m.FieldsV1.GetRawBytes()) // a hash takes all
		}
	}
	if len(names) == 0 {
		return nil, ""
	}
	slices.Sort(names)
	return names, hex.EncodeToString(sum.Sum(nil))
}

// drift is what was found of a suspect.
type drift struct {
	instance string
	// words tell of it; empty when all is as the release says. They name fields
	// and never values.
	words     string
	corrected bool
}

// look compares a suspect with what the last good release says of it, and puts
// it back where the policy says so. Its namespace must not be changed meanwhile.
func (g *guard) look(ctx context.Context, s suspect) (drift, error) {
	good, _, err := g.lastGood(ctx, s.namespace)
	if err != nil {
		return drift{}, err
	}
	want := good.object(s.kind, s.name)
	if want == nil {
		return drift{}, nil // no release names it
	}
	found := drift{instance: want.GetAnnotations()[noteInstance]}
	correct := spec.Drift(want.GetAnnotations()[noteDrift]) == spec.DriftCorrect
	live, err := g.objects.Resource(resourceOf(s.kind)).Namespace(s.namespace).Get(ctx, s.name, metav1.GetOptions{})
	switch {
	case kerrors.IsNotFound(err):
		newer, err := g.holdsNewer(ctx, want)
		if err != nil || newer {
			return drift{}, err
		}
		found.words = fmt.Sprintf("%s %s was deleted by somebody", s.kind, s.name)
	case err != nil:
		return drift{}, clusterError(err, "look at %s", describe(want))
	case releaseOf(live) > releaseOf(want):
		return drift{}, nil // of a release that failed and was kept
	default:
		keepStopped(want, live)
		then, err := g.send(ctx, want, true)
		if err != nil {
			return drift{}, err
		}
		paths := differences(want, live, then)
		if len(paths) == 0 {
			return drift{}, nil
		}
		names, _ := othersOf(live)
		if more := len(paths) - maxPaths; more > 0 {
			paths = append(paths[:maxPaths], fmt.Sprintf("and %d more", more))
		}
		found.words = fmt.Sprintf("%s %s was changed by %s: %s", s.kind, s.name, strings.Join(names, ", "), strings.Join(paths, ", "))
	}
	if !correct {
		found.words += "; it is left so until the next start"
		return found, nil
	}
	if _, err := g.send(ctx, want, false); err != nil {
		return drift{}, err
	}
	found.words += "; it was put back"
	found.corrected = true
	return found, nil
}

// object returns one object of a record; nil when it does not name it.
func (r record) object(kind, name string) *unstructured.Unstructured {
	for _, o := range r {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	return nil
}

// drift is what the policy of a release said of changes by others.
func (r record) drift() string {
	if len(r) == 0 {
		return ""
	}
	return r[0].GetAnnotations()[noteDrift] // every object has it
}

func releaseOf(o metav1.Object) int64 {
	n, err := strconv.ParseInt(o.GetAnnotations()[noteRelease], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// holdsNewer reports whether a later release than that of an object is there,
// as one that failed and was kept: then the record is not what should be.
func (d *Driver) holdsNewer(ctx context.Context, of *unstructured.Unstructured) (bool, error) {
	w, err := d.lookAt(ctx, of.GetNamespace())
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(w.managed(), func(c workload.Container) bool { return c.Release > releaseOf(of) }), nil
}

// keepStopped has a workload that was stopped by command count as it should be.
func keepStopped(want, live *unstructured.Unstructured) {
	replicas, found, err := unstructured.NestedInt64(live.Object, "spec", "replicas")
	if want.GetKind() == "Deployment" && err == nil && found && replicas == 0 && live.GetAnnotations()[noteReplicas] != "" {
		_ = unstructured.SetNestedField(want.Object, replicas, "spec", "replicas") // fails only where spec is no map
	}
}

// differences names the fields in which an object differs from what it would be
// if it were applied again: labels and annotations that are wanted, but for the
// agent's own notes, and content.
func differences(want, live, then *unstructured.Unstructured) []string {
	found := map[string]bool{}
	differs := func(path string) { found[strings.TrimPrefix(path, ".")] = true }
	for _, of := range []string{"labels", "annotations"} {
		now, _, _ := unstructured.NestedStringMap(live.Object, "metadata", of)
		wanted, _, _ := unstructured.NestedStringMap(want.Object, "metadata", of)
		for key, value := range wanted {
			if now[key] != value && (of == "labels" || !strings.HasPrefix(key, keyPrefix)) {
				differs("metadata." + of + "." + key)
			}
		}
	}
	for key := range then.Object {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, key) {
			walk(key, live.Object[key], then.Object[key], differs)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// walk calls differs for the path of each value that is not the same. Items of
// lists are told by their names where they have some.
func walk(path string, a, b any, differs func(string)) {
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	al, aIsList := a.([]any)
	bl, bIsList := b.([]any)
	switch {
	case aIsMap && bIsMap:
		keys := maps.Clone(am)
		maps.Copy(keys, bm)
		for key := range keys {
			walk(path+"."+key, am[key], bm[key], differs)
		}
	case aIsList && bIsList:
		an, bn := byName(al), byName(bl)
		if an == nil || bn == nil {
			if fmt.Sprint(a) != fmt.Sprint(b) {
				differs(path)
			}
			return
		}
		keys := maps.Clone(an)
		maps.Copy(keys, bn)
		for key := range keys {
			walk(path+"["+key+"]", an[key], bn[key], differs)
		}
	case fmt.Sprint(a) != fmt.Sprint(b):
		differs(path)
	}
}

// byName returns the items of a list by their names; nil when some have none.
func byName(list []any) map[string]any {
	named := map[string]any{}
	for _, item := range list {
		o, _ := item.(map[string]any)
		name, ok := o["name"].(string)
		if _, twice := named[name]; !ok || twice {
			return nil
		}
		named[name] = item
	}
	return named
}

// disown takes an object off the record of a namespace, so that nobody misses
// it. While a release is under way that says what belongs there.
func (d *Driver) disown(ctx context.Context, namespace, kind, name string) error {
	if d.placeOf(namespace).release.Load() {
		return nil
	}
	end, err := d.turn(ctx, namespace)
	if err != nil {
		return err
	}
	defer end()
	good, secrets, err := d.lastGood(ctx, namespace)
	if err != nil || good.object(kind, name) == nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(good), func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	return d.keep(ctx, namespace, rest, secrets)
}
