package bulk

import (
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

func TestTheConnectionIsClosedWhenNobodyUsesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := 0
		w := &wire{idle: time.Minute, dial: func(*tls.Config) (*grpc.ClientConn, error) {
			dialled++
			return grpc.NewClient("passthrough:///nowhere", grpc.WithTransportCredentials(insecure.NewCredentials()))
		}}
		defer w.close()
		if _, _, err := w.acquire(); err == nil {
			t.Fatal("a connection without an identity")
		}
		w.use(&tls.Config{MinVersion: tls.VersionTLS13})
		use := func(want int) (*grpc.ClientConn, func()) {
			t.Helper()
			conn, release, err := w.acquire()
			if err != nil || dialled != want {
				t.Fatalf("dialled %d times, want %d; %v", dialled, want, err)
			}
			return conn, release
		}
		first, done := use(1)
		_, alsoDone := use(1)
		done()
		<-time.After(time.Hour)
		if first.GetState() == connectivity.Shutdown {
			t.Fatal("closed although it is used")
		}
		alsoDone()
		<-time.After(59 * time.Second)
		_, done = use(1)
		done()
		done() // once counts
		<-time.After(59 * time.Second)
		if first.GetState() == connectivity.Shutdown {
			t.Fatal("closed too early")
		}
		<-time.After(2 * time.Second)
		if first.GetState() != connectivity.Shutdown {
			t.Fatal("not closed")
		}
		second, done := use(2)
		w.use(&tls.Config{MinVersion: tls.VersionTLS13}) // the certificate was renewed
		_, alsoDone = use(2)
		done()
		alsoDone()
		if _, done = use(3); second.GetState() != connectivity.Shutdown {
			t.Fatal("the connection of the old certificate is kept")
		}
		done()
	})
}
