package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
)

// request is one thing an agent asks of the engine, and answer what it gets.
type request struct {
	Act    string
	ID     string
	Name   string
	Labels Labels
	Since  int
}

type answer struct {
	Err        string
	ID         string
	Version    int
	Containers []Container
}

// Acts of the protocol that have no effect.
const (
	actList = "list"
	actWait = "wait"
)

// Serve answers agents on a Unix socket until ctx ends. One connection carries
// one request; when it ends early, so does the request.
func (e *Engine) Serve(ctx context.Context, socket string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("serve the engine: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serve the engine: %w", err)
		}
		if err != nil {
			continue
		}
		open.Go(func() { e.serve(ctx, conn) })
	}
}

func (e *Engine) serve(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var r request
	if json.NewDecoder(conn).Decode(&r) != nil {
		return
	}
	go func() { // an agent that is killed takes its request back
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	a := e.answer(ctx, r)
	e.pause(ctx) // who is killed now does not learn what it has done
	_ = json.NewEncoder(conn).Encode(a)
}

func (e *Engine) answer(ctx context.Context, r request) (a answer) {
	err := e.begin(ctx)
	if err == nil {
		switch r.Act {
		case actList:
			a.Containers = e.Containers()
		case actWait:
			a.Version = e.wait(ctx, r.Since)
		case Create:
			a.ID, err = e.create(r.Name, r.Labels)
		default:
			err = e.act(r.Act, r.ID, r.Name)
		}
	}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}
