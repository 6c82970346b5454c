package reconcile_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/agentrt/internal/reconcile"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/workload"
)

func planned(action workload.Action) workload.Plan {
	return workload.Plan{Workloads: []workload.PlannedWorkload{{Name: "web", Action: action}}}
}

func plans(action workload.Action) func(context.Context, spec.Deployment) (workload.Plan, error) {
	return func(context.Context, spec.Deployment) (workload.Plan, error) { return planned(action), nil }
}

func expecting(plan workload.Plan) reconcile.Target {
	t := target("shop", 5)
	t.ExpectedPlan = plan.Hash()
	return t
}

func TestWhatWasPlannedIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{plan: plans(workload.ActionCreate)}, nil)
		begun := map[string]uint64{}
		w.driver.apply = func(context.Context, spec.Deployment) error { begun = w.begun; return nil }
		w.r.Set([]reconcile.Target{expecting(planned(workload.ActionCreate))})
		w.run(t)
		synctest.Wait()
		want(t, w.driver.applied, "shop/5")
		want(t, w.told.story(), "5 PHASE_PENDING", "5 PHASE_IN_PROGRESS", "5 PHASE_SUCCESSFUL")
		if begun["shop"] != 5 || len(w.begun) != 0 {
			t.Errorf("while it was applied %v was on the disk, afterwards %v", begun, w.begun)
		}
	})
}

func TestAStalePlanTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{plan: plans(workload.ActionReplace)}, nil)
		w.r.Set([]reconcile.Target{expecting(planned(workload.ActionCreate))})
		w.run(t)
		synctest.Wait()
		want(t, w.driver.applied)
		last := w.told.statuses[len(w.told.statuses)-1]
		if last.GetPhase() != agentv1.Phase_PHASE_FAILED || last.GetFailure().GetStep() != string(workload.StepPlan) || last.GetFailure().GetKind() != "precondition" {
			t.Errorf("told %v", last)
		}
	})
}

// An agent that was ended in the middle goes on: what it had done by then is no
// change of the world.
func TestWhatWasBegunIsFinishedWhateverAPlanSaysThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldThatBegan(t, &scripted{plan: plans(workload.ActionReplace)}, nil, map[string]uint64{"shop": 5})
		w.r.Set([]reconcile.Target{expecting(planned(workload.ActionCreate))})
		w.run(t)
		synctest.Wait()
		want(t, w.driver.applied, "shop/5")
	})
}

func TestAnotherDatabasesBeginningsDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldThatBegan(t, &scripted{plan: plans(workload.ActionReplace)}, nil, map[string]uint64{"shop": 5})
		if err := w.r.Restart(); err != nil {
			t.Fatal(err)
		}
		w.r.Set([]reconcile.Target{expecting(planned(workload.ActionCreate))})
		w.run(t)
		synctest.Wait()
		want(t, w.driver.applied)
	})
}

func TestAnEngineThatIsAwayCanPlanLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newWorld(t, &scripted{plan: func(context.Context, spec.Deployment) (workload.Plan, error) {
			if asked++; asked < 3 {
				return workload.Plan{}, apperr.New(apperr.Unavailable, "the engine does not answer")
			}
			return planned(workload.ActionCreate), nil
		}}, nil)
		w.r.Set([]reconcile.Target{expecting(planned(workload.ActionCreate))})
		w.run(t)
		time.Sleep(time.Hour) // of the bubble: no real time passes
		synctest.Wait()
		want(t, w.driver.applied, "shop/5")
	})
}

func TestAnOutcomeTellsWhatImagesStoodFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &scripted{}, nil)
		w.driver.story = []workload.Event{{InstanceID: "b", Digest: "sha256:2", OtherDigests: map[string]string{"init:1": "sha256:4"}}, {InstanceID: "a", Digest: "sha256:1"}, {Digest: "sha256:3"}}
		w.r.Set([]reconcile.Target{target("shop", 1)})
		w.run(t)
		synctest.Wait()
		images := w.told.statuses[len(w.told.statuses)-1].GetImages()
		if len(images) != 2 || images[0].GetInstanceId() != "a" || images[1].GetDigest() != "sha256:2" {
			t.Errorf("told %v", images)
		}
		others := w.told.statuses[len(w.told.statuses)-1].GetOtherImages()
		if len(others) != 1 || others[0].GetInstanceId() != "b" || others[0].GetReference() != "init:1" || others[0].GetDigest() != "sha256:4" {
			t.Errorf("told of other images %v", others)
		}
		if kept := w.store["shop"].GetImages(); len(kept) != 2 {
			t.Errorf("on the disk is %v", kept)
		}
	})
}
