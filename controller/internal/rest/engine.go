package rest

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	swagger "github.com/swaggest/swgui/v5emb"

	"fairlead.dev/shared/logging"
)

// EngineConfig is what an engine needs.
type EngineConfig struct {
	Log     *slog.Logger
	Metrics *prometheus.Registry
	// Checks are asked by /readyz, in order.
	Checks []Check
	// Draining tells that the controller is about to stop: connections are
	// closed behind each answer, while their clients still expect it. Nil for
	// never.
	Draining func() bool
	// CountStatements makes a context count the statements of the database that
	// are run with it. Nil for no count.
	CountStatements func(context.Context) (context.Context, func() int)
	// KeepRequestID lets the API put the request's id into its logs.
	KeepRequestID func(context.Context, string) context.Context
}

// NewEngine returns a gin engine with everything that is not an API: request
// ids, logs, metrics, health, and the page that shows the API's document.
func NewEngine(c EngineConfig) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	log := c.Log.With(logging.KeyComponent, "rest")
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// Addresses for rate limits come from the connection: a header can be
	// made up by the client.
	_ = engine.SetTrustedProxies(nil) // fails for malformed addresses only
	if c.Draining != nil {
		engine.Use(closeWhile(c.Draining))
	}
	engine.Use(identify(c.KeepRequestID), access(log), measure(c.Metrics, c.CountStatements), recoverPanics(log), secureHeaders, crossOrigin())

	engine.GET("/livez", func(ctx *gin.Context) { ctx.String(http.StatusOK, "ok\n") })
	engine.GET("/readyz", ready(c.Checks))
	engine.GET("/metrics", gin.WrapH(promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{})))

	page := gin.WrapH(swagger.New("Fairlead team API", "/openapi.json", "/docs/"))
	engine.GET("/docs", page)
	engine.GET("/docs/*asset", page)
	return engine
}
