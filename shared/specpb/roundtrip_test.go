package specpb_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// fill sets every field below v to something different from every other, so
// that a field forgotten or swapped in a conversion shows.
func fill(v reflect.Value, n *int64) {
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(*n, 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(*n)
	default:
		panic("cannot fill " + v.Type().String())
	}
}

func filled[T any]() T {
	var value T
	var n int64
	fill(reflect.ValueOf(&value).Elem(), &n)
	return value
}

// overTheWire returns the message after it was encoded and decoded.
func overTheWire[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	return got.(M)
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestDeploymentKeepsEveryField(t *testing.T) {
	want := filled[spec.Deployment]()
	got, err := specpb.DeploymentFromProto(overTheWire(t, specpb.DeploymentToProto(want)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

// TestFieldsAreIndependent sets each field of a container alone: a field that
// is only carried in the company of another would show.
func TestFieldsAreIndependent(t *testing.T) {
	full := reflect.ValueOf(filled[spec.Container]())
	for i := range full.NumField() {
		t.Run(full.Type().Field(i).Name, func(t *testing.T) {
			var want spec.Container
			reflect.ValueOf(&want).Elem().Field(i).Set(full.Field(i))
			got, err := specpb.ContainerFromProto(overTheWire(t, specpb.ContainerToProto(want)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
		})
	}
}

func TestEmptyListsStayApartFromAbsentOnes(t *testing.T) {
	var empty spec.Container
	v := reflect.ValueOf(&empty).Elem()
	lists := 0
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
			lists++
		}
	}
	if lists == 0 {
		t.Fatal("a container has no lists")
	}
	empty.Labels = &spec.Markers{Deployment: []spec.KeyValue{}}
	for name, want := range map[string]spec.Container{"absent": {}, "empty": empty} {
		t.Run(name, func(t *testing.T) {
			got, err := specpb.ContainerFromProto(overTheWire(t, specpb.ContainerToProto(want)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, want)
		})
	}
}

func TestObservedContainerKeepsEveryField(t *testing.T) {
	want := filled[workload.Container]()
	want.EndReason = "" // goes with the fact of the end (ContainerExit), not with the state
	same(t, specpb.ObservedFromProto(overTheWire(t, specpb.ObservedToProto(want))), want)
}

func TestLogLineKeepsEveryField(t *testing.T) {
	want := filled[workload.LogLine]()
	same(t, specpb.LogLineFromProto(overTheWire(t, specpb.LogLineToProto(want))), want)
}

func TestEventKeepsEveryField(t *testing.T) {
	for _, level := range []workload.Level{workload.LevelInfo, workload.LevelWarn, workload.LevelError} {
		want := filled[workload.Event]()
		want.Level = level
		p := overTheWire(t, specpb.EventToProto("d1", 7, 3, want))
		same(t, specpb.EventFromProto(p), want)
		if p.GetDeploymentId() != "d1" || p.GetGeneration() != 7 || p.GetRelease() != 3 {
			t.Fatalf("the event is about %v", p)
		}
	}
}

func TestFailureKeepsEveryField(t *testing.T) {
	code := 137
	for _, kind := range apperr.Kinds() {
		want := &workload.Failure{
			Step: workload.StepHealth, InstanceID: "i1", Container: "c1", ExitCode: &code, OOMKilled: true,
			ProbeOutput: "503", LogTail: []string{"a", "b"}, RolledBack: true,
			Err: apperr.New(kind, "the container did not become healthy"),
		}
		got := specpb.FailureFromProto(overTheWire(t, specpb.FailureToProto(want)))
		same(t, got, want)
	}
	if specpb.FailureFromProto(specpb.FailureToProto(nil)) != nil {
		t.Fatal("no failure became one")
	}
}

// TestFailureHasNoOtherFields fails when the card gets a field that the test
// above does not set.
func TestFailureHasNoOtherFields(t *testing.T) {
	if n := reflect.TypeFor[workload.Failure]().NumField(); n != 9 {
		t.Fatalf("a failure has %d fields, TestFailureKeepsEveryField knows 9", n)
	}
}

func TestPhases(t *testing.T) {
	for _, want := range []workload.Phase{
		workload.PhasePending, workload.PhaseInProgress, workload.PhaseSuccessful, workload.PhaseFailed, workload.PhaseRemoved,
	} {
		got, err := specpb.PhaseFromProto(specpb.PhaseToProto(want))
		if err != nil || got != want {
			t.Errorf("%s came back as %q, error %v", want, got, err)
		}
	}
	for _, unknown := range []agentv1.Phase{agentv1.Phase_PHASE_UNSPECIFIED, 99} {
		if _, err := specpb.PhaseFromProto(unknown); !apperr.Is(err, apperr.Unsupported) {
			t.Errorf("phase %d: got %v, want an unsupported error", unknown, err)
		}
	}
}

func TestTextOfContainersIsMadeFitForTheWire(t *testing.T) {
	line := "ok \xff\xfe end"
	p := specpb.EventToProto("d", 1, 1, workload.Event{Lines: []string{line}, Reason: line})
	got := specpb.EventFromProto(overTheWire(t, p))
	if got.Lines[0] != "ok \uFFFD end" || got.Reason != got.Lines[0] {
		t.Fatalf("got %q", got.Lines[0])
	}
	long := specpb.LogLineToProto(workload.LogLine{Text: strings.Repeat("x", specpb.MaxTextBytes+1)})
	if len(long.GetText()) != specpb.MaxTextBytes {
		t.Fatalf("a line of %d bytes went through", len(long.GetText()))
	}
}
