package deployment

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/specpb"
)

// deploymentID is whose releases and tombstones are under a prefix.
func deploymentID(i int) string { return uuid.NewSHA1(uuid.Nil, []byte{byte(i)}).String() }

// sets and messages of the wire; the hash is the real one.
func (m mset) proto() *agentv1.AssignmentSet {
	if m == (mset{}) {
		return &agentv1.AssignmentSet{}
	}
	set := &agentv1.AssignmentSet{Lineage: fmt.Sprint("lineage ", m.lineage), Generation: uint64(m.gen)}
	for i, s := range m.slots {
		if a := s.proto(i); a != nil {
			set.Assignments = append(set.Assignments, a)
		}
	}
	set.SetHash = specpb.SetHash(set)
	return set
}

func (s slot) proto(i int) *agentv1.Assignment {
	a := &agentv1.Assignment{Prefix: string(rune('a' + i)), Generation: uint64(s.gen), RemovalConfirmed: true}
	switch {
	case s.release > 0:
		a.Desired = &agentv1.Assignment_Deployment{Deployment: &agentv1.Deployment{
			Id: deploymentID(i), Prefix: a.GetPrefix(), Release: int64(s.release),
			Workloads: []*agentv1.Workload{{InstanceId: "i", Hash: fmt.Sprint("release ", s.release)}},
		}}
	case s.tombstone > 0:
		a.Desired = &agentv1.Assignment_Tombstone{Tombstone: &agentv1.Tombstone{DeploymentId: deploymentID(i), Act: "delete"}}
	default:
		return nil
	}
	return a
}

func (m mset) heldByAgent() Held {
	if m == (mset{}) {
		return Held{}
	}
	p := m.proto()
	return Held{Lineage: p.GetLineage(), Generation: p.GetGeneration(), Hash: p.GetSetHash()}
}

func (m mmessage) proto(forgotten [2]uint8) *agentv1.AssignmentSet {
	p := m.to.proto()
	if m.delta {
		p.Assignments = slices.DeleteFunc(p.GetAssignments(), func(a *agentv1.Assignment) bool { return a.GetGeneration() <= uint64(m.base.gen) })
		base := m.base.proto()
		p.BaseGeneration, p.BaseSetHash = base.GetGeneration(), base.GetSetHash()
		for i, gen := range forgotten {
			if gen > m.base.gen {
				p.Forgotten = append(p.Forgotten, string(rune('a'+i)))
			}
		}
	}
	if m.replaces {
		p.ReplacesLineage = m.base.proto().GetLineage()
	}
	if m.garbled {
		for _, a := range p.GetAssignments() {
			if d := a.GetDeployment(); d != nil {
				d.Workloads[0].Hash = "garbled"
			}
		}
	}
	return p
}
