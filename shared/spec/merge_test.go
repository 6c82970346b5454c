package spec_test

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"fairlead.dev/shared/spec"
)

// clone copies a value, so that a change of the original shows.
func clone[T any](v T) T {
	return cloneValue(reflect.ValueOf(v)).Interface().(T)
}

func cloneValue(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(cloneValue(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(cloneValue(v.Index(i)))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(cloneValue(v.Field(i)))
		}
	default:
		out.Set(v)
	}
	return out
}

func TestMergeTakesEachPartFromTheInstanceWhereItSaysOne(t *testing.T) {
	joined := []string{"Secrets", "Annotations", "Labels"} // have rules of their own
	rapid.Check(t, func(t *rapid.T) {
		image, instance := containers().Draw(t, "image"), containers().Draw(t, "instance")
		imageBefore, instanceBefore := clone(image), clone(instance)
		merged := reflect.ValueOf(spec.Merge(image, instance))
		for i := range merged.NumField() {
			name := merged.Type().Field(i).Name
			if slices.Contains(joined, name) {
				continue
			}
			want := reflect.ValueOf(instance).Field(i)
			if want.IsNil() {
				want = reflect.ValueOf(image).Field(i)
			}
			if !reflect.DeepEqual(merged.Field(i).Interface(), want.Interface()) {
				t.Errorf("%s is %v, want %v", name, merged.Field(i), want)
			}
		}
		if !reflect.DeepEqual(image, imageBefore) || !reflect.DeepEqual(instance, instanceBefore) {
			t.Error("an argument was changed")
		}
	})
}

// TestMergeKnowsEveryField fails when a field is added to Container and
// forgotten in Merge.
func TestMergeKnowsEveryField(t *testing.T) {
	full := filled()
	merged := reflect.ValueOf(spec.Merge(spec.Container{}, full))
	for i := range merged.NumField() {
		if merged.Field(i).IsNil() {
			t.Errorf("%s of the instance is lost", merged.Type().Field(i).Name)
		}
	}
	if !reflect.DeepEqual(spec.Merge(full, spec.Container{}), full) {
		t.Error("an instance that says nothing changed the image's configuration")
	}
}

// filled returns a container that says something everywhere.
func filled() spec.Container {
	v := reflect.New(reflect.TypeFor[spec.Container]()).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		default:
			panic(v.Type().Field(i).Name + " can neither be nil nor absent")
		}
	}
	return v.Interface().(spec.Container)
}

func TestMergeJoinsSecretsByIDAndByKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		image, instance := containers().Draw(t, "image"), containers().Draw(t, "instance")
		merged := spec.Merge(image, instance).Secrets
		if (merged == nil) != (image.Secrets == nil && instance.Secrets == nil) {
			t.Fatalf("absent is %v", merged == nil)
		}
		for i, s := range instance.Secrets {
			s.Required = s.Required || slices.ContainsFunc(image.Secrets, func(o spec.Secret) bool { return o.Required && o.Key == s.Key })
			if merged[i] != s {
				t.Fatalf("the instance's secret became %v, want %v", merged[i], s)
			}
		}
		own := func(s spec.Secret) bool {
			return slices.ContainsFunc(instance.Secrets, func(o spec.Secret) bool { return o.ID == s.ID || o.Key == s.Key })
		}
		rest := merged[len(instance.Secrets):]
		for _, s := range image.Secrets {
			if !own(s) {
				if len(rest) == 0 || rest[0] != s {
					t.Fatalf("the image's secret %v is lost from %v", s, merged)
				}
				rest = rest[1:]
			}
		}
		if len(rest) > 0 {
			t.Fatalf("%v came from nowhere", rest)
		}
	})
}

func TestMergeReplacesMarkersPerKindOfObject(t *testing.T) {
	list := func(key string) []spec.KeyValue { return []spec.KeyValue{{Key: key}} }
	image := &spec.Markers{Deployment: list("d"), Service: list("s")}
	instance := &spec.Markers{Service: []spec.KeyValue{}, Ingress: list("i")}
	for _, c := range []struct {
		name            string
		image, instance *spec.Markers
		want            *spec.Markers
	}{
		{"neither", nil, nil, nil},
		{"the image alone", image, nil, image},
		{"the instance alone", nil, instance, instance},
		{"both", image, instance, &spec.Markers{Deployment: list("d"), Service: []spec.KeyValue{}, Ingress: list("i")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := spec.Merge(spec.Container{Labels: c.image, Annotations: c.image}, spec.Container{Labels: c.instance, Annotations: c.instance})
			if !reflect.DeepEqual(got.Labels, c.want) || !reflect.DeepEqual(got.Annotations, c.want) {
				t.Errorf("got %v and %v, want %v", got.Labels, got.Annotations, c.want)
			}
		})
	}
}

func TestWithEnvironmentIsWeakerByKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weak := said(pairs()).Draw(t, "weak")
		c := containers().Draw(t, "container")
		before := clone(c)
		got := spec.WithEnvironment(weak, c).Environment
		if !reflect.DeepEqual(c, before) {
			t.Fatal("the container was changed")
		}
		at := len(got) - len(c.Environment)
		if !slices.Equal(got[at:], c.Environment) {
			t.Fatalf("the container's own environment became %v", got[at:])
		}
		has := func(list []spec.KeyValue, key string) bool {
			return slices.ContainsFunc(list, func(kv spec.KeyValue) bool { return kv.Key == key })
		}
		for _, kv := range got[:at] {
			if has(c.Environment, kv.Key) || !slices.Contains(weak, kv) {
				t.Fatalf("%v should not be there", kv)
			}
		}
		for _, kv := range weak {
			if !has(got, kv.Key) {
				t.Fatalf("%v is lost", kv)
			}
		}
	})
}
