package bulk

import (
	"crypto/tls"
	"sync"
	"time"

	"google.golang.org/grpc"

	"fairlead.dev/shared/apperr"
)

// wire is the second connection: made when it is needed, closed when nobody
// has used it for a while, and not used any longer than needed once the agent
// has another certificate.
type wire struct {
	dial func(*tls.Config) (*grpc.ClientConn, error)
	idle time.Duration

	mu       sync.Mutex
	identity *tls.Config // to dial with
	with     *tls.Config // that conn was dialled with
	conn     *grpc.ClientConn
	users    int
	timer    *time.Timer // closes conn; nil while it is used
	closed   bool
}

func (w *wire) use(identity *tls.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.identity = identity
}

// acquire returns the connection; release must be called once.
func (w *wire) acquire() (conn *grpc.ClientConn, release func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.identity == nil {
		return nil, nil, apperr.New(apperr.Unavailable, "the agent has no session")
	}
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if w.conn != nil && w.users == 0 && w.with != w.identity {
		w.drop()
	}
	if w.conn == nil {
		if w.conn, err = w.dial(w.identity); err != nil {
			return nil, nil, err
		}
		w.with = w.identity
	}
	w.users++
	return w.conn, sync.OnceFunc(w.release), nil
}

func (w *wire) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users--
	if w.users > 0 || w.conn == nil {
		return
	}
	unused := w.conn
	w.timer = time.AfterFunc(w.idle, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.users == 0 && w.conn == unused {
			w.drop()
		}
	})
}

// drop closes the connection; w.mu is held.
func (w *wire) drop() {
	_ = w.conn.Close()
	w.conn = nil
}

// close closes the connection for good.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.conn != nil {
		w.drop()
	}
}
