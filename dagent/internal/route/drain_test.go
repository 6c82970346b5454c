package route_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/route"
)

// The drain time of the policy is what requests under way have: one that ends
// within it is answered in full by the old release, one that does not is cut off,
// and the story counts it.
func TestRequestsHaveTheDrainTimeOfThePolicy(t *testing.T) {
	n := newNode(t, func(o *route.Options) { o.DrainTime = time.Hour })
	n.apply(n.web(1, "shop.test"))
	l := &load{n: n, ctx: t.Context()}
	begin := func() (body *io.PipeWriter, ended chan error) {
		read, write := io.Pipe()
		ended = make(chan error, 1)
		go func() { ended <- l.upload(read, 2) }()
		if _, err := write.Write([]byte("a")); err != nil { // is read when the request is under way
			t.Fatal(err)
		}
		return write, ended
	}
	short, answered := begin()
	long, cut := begin()
	defer func() { _ = long.CloseWithError(context.Canceled) }()

	next := n.web(2, "shop.test")
	next.Policy.DrainSeconds = 8 // enough for a busy machine to send two bytes
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	applied := make(chan error, 1)
	go func() { applied <- n.driver.Apply(ctx, next, n) }()
	n.await("the new release serves", func() bool { return n.releaseServed() == "2" })
	if _, err := short.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	_ = short.Close()
	if err := <-answered; err != nil {
		t.Errorf("a request that ended within the drain time: %v", err)
	}
	if err := <-applied; err != nil {
		t.Fatalf("apply: %v", err)
	}
	_ = long.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-cut; err == nil {
		t.Error("a request that never ends was answered")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if story := n.story.String(); !strings.Contains(story, "requests cut off at the end of the drain time: 1") {
		t.Errorf("the story does not count what was cut off:\n%s", story)
	}
}
