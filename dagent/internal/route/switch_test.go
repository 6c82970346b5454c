package route_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/dagent/internal/route"
	"fairlead.dev/shared/spec"
)

// patience is how long a busy machine may take for what a client asks, and so
// how long old containers are drained.
const patience = 5 * time.Minute

// Twenty deploys one after the other, while clients of every kind keep on. What
// they send is not safe to send again, so that nothing hides a failure.
func TestSwitchingARouteDropsNothing(t *testing.T) {
	n := newNode(t, func(o *route.Options) { o.DrainTime = patience })
	l := n.underLoad(20, 0, 10*time.Millisecond)
	if l.failed.Load() != 0 {
		t.Errorf("%d of %d requests failed, first: %v", l.failed.Load(), l.done.Load(), *l.first.Load())
	}
}

// A release is asked for nothing before it answers.
func TestARouteWaitsForWhatBeginsLate(t *testing.T) {
	n := newNode(t, func(o *route.Options) { o.DrainTime = patience })
	late := func(c *spec.Container) {
		c.Environment = append(c.Environment, spec.KeyValue{Key: "LATE", Value: "3s"})
		c.HealthCheckConfig = &spec.HealthCheckConfig{Port: 8080, ReadinessProbe: "/"}
	}
	l := n.underLoad(1, 0, time.Millisecond, late)
	if l.failed.Load() != 0 {
		t.Errorf("%d of %d requests failed, first: %v", l.failed.Load(), l.done.Load(), *l.first.Load())
	}
	if l.early.Load() != 0 {
		t.Errorf("%d of %d requests were given to a release that did not listen yet", l.early.Load(), l.done.Load())
	}
}

func BenchmarkRouteSwitch(b *testing.B) {
	for b.Loop() {
		n := newNode(b, nil)
		l := n.underLoad(20, 10_000, 0)
		b.ReportMetric(float64(l.failed.Load()), "failed")
		if f := l.first.Load(); f != nil {
			b.Errorf("a request failed: %v", *f)
		}
		fmt.Fprintf(os.Stdout, "\nfigure: route_switch_failed_requests\t%d\tof %d in 20 deploys (%d WebSockets, %d slow uploads)\t0\t-\n",
			l.failed.Load(), l.done.Load(), l.echoes.Load(), l.uploads.Load())
		n.http = 0 // the next round has a node of its own
	}
}

// load is what clients count.
type load struct {
	n                             *node
	pause                         time.Duration
	done, failed, echoes, uploads atomic.Int64
	early                         atomic.Int64 // asked before the server that answers listened
	first                         atomic.Pointer[error]
	seenMu                        sync.Mutex
	seen                          map[string]bool
	stop                          context.Context
	ctx                           context.Context
}

// underLoad deploys so many releases while clients ask, until both the deploys
// are done and so many requests. A pause between requests leaves a small machine
// something to deploy with.
func (n *node) underLoad(deploys, requests int64, pause time.Duration, changes ...func(*spec.Container)) *load {
	n.Helper()
	n.apply(n.web(1, "shop.test"))
	stop, end := context.WithCancel(n.Context())
	defer end()
	l := &load{n: n, pause: pause, seen: map[string]bool{}, stop: stop, ctx: n.Context()}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(l.keepAlive)
	}
	for range 3 {
		clients.Go(l.webSocket)
		clients.Go(l.slowUpload)
	}
	for release := int64(2); release <= 1+deploys; release++ {
		echoes, uploads := l.echoes.Load(), l.uploads.Load()
		n.apply(n.web(release, "shop.test", changes...))
		n.await("a client got an answer of the new release", func() bool { return l.saw(fmt.Sprint(release)) })
		// However slow the machine is, clients of every kind are busy at each deploy.
		n.await("a WebSocket and an upload were finished", func() bool {
			return l.echoes.Load() > echoes && l.uploads.Load() > uploads || l.failed.Load() > 0
		})
	}
	enough := make(chan struct{})
	go func() {
		defer close(enough)
		for l.done.Load() < requests && l.ctx.Err() == nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-l.ctx.Done():
			}
		}
	}()
	<-enough
	end()
	clients.Wait()
	return l
}

func (l *load) count(err error) {
	l.done.Add(1)
	if err != nil {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, &err)
	}
}

func (l *load) saw(release string) bool {
	l.seenMu.Lock()
	defer l.seenMu.Unlock()
	return l.seen[release]
}

// keepAlive sends one request after the other on one connection.
func (l *load) keepAlive() {
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: patience}
	for l.stop.Err() == nil {
		// Of a body that cannot be had again, so that it is sent once.
		ask, err := http.NewRequestWithContext(l.ctx, http.MethodPost, "http://"+l.n.address()+"/", io.MultiReader(strings.NewReader("once")))
		if err != nil {
			l.count(err)
			return
		}
		ask.Host = "shop.test"
		asked := time.Now()
		answer, err := client.Do(ask)
		if err != nil {
			l.count(err)
			continue
		}
		text, err := io.ReadAll(answer.Body)
		err = errors.Join(err, answer.Body.Close())
		if answer.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("answered with %s: %s", answer.Status, text))
		}
		// The edge holds a request for a server that does not listen yet.
		began, beganErr := time.Parse(time.RFC3339Nano, answer.Header.Get("X-Began"))
		if asked.Before(began) {
			l.early.Add(1)
		}
		l.count(errors.Join(err, beganErr))
		l.seenMu.Lock()
		l.seen[answer.Header.Get("X-Release")] = true
		l.seenMu.Unlock()
		<-time.After(l.pause)
	}
}

// slowUpload sends a body bit by bit, for longer than a switch takes.
func (l *load) slowUpload() {
	const parts = 20
	for l.stop.Err() == nil {
		body, write := io.Pipe()
		go func() {
			for range parts {
				if _, err := write.Write(make([]byte, 1024)); err != nil {
					return
				}
				<-time.After(25 * time.Millisecond)
			}
			_ = write.Close()
		}()
		err := l.upload(body, parts*1024)
		l.count(err)
		if err == nil {
			l.uploads.Add(1)
		}
	}
}

func (l *load) upload(body io.Reader, size int) error {
	ask, err := http.NewRequestWithContext(l.ctx, http.MethodPost, "http://"+l.n.address()+"/upload", body)
	if err != nil {
		return err
	}
	ask.Host = "shop.test"
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(ask)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if string(text) != fmt.Sprint(size) {
		return fmt.Errorf("an upload of %d bytes is answered with %s: %s", size, answer.Status, text)
	}
	return nil
}

// webSocket talks over an upgraded connection for longer than a switch takes.
func (l *load) webSocket() {
	for l.stop.Err() == nil {
		err := l.talk()
		l.count(err)
		if err == nil {
			l.echoes.Add(1)
		}
	}
}

func (l *load) talk() error {
	conn, err := new(net.Dialer).DialContext(l.ctx, "tcp", l.n.address())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("an upgrade is answered with %s", answer.Status)
	}
	for i := range 20 {
		said := fmt.Sprintf("word %d\n", i)
		if _, err := io.WriteString(conn, said); err != nil {
			return err
		}
		if heard, err := reader.ReadString('\n'); err != nil || heard != said {
			return fmt.Errorf("said %q on a WebSocket and heard %q: %w", said, heard, err)
		}
		<-time.After(25 * time.Millisecond)
	}
	return nil
}
