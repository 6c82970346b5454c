package faultnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"fairlead.dev/e2e/fleetsim/faultnet"
)

const patience = time.Minute

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return listener.Addr().String()
}

// ways are the two ways to use a line.
func ways(t *testing.T, test func(t *testing.T, line *faultnet.Line, dial func() net.Conn)) {
	target := echo(t)
	direct := func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", target) }
	t.Run("proxy", func(t *testing.T) {
		line := faultnet.NewLine(1)
		p, err := faultnet.Listen(t.Context(), target, line)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		test(t, line, func() net.Conn {
			c, err := net.Dial("tcp", p.Addr())
			return connected(t, c, err)
		})
	})
	t.Run("dialler", func(t *testing.T) {
		line := faultnet.NewLine(1)
		t.Cleanup(func() { line.Cut() })
		test(t, line, func() net.Conn {
			c, err := line.Dial(t.Context(), direct)
			return connected(t, c, err)
		})
	})
}

func connected(t *testing.T, c net.Conn, err error) net.Conn {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// exchange sends bytes and returns how many came back before the end.
func exchange(c net.Conn, n int) (int, error) {
	sent := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
	go c.Write(sent)
	got := make([]byte, n)
	m, err := io.ReadFull(c, got)
	if !bytes.Equal(got[:m], sent[:m]) {
		return m, errors.New("other bytes came back")
	}
	return m, err
}

func TestALineWithoutFaultsChangesNothing(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		if n, err := exchange(dial(), 1<<20); err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if now, ever := line.Open(); now != 1 || ever != 1 {
			t.Errorf("%d of %d connections open", now, ever)
		}
	})
}

func TestBytesArriveInOrderInSpiteOfLossAndJitter(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		line.Set(faultnet.Lossy(0.01, 5*time.Millisecond))
		if n, err := exchange(dial(), 50_000); err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	})
}

func TestADelayIsFelt(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		line.Set(faultnet.Faults{Up: faultnet.Way{Delay: 30 * time.Millisecond}, Down: faultnet.Way{Delay: 20 * time.Millisecond}})
		c := dial()
		began := time.Now()
		if n, err := exchange(c, 10); err != nil || time.Since(began) < 50*time.Millisecond {
			t.Fatalf("%d bytes after %s, %v", n, time.Since(began), err)
		}
	})
}

func TestACutAtAByte(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		line.Set(faultnet.Faults{Down: faultnet.Way{CutAfter: 137}})
		// A reset may overtake the bytes before it.
		if n, err := exchange(dial(), 500); n > 137 || err == nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if n, err := exchange(dial(), 500); err != nil {
			t.Errorf("the next connection: %d bytes, %v", n, err)
		}
	})
}

func TestAStallEndsNothing(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		line.Set(faultnet.Faults{Up: faultnet.Way{StallAfter: 40}})
		c := dial()
		came := make(chan error, 1)
		go func() {
			_, err := exchange(c, 100)
			came <- err
		}()
		select {
		case err := <-came:
			t.Fatalf("it went on: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		if now, _ := line.Open(); now != 1 {
			t.Fatalf("%d connections open", now)
		}
		line.Stall(false)
		if err := <-came; err != nil {
			t.Fatal(err)
		}
	})
}

func TestASlowReaderIsFeltByTheSender(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		line.Set(faultnet.Faults{Up: faultnet.Way{BytesPerSecond: 10_000}})
		c := dial()
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := c.Write(make([]byte, 32<<20))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("%d bytes were taken in, %v", n, err)
		}
	})
}

func TestCutAndDown(t *testing.T) {
	ways(t, func(t *testing.T, line *faultnet.Line, dial func() net.Conn) {
		a, b := dial(), dial()
		for _, c := range []net.Conn{a, b} {
			if _, err := exchange(c, 10); err != nil {
				t.Fatal(err)
			}
		}
		if n := line.Cut(); n != 2 {
			t.Errorf("%d cut", n)
		}
		if _, err := exchange(a, 10); err == nil {
			t.Error("a cut connection goes on")
		}
		if _, err := exchange(dial(), 10); err != nil {
			t.Errorf("after a cut: %v", err)
		}
	})
	line := faultnet.NewLine(1)
	line.Down(true)
	p, err := faultnet.Listen(t.Context(), echo(t), line)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	refused, err := net.Dial("tcp", p.Addr())
	if err == nil {
		if _, err = exchange(connected(t, refused, nil), 10); err == nil {
			t.Error("a line that is down carries")
		}
	}
	line.Heal()
	c, err := net.Dial("tcp", p.Addr())
	if _, err := exchange(connected(t, c, err), 10); err != nil {
		t.Errorf("healed: %v", err)
	}
}

// What was sent on a connection that its dialler has given up arrives after a
// later connection is up, and only then does the other side learn of the end.
func TestBytesOfAnOlderConnectionArriveAfterANewerIsUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	line := faultnet.NewLine(1)
	p, err := faultnet.Listen(t.Context(), listener.Addr().String(), line)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	dial := func() (near, far net.Conn) {
		near, err := net.Dial("tcp", p.Addr())
		near = connected(t, near, err)
		return near, connected(t, <-accepted, nil)
	}
	read := func(c net.Conn) string {
		got := make([]byte, 5)
		n, err := io.ReadFull(c, got)
		if err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		return string(got)
	}
	older, olderFar := dial()
	if _, err := older.Write([]byte("first")); err != nil || read(olderFar) != "first" {
		t.Fatal(err)
	}
	if n := line.Hold(); n != 1 {
		t.Fatalf("%d connections are held", n)
	}
	if _, err := older.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); line.Held() < len("later"); {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are held", line.Held())
		}
		runtime.Gosched()
	}
	if _, err := olderFar.Write([]byte("reply")); err != nil || read(older) != "reply" {
		t.Fatal(err)
	}
	line.Leave()
	if _, err := older.Read(make([]byte, 1)); err == nil {
		t.Error("the dialler's side goes on")
	}
	newer, newerFar := dial()
	if _, err := newer.Write([]byte("newer")); err != nil || read(newerFar) != "newer" {
		t.Fatal(err)
	}
	if _, err := olderFar.Write([]byte("nobody")); err != nil {
		t.Errorf("the other side knows that its dialler is gone: %v", err)
	}
	line.Release()
	if read(olderFar) != "later" {
		t.Error("other bytes came")
	}
	if _, err := olderFar.Read(make([]byte, 1)); err == nil {
		t.Error("the older connection goes on")
	}
	if _, err := newer.Write([]byte("still")); err != nil || read(newerFar) != "still" {
		t.Fatal(err)
	}
}
