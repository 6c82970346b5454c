// Command server answers requests, echoes what comes over an upgraded
// connection, and counts what is uploaded. It ends at once when it is told to,
// as servers do that drain nothing by themselves. LATE is how long it takes to
// begin, 3s say.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	go func() {
		<-told
		os.Exit(0)
	}()
	release, began := os.Getenv("RELEASE"), atomic.Pointer[time.Time]{}
	host, _ := os.Hostname() // only shown
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", release)
		w.Header().Set("X-Began", began.Load().Format(time.RFC3339Nano))
		w.Header().Set("X-Server", host)
		fmt.Fprintf(w, "release %s path %s host %s proto %s", release, r.URL.Path, r.Host, r.Header.Get("X-Forwarded-Proto"))
	})
	http.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d", n)
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			log.Print(err)
			return
		}
		_, _ = io.Copy(conn, both)
		_ = conn.Close()
	})
	if late, err := time.ParseDuration(os.Getenv("LATE")); err == nil {
		<-time.After(late)
	}
	now := time.Now()
	began.Store(&now)
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
