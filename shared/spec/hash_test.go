package spec_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/shared/spec"
)

func workload() spec.Workload {
	name := "web"
	return spec.Workload{
		InstanceID: "i1",
		Image:      spec.Image{Reference: "web@sha256:1"},
		Container: spec.Container{
			Name:        &name,
			Environment: []spec.KeyValue{{Key: "A", Value: "1"}, {Key: "B", Value: "2"}},
			Ports:       []spec.Port{{Internal: 80, Protocol: "tcp"}},
		},
	}
}

// TestHashIsStable pins the hash: it is on labels of running containers, and
// another value restarts them all.
func TestHashIsStable(t *testing.T) {
	const want = "5d6297cc6977e3b1bc6d346dafb82c4a8546b05c3f30b1f110600a8cb7c409a4"
	if got := spec.Hash(workload()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHashSeesWhatMakesADifference(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*spec.Workload)
		same   bool
	}{
		{"nothing", func(*spec.Workload) {}, true},
		{"the hash itself", func(w *spec.Workload) { w.Hash = "x" }, true},
		{"credentials", func(w *spec.Workload) { w.Image.Auth = &spec.RegistryAuth{Password: "p"} }, true},
		{"the keys of a storage", func(w *spec.Workload) {
			filled := workload()
			filled.Container.Storage = &spec.Storage{StorageID: "s", Keys: &spec.StorageKeys{Secret: "s"}}
			plain := workload()
			plain.Container.Storage = &spec.Storage{StorageID: "s"}
			if spec.Hash(filled) != spec.Hash(plain) || filled.Container.Storage.Keys == nil {
				t.Error("the keys of a storage make a difference, or are gone")
			}
		}, true},
		{"the address of a storage", func(w *spec.Workload) {
			w.Container.Storage = &spec.Storage{URL: "https://other"}
		}, false},
		{"the registry's id", func(w *spec.Workload) { w.Image.RegistryID = "r" }, true},
		{"a list entry's id", func(w *spec.Workload) { w.Container.Environment[0].ID = "x" }, true},
		{"an empty list for an absent one", func(w *spec.Workload) { w.Container.Args = []spec.Key{} }, true},
		{"the image", func(w *spec.Workload) { w.Image.Reference = "web@sha256:2" }, false},
		{"a value", func(w *spec.Workload) { w.Container.Environment[0].Value = "x" }, false},
		{"the order of a list", func(w *spec.Workload) {
			e := w.Container.Environment
			e[0], e[1] = e[1], e[0]
		}, false},
		{"an entry moved to another list", func(w *spec.Workload) {
			w.Container.DockerLabels, w.Container.Environment = w.Container.Environment, nil
		}, false},
		{"something said to be zero", func(w *spec.Workload) { w.Container.User = ptr(int64(0)) }, false},
		{"the instance", func(w *spec.Workload) { w.InstanceID = "i2" }, true},
		{"the number of containers", func(w *spec.Workload) { w.Container.Replicas = ptr(int32(3)) }, true},
		{"a port published", func(w *spec.Workload) { w.Container.Ports[0].External = ptr(int32(8080)) }, false},
		{"text that looks like structure", func(w *spec.Workload) {
			w.Container.Environment[0].Value = "1\"\n.Container.Environment[1]"
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := workload()
			c.change(&w)
			if got := spec.Hash(w) == spec.Hash(workload()); got != c.same {
				t.Errorf("same hash is %v, want %v", got, c.same)
			}
		})
	}
}

// withoutIDs returns the value without what the hash does not see.
func withoutIDs(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(withoutIDs(v.Elem()))
		}
	case reflect.Slice:
		if v.Len() > 0 {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(withoutIDs(v.Index(i)))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "ID" && name != "Replicas" {
				out.Field(i).Set(withoutIDs(v.Field(i)))
			}
		}
	default:
		out.Set(v)
	}
	return out
}

func TestTwoHashesAreEqualExactlyWhenTheContentIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := spec.Workload{Container: containers().Draw(t, "a")}
		b := spec.Workload{Container: containers().Draw(t, "b")}
		if rapid.Bool().Draw(t, "alike") {
			b.Container = clone(a.Container)
			b.Container.Args = said(keys()).Draw(t, "args")
		}
		equal := reflect.DeepEqual(withoutIDs(reflect.ValueOf(a)).Interface(), withoutIDs(reflect.ValueOf(b)).Interface())
		if same := spec.Hash(a) == spec.Hash(b); same != equal {
			t.Fatalf("same hash is %v, equal content is %v", same, equal)
		}
	})
}
