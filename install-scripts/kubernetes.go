package installscripts

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed shell crane
var kubernetesSources embed.FS

// DefaultWait is how long the script waits for the agent to be connected.
const DefaultWait = 3 * time.Minute

// KubernetesParams is what one node's install script for Kubernetes says. All
// text is checked by RenderKubernetes: what could not be carried into a shell or
// a manifest unharmed is refused, not altered.
type KubernetesParams struct {
	// NodeID and NodeName say which node the cluster becomes.
	NodeID, NodeName string
	// ControllerURL is the controller's public HTTP(S) address, without a path
	// or with one it is served under.
	ControllerURL string
	// AgentAddr is the host:port agents dial, gRPC over TLS.
	AgentAddr string
	// RootSHA256 is the SHA-256, in lower-case hex, of the DER form of the
	// controller's private root certificate.
	RootSHA256 string
	// Token is the one-time enrolment token and Expires when it ends.
	Token   string
	Expires time.Time
	// Name is that of the agent's namespace, and of what it needs of the cluster;
	// a label of DNS. Agents that share a cluster need names of their own.
	Name string
	// Image is the name:tag of the image inside the archives.
	Image string
	// Version of the agent.
	Version string
	// Artifacts are the agent's archives, one for each architecture.
	Artifacts []Artifact
	// ReleaseKey checks the artifacts' signatures.
	ReleaseKey ed25519.PublicKey
	// Wait is how long the agent may take to be connected; 0 means DefaultWait.
	Wait time.Duration
}

// kubernetesValues is what the template of the script refers to.
type kubernetesValues struct {
	KubernetesParams
	Enrolment, Expires, ExpiresEpoch, ReleaseKeyPEM, ReleaseKeyRaw, WaitText string
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$`)

// RenderKubernetes makes the install script for Kubernetes. The same params give
// the same bytes. The error is a *FieldError when a field cannot be used.
//
// The script holds the one-time token: serve it only while the token lives.
func RenderKubernetes(params KubernetesParams) ([]byte, error) {
	params.ControllerURL = strings.TrimRight(params.ControllerURL, "/")
	if params.Wait == 0 {
		params.Wait = DefaultWait
	}
	if err := params.validate(); err != nil {
		return nil, err
	}
	handed, err := json.Marshal(enrolment{
		Controller: params.AgentAddr, RootSHA256: params.RootSHA256, Token: params.Token, NodeName: params.NodeName,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the enrolment: %w", err)
	}
	key, err := x509.MarshalPKIXPublicKey(params.ReleaseKey)
	if err != nil {
		return nil, fmt.Errorf("encode the release key: %w", err)
	}
	// The delimiters are ones that neither shell nor kubectl's formats use.
	script, err := template.New("kubectl.sh.tmpl").Delims("<%", "%>").
		Funcs(template.FuncMap{"quote": quote}).
		ParseFS(kubernetesSources, "crane/*.sh.tmpl", "crane/*.sh", "shell/*.sh")
	if err != nil {
		return nil, fmt.Errorf("parse the install script: %w", err)
	}
	var out bytes.Buffer
	err = script.Execute(&out, kubernetesValues{
		KubernetesParams: params,
		Enrolment:        string(handed),
		Expires:          params.Expires.UTC().Format(time.RFC3339),
		ExpiresEpoch:     strconv.FormatInt(params.Expires.Unix(), 10),
		ReleaseKeyPEM:    string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key})),
		ReleaseKeyRaw:    base64.StdEncoding.EncodeToString(params.ReleaseKey),
		WaitText:         strconv.Itoa(int(params.Wait.Seconds())),
	})
	if err != nil {
		return nil, fmt.Errorf("render the install script: %w", err)
	}
	return out.Bytes(), nil
}

func (p KubernetesParams) validate() error {
	if !namePattern.MatchString(p.Name) {
		return refuse("Name", "must match %s", namePattern)
	}
	if p.Wait < time.Second || p.Wait > time.Hour {
		return refuse("Wait", "must be 1 s to an hour")
	}
	// What both scripts carry is checked in one place.
	return Params{
		NodeID: p.NodeID, NodeName: p.NodeName, ControllerURL: p.ControllerURL, AgentAddr: p.AgentAddr, RootSHA256: p.RootSHA256,
		Token: p.Token, Expires: p.Expires, Image: p.Image, Version: p.Version, Artifacts: p.Artifacts, ReleaseKey: p.ReleaseKey,
	}.withDefaults().validate()
}
