// Package admin answers the agent on the edge's Unix socket; see edgeapi.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"fairlead.dev/shared/edgeapi"
)

// maxBody bounds what the agent may send at once.
const maxBody = 8 << 20

// Edge is what the agent steers.
type Edge interface {
	// SetRoutes gives an owner its routes; with only check it is only asked
	// whether they could be set. A route somebody else has is refused with
	// *edgeapi.ConflictError.
	SetRoutes(owner string, routes []edgeapi.Route, check bool) error
	Configure(s edgeapi.Settings) error
	// Drain waits until the upstreams have nothing under way or ctx ends.
	Drain(ctx context.Context, upstreams []string) (left int)
	State() edgeapi.State
}

// Handler answers the agent.
func Handler(edge Edge) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+edgeapi.PathHealth, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET "+edgeapi.PathRoutes, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, edge.State()) })
	mux.HandleFunc("PUT "+edgeapi.PathRoutes+"/{owner}", func(w http.ResponseWriter, r *http.Request) {
		var in edgeapi.Routes
		if !decode(w, r, &in) {
			return
		}
		for _, route := range in.Routes {
			if err := route.Validate(); err != nil {
				answer(w, http.StatusBadRequest, edgeapi.Refusal{Message: fmt.Sprintf("route %s: %v", route.Name, err)})
				return
			}
		}
		done(w, edge.SetRoutes(r.PathValue("owner"), in.Routes, r.URL.Query().Get("check") == "true"))
	})
	mux.HandleFunc("DELETE "+edgeapi.PathRoutes+"/{owner}", func(w http.ResponseWriter, r *http.Request) {
		done(w, edge.SetRoutes(r.PathValue("owner"), nil, false))
	})
	mux.HandleFunc("PUT "+edgeapi.PathSettings, func(w http.ResponseWriter, r *http.Request) {
		var in edgeapi.Settings
		if decode(w, r, &in) {
			done(w, edge.Configure(in))
		}
	})
	mux.HandleFunc("POST "+edgeapi.PathDrain, func(w http.ResponseWriter, r *http.Request) {
		var in edgeapi.Drain
		if !decode(w, r, &in) {
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(in.WithinMillis)*time.Millisecond)
		defer cancel()
		answer(w, http.StatusOK, edgeapi.Drained{Left: edge.Drain(ctx, in.Upstreams)})
	})
	return mux
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := body.Decode(v); err != nil {
		answer(w, http.StatusBadRequest, edgeapi.Refusal{Message: "read the request: " + err.Error()})
		return false
	}
	return true
}

func done(w http.ResponseWriter, err error) {
	var conflict *edgeapi.ConflictError
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &conflict):
		answer(w, http.StatusConflict, edgeapi.Refusal{Message: conflict.Error(), Owner: conflict.Owner})
	default:
		answer(w, http.StatusInternalServerError, edgeapi.Refusal{Message: err.Error()})
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked is gone when this fails
}
