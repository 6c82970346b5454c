package postgres

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/controller/internal/command"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// Specs, container configurations and failure cards are kept as the JSON form
// of their messages in the agent protocol: the one form of them that has rules
// for changing it.

func encodeContainer(c spec.Container) (string, error) {
	return encodeMessage(specpb.ContainerToProto(c))
}

func decodeContainer(text string) (spec.Container, error) {
	message := &agentv1.ContainerConfig{}
	if err := decodeMessage(text, message); err != nil {
		return spec.Container{}, err
	}
	return specpb.ContainerFromProto(message)
}

// encodeSpec returns a spec as JSON and as on the wire, which is read sooner. It
// leaves the credentials of registries and storages out.
func encodeSpec(d spec.Deployment) (text string, wire []byte, err error) {
	message := specpb.DeploymentToProto(d)
	for _, w := range message.GetWorkloads() {
		w.GetImage().Auth = nil
		if storage := w.GetContainer().GetStorage(); storage != nil {
			storage.Keys = nil
		}
	}
	if wire, err = proto.Marshal(message); err != nil {
		return "", nil, fmt.Errorf("encode the deployment: %w", err)
	}
	text, err = encodeMessage(message)
	return text, wire, err
}

func decodeWire(wire []byte) (spec.Deployment, error) {
	message := &agentv1.Deployment{}
	if err := proto.Unmarshal(wire, message); err != nil {
		return spec.Deployment{}, fmt.Errorf("decode the deployment: %w", err)
	}
	return specpb.DeploymentFromStored(message), nil
}

func decodeSpec(text string) (spec.Deployment, error) {
	message := &agentv1.Deployment{}
	if err := decodeMessage(text, message); err != nil {
		return spec.Deployment{}, err
	}
	return specpb.DeploymentFromProto(message)
}

// encodeFailure makes nil null.
func encodeFailure(f *workload.Failure) (*string, error) {
	if f == nil {
		return nil, nil
	}
	text, err := encodeMessage(specpb.FailureToProto(f))
	return &text, err
}

func decodeFailure(text *string) (*workload.Failure, error) {
	if text == nil {
		return nil, nil
	}
	message := &agentv1.Failure{}
	if err := decodeMessage(*text, message); err != nil {
		return nil, err
	}
	return specpb.FailureFromProto(message), nil
}

// encodePlan makes nil null.
func encodePlan(p *command.Planned) (*string, error) {
	if p == nil {
		return nil, nil
	}
	message := specpb.PlanToProto(p.Plan)
	message.Hash = p.Hash
	text, err := encodeMessage(message)
	return &text, err
}

func decodePlan(text *string) (*command.Planned, error) {
	if text == nil {
		return nil, nil
	}
	message := &agentv1.Plan{}
	if err := decodeMessage(*text, message); err != nil {
		return nil, err
	}
	plan, hash, err := specpb.PlanFromProto(message)
	return &command.Planned{Plan: plan, Hash: hash}, err
}

func encodeMessage(m proto.Message) (string, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return string(text), nil
}

// decodeMessage passes over keys it does not know: a newer version may have
// written them.
func decodeMessage(text string, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), m); err != nil {
		return fmt.Errorf("decode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// pairJSON is one entry of a list of pairs as it is kept.
type pairJSON struct {
	ID    string `json:"id"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

func encodePairs(list []spec.KeyValue) (string, error) {
	text, err := json.Marshal(convert(list, func(kv spec.KeyValue) pairJSON { return pairJSON(kv) }))
	if err != nil {
		return "", fmt.Errorf("encode pairs: %w", err)
	}
	return string(text), nil
}

func decodePairs(text string) ([]spec.KeyValue, error) {
	var list []pairJSON
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("decode pairs: %w", err)
	}
	return convert(list, func(p pairJSON) spec.KeyValue { return spec.KeyValue(p) }), nil
}

// decodeRows turns rows into what they stand for, where that can fail.
func decodeRows[Row, T any](rows []Row, to func(Row) (T, error)) ([]T, error) {
	list := make([]T, len(rows))
	for i, row := range rows {
		var err error
		if list[i], err = to(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}
