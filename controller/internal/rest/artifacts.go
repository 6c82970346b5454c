package rest

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// Artifacts are files that install scripts download.
type Artifacts interface {
	File(path string) (string, bool)
	Signature(path string) ([]byte, bool)
}

// MountArtifacts serves the artifacts. They are public: they hold no secret,
// and a node has no login. Nothing outside the library can be named.
func MountArtifacts(engine *gin.Engine, library Artifacts) {
	handler := func(c *gin.Context) {
		if file, found := library.File(c.Request.URL.Path); found {
			kind := "application/x-tar"
			if strings.HasSuffix(file, ".json") {
				kind = "application/vnd.cyclonedx+json"
			}
			c.Header("Content-Type", kind)
			http.ServeFile(c.Writer, c.Request, file)
			return
		}
		if signature, found := library.Signature(c.Request.URL.Path); found {
			c.Data(http.StatusOK, "text/plain; charset=utf-8", signature)
			return
		}
		c.String(http.StatusNotFound, "no such artifact\n")
	}
	engine.GET("/artifacts/*path", handler)
	engine.HEAD("/artifacts/*path", handler)
}
