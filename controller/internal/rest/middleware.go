package rest

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/shared/logging"
)

const requestIDHeader = "Request-Id"

// identify gives every request an id, returns it to the client, and lets the
// inner edge keep it.
func identify(keep func(context.Context, string) context.Context) gin.HandlerFunc {
	return func(c *gin.Context) {
		id := uuid.NewString()
		c.Header(requestIDHeader, id)
		c.Request = c.Request.WithContext(keep(c.Request.Context(), id))
		c.Next()
	}
}

// access logs each request once, after it ended. 5xx are warnings; their cause
// was logged where it was handled.
func access(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		began := time.Now()
		c.Next()
		level := slog.LevelDebug
		if c.Writer.Status() >= http.StatusInternalServerError {
			level = slog.LevelWarn
		}
		log.LogAttrs(c.Request.Context(), level, "request",
			slog.String(logging.KeyRequest, c.Writer.Header().Get(requestIDHeader)),
			slog.String("method", c.Request.Method),
			slog.String("route", c.FullPath()), // not the path: it may hold what must not be logged
			slog.Int("status", c.Writer.Status()),
			slog.Duration("took", time.Since(began)),
		)
	}
}

// recoverPanics answers 500 for a handler that panicked and logs where.
func recoverPanics(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("a request handler panicked", "panic", p, "stack", string(debug.Stack()))
				if !c.Writer.Written() {
					c.AbortWithStatus(http.StatusInternalServerError)
				}
			}
		}()
		c.Next()
	}
}

// crossOrigin refuses browsers' state-changing requests from other origins, so
// that the session cookie can't be used by a foreign page.
func crossOrigin() gin.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if err := protection.Check(c.Request); err != nil {
			c.AbortWithStatus(http.StatusForbidden)
			return
		}
		c.Next()
	}
}

// closeWhile has connections closed behind their answers while draining.
func closeWhile(draining func() bool) gin.HandlerFunc {
	return func(c *gin.Context) {
		if draining() {
			c.Header("Connection", "close")
		}
		c.Next()
	}
}

// secureHeaders sets what every answer should carry.
func secureHeaders(c *gin.Context) {
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("Referrer-Policy", "same-origin")
	c.Header("X-Frame-Options", "DENY")
	c.Next()
}

// measure counts requests and their duration by route, not by path, so that
// the number of series is bounded. It also counts the statements each took,
// which must not depend on how much there is.
func measure(registry prometheus.Registerer, count func(context.Context) (context.Context, func() int)) gin.HandlerFunc {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "fairlead_http_request_duration_seconds",
		Help:    "Time to answer a request, by route and status.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	}, []string{"method", "route", "code"})
	statements := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "fairlead_http_request_statements",
		Help:    "Statements of the database that a request took, by route.",
		Buckets: []float64{0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64},
	}, []string{"method", "route"})
	registry.MustRegister(durations, statements)
	return func(c *gin.Context) {
		began := time.Now()
		counted := func() int { return 0 }
		if count != nil {
			ctx := c.Request.Context()
			ctx, counted = count(ctx)
			c.Request = c.Request.WithContext(ctx)
		}
		c.Next()
		route := c.FullPath()
		if route == "" {
			route = "none"
		}
		durations.WithLabelValues(c.Request.Method, route, strconv.Itoa(c.Writer.Status())).Observe(time.Since(began).Seconds())
		statements.WithLabelValues(c.Request.Method, route).Observe(float64(counted()))
	}
}
