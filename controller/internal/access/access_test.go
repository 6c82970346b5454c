package access_test

import (
	"strconv"
	"testing"
	"time"

	"fairlead.dev/controller/internal/access"
	"fairlead.dev/controller/internal/actor"
)

func TestWhatIsRememberedIsForgotten(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := access.New(func() time.Time { return now })
	keep := func(e access.Entry) {
		_, generation, _ := c.Find("token", "acme")
		c.Keep(generation, "token", "acme", e)
	}
	known := func() bool { _, _, ok := c.Find("token", "acme"); return ok }
	ann := access.Entry{Actor: actor.Actor{Name: "Ann"}, Team: actor.Team{Slug: "acme"}}

	keep(ann)
	if e, _, ok := c.Find("token", "acme"); !ok || e != ann {
		t.Fatalf("got %+v, %v", e, ok)
	}
	for _, other := range [][2]string{{"token", "others"}, {"token", ""}, {"another", "acme"}} {
		if _, _, ok := c.Find(other[0], other[1]); ok {
			t.Errorf("%q was never kept", other)
		}
	}
	now = now.Add(6 * time.Second)
	if known() {
		t.Error("it is remembered for too long")
	}
	keep(ann)
	c.Forget()
	if known() {
		t.Error("it is remembered after Forget")
	}
	ann.Actor.TokenExpiresAt = now.Add(time.Second)
	keep(ann)
	if now = now.Add(time.Second); known() {
		t.Error("it is remembered beyond the token's end")
	}
}

func TestWhatWasReadBeforeAChangeIsNotKept(t *testing.T) {
	c := access.New(time.Now)
	_, generation, _ := c.Find("token", "acme")
	c.Forget() // somebody revokes the token while it is looked up
	c.Keep(generation, "token", "acme", access.Entry{})
	if _, _, ok := c.Find("token", "acme"); ok {
		t.Error("what is not so any more was kept")
	}
}

func TestHowMuchIsRememberedIsBounded(t *testing.T) {
	c := access.New(time.Now)
	_, generation, _ := c.Find("token", "")
	for n := range 10_001 {
		c.Keep(generation, strconv.Itoa(n), "", access.Entry{})
	}
	if _, _, ok := c.Find("0", ""); ok {
		t.Error("the first of ten thousand and one is still remembered")
	}
	if _, _, ok := c.Find("10000", ""); !ok {
		t.Error("the newest is not remembered")
	}
}
