package lease

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// TestALeaseIsRenewedSeldomAndGivenUpAtOnce: what is left out is the renewal alone.
func TestALeaseIsRenewedSeldomAndGivenUpAtOnce(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead", Name: "crane"}})
	lock := &seldom{LeaseLock: &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: "fairlead", Name: "crane"}, Client: client.CoordinationV1(),
	}}
	writes := func(what string, want int) {
		t.Helper()
		got := 0
		for _, action := range client.Actions() {
			if action.GetVerb() == "update" {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: the lease was written %d times, want %d", what, got, want)
		}
	}
	update := func(holder string) {
		t.Helper()
		if err := lock.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: holder, LeaseDurationSeconds: 30}); err != nil {
			t.Fatal(err)
		}
	}
	get := func() {
		t.Helper()
		if _, _, err := lock.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	get()
	update("first")
	writes("taken", 1)
	update("first")
	update("first")
	writes("renewed at once", 1)
	get()
	update("first")
	writes("renewed after it was read", 2)
	get()
	update("")
	writes("given up", 3)
}
