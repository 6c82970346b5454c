// Package debugserver serves a program's profiles and memory figures on a
// loopback address, for the people and benchmarks that look for where time and
// memory go. It asks nobody who they are, which is why it takes no other
// address.
//
//	GET  /debug/pprof/   profiles, as net/http/pprof serves them
//	GET  /debug/memory   Memory, as it is
//	POST /debug/gc       Memory, after a collection that gives back to the
//	                     operating system what it can
//	POST /debug/rates    ?mutex=N&block=N: sampling of mutex and block
//	                     profiles, off until asked for
package debugserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"fairlead.dev/shared/apperr"
)

const readTimeout = 10 * time.Second

// Memory is what the Go runtime says of the process. Sizes are in bytes.
type Memory struct {
	Goroutines  int    `json:"goroutines"`
	HeapAlloc   uint64 `json:"heapAlloc"`
	HeapObjects uint64 `json:"heapObjects"`
	HeapIdle    uint64 `json:"heapIdle"`
	Released    uint64 `json:"released"`
	StackInUse  uint64 `json:"stackInUse"`
	Sys         uint64 `json:"sys"`
	// Mallocs counts every allocation since the start, TotalAlloc their bytes.
	Mallocs    uint64 `json:"mallocs"`
	TotalAlloc uint64 `json:"totalAlloc"`
	Collected  uint32 `json:"collected"`
}

// Check returns Invalid unless the address is one of the loopback interface.
func Check(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return apperr.Wrap(apperr.Invalid, err, "want host:port")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return apperr.New(apperr.Invalid, "%q is no loopback address: profiles are for this machine alone", host)
	}
	return nil
}

// Listen binds the address, which must be a loopback one.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if err := Check(address); err != nil {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
}

// Run serves on the listener until ctx ends.
func Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: handler(), ReadHeaderTimeout: readTimeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // a profile under way is nobody's loss
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve profiles: %w", err)
	}
	return nil
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/memory", func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	mux.HandleFunc("POST /debug/gc", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		debug.FreeOSMemory()
		answer(w)
	})
	mux.HandleFunc("POST /debug/rates", func(w http.ResponseWriter, r *http.Request) {
		mutex, mutexErr := strconv.Atoi(r.URL.Query().Get("mutex"))
		block, blockErr := strconv.Atoi(r.URL.Query().Get("block"))
		if err := errors.Join(mutexErr, blockErr); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		runtime.SetMutexProfileFraction(mutex)
		runtime.SetBlockProfileRate(block)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func answer(w http.ResponseWriter) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Memory{ // nobody to tell when the caller is gone
		Goroutines: runtime.NumGoroutine(), HeapAlloc: m.HeapAlloc, HeapObjects: m.HeapObjects,
		HeapIdle: m.HeapIdle, Released: m.HeapReleased, StackInUse: m.StackInuse, Sys: m.Sys,
		Mallocs: m.Mallocs, TotalAlloc: m.TotalAlloc, Collected: m.NumGC,
	})
}
