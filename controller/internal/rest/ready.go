package rest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const checkTimeout = 3 * time.Second

// Check is one thing that must hold for the controller to serve.
type Check struct {
	Name string
	// Ready returns why not, or nil.
	Ready func(ctx context.Context) error
}

// ready answers 200 when all checks hold and 503 otherwise; with ?verbose, a
// line for each.
func ready(checks []Check) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), checkTimeout)
		defer cancel()
		status := http.StatusOK
		var report strings.Builder
		for _, check := range checks {
			if err := check.Ready(ctx); err != nil {
				status = http.StatusServiceUnavailable
				fmt.Fprintf(&report, "[-] %s: %v\n", check.Name, err)
			} else {
				fmt.Fprintf(&report, "[+] %s: ok\n", check.Name)
			}
		}
		verdict := "ok\n"
		if status != http.StatusOK {
			verdict = "not ready\n"
		}
		if _, verbose := c.GetQuery("verbose"); verbose || status != http.StatusOK {
			verdict = report.String() + verdict
		}
		c.String(status, "%s", verdict)
	}
}
