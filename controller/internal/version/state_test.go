package version_test

import (
	"testing"

	"fairlead.dev/controller/internal/deployment"
	"fairlead.dev/controller/internal/version"
)

func TestState(t *testing.T) {
	const (
		increasable = 1 << iota
		mutable
		deletable
	)
	in := func(states ...deployment.State) []deployment.State { return states }
	rolling := func(f version.Facts) version.Facts { f.Type = version.Rolling; return f }
	incremental := func(f version.Facts) version.Facts { f.Type = version.Incremental; return f }
	tests := map[string]struct {
		facts version.Facts
		want  int
	}{
		"incremental, new":                    {incremental(version.Facts{}), increasable | mutable | deletable},
		"incremental, prepared":               {incremental(version.Facts{Deployments: in(deployment.Preparing)}), increasable | mutable | deletable},
		"incremental, failed":                 {incremental(version.Facts{Deployments: in(deployment.Failed)}), increasable | mutable | deletable},
		"incremental, failed but on its node": {incremental(version.Facts{Deployments: in(deployment.Failed), Assigned: true}), increasable | mutable},
		"incremental, in progress":            {incremental(version.Facts{Deployments: in(deployment.Failed, deployment.InProgress)}), increasable},
		"incremental, successful":             {incremental(version.Facts{Deployments: in(deployment.Successful)}), increasable},
		"incremental, obsolete":               {incremental(version.Facts{Deployments: in(deployment.Obsolete)}), increasable},
		"incremental, downgraded":             {incremental(version.Facts{Deployments: in(deployment.Downgraded)}), increasable},
		"incremental with a next version":     {incremental(version.Facts{HasChild: true}), 0},

		"rolling, new":             {rolling(version.Facts{}), mutable | deletable},
		"rolling, hidden":          {rolling(version.Facts{Hidden: true}), mutable},
		"rolling, successful":      {rolling(version.Facts{Deployments: in(deployment.Successful)}), mutable | deletable},
		"rolling, on a node":       {rolling(version.Facts{Deployments: in(deployment.Successful), Assigned: true}), mutable},
		"rolling, in progress":     {rolling(version.Facts{Deployments: in(deployment.InProgress)}), mutable},
		"rolling, obsolete":        {rolling(version.Facts{Deployments: in(deployment.Obsolete)}), mutable},
		"rolling, hidden and runs": {rolling(version.Facts{Hidden: true, Deployments: in(deployment.Successful), Assigned: true}), mutable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := version.State{
				Increasable: test.want&increasable != 0, Mutable: test.want&mutable != 0, Deletable: test.want&deletable != 0,
			}
			if got := test.facts.State(); got != want {
				t.Errorf("state of %+v = %+v, want %+v", test.facts, got, want)
			}
		})
	}
}

func TestEveryDeploymentStateIsDecided(t *testing.T) {
	for _, state := range deployment.States() {
		facts := version.Facts{Type: version.Incremental, Deployments: []deployment.State{state}}
		editable := state == deployment.Preparing || state == deployment.Failed
		if got := facts.State().Mutable; got != editable {
			t.Errorf("an incremental version with a deployment that is %s: mutable = %t, want %t", state, got, editable)
		}
	}
}
