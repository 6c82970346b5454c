package artifact

import (
	"crypto/ed25519"
	"crypto/tls"
	"errors"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/node"
	installscripts "fairlead.dev/install-scripts"
	"fairlead.dev/shared/apperr"
)

// Scripts renders install scripts that install this library's agents.
type Scripts struct {
	Library *Library
	// PublicURL is where nodes reach the controller, AgentAddr where agents do.
	PublicURL string
	AgentAddr string
	// RootPin returns the root that agents are to pin now: SHA-256, hex.
	RootPin    func() string
	ReleaseKey ed25519.PublicKey
	// CodeSigner returns the certificate that signs PowerShell scripts.
	CodeSigner func() (*tls.Certificate, error)
}

// Render returns a node's script and the line to paste. Precondition when the
// library is empty; Invalid when a value can't be carried into a script.
func (s Scripts) Render(r node.ScriptRequest) (script []byte, command string, err error) {
	render, pasted := s.forDocker, installscripts.Command
	switch {
	case r.Type == node.Kubernetes:
		render = s.forKubernetes
	case r.ScriptType == node.PowerShell:
		render, pasted = s.forWindows, installscripts.PowerShellCommand
	}
	url := s.PublicURL + "/api/" + r.TeamSlug + "/nodes/" + r.NodeID.String() + "/script"
	if script, err = render(r); err != nil {
		return nil, "", scriptError(err)
	}
	command, err = pasted(url, script)
	if err != nil {
		return nil, "", scriptError(err)
	}
	return script, command, nil
}

func (s Scripts) forDocker(r node.ScriptRequest) ([]byte, error) {
	params, err := s.dockerParams(r)
	if err != nil {
		return nil, err
	}
	return installscripts.Render(params)
}

// dockerParams is what scripts of both shells say.
func (s Scripts) dockerParams(r node.ScriptRequest) (installscripts.Params, error) {
	if len(s.Library.Artifacts) == 0 {
		return installscripts.Params{}, apperr.New(apperr.Precondition,
			"this controller has no agent to install: build the archives (make artifacts) into its artifact folder and start it again")
	}
	return installscripts.Params{
		ControllerURL: s.PublicURL, AgentAddr: s.AgentAddr, RootSHA256: s.RootPin(),
		Token: r.Token, Expires: r.ExpireAt, NodeID: r.NodeID.String(), NodeName: r.NodeName, RootPath: r.RootPath, ACMEEmail: r.ACMEEmail,
		ContainerName: containerName(r.NodeID),
		Image:         s.Library.Image, Version: s.Library.Version, Artifacts: s.Library.Artifacts, ReleaseKey: s.ReleaseKey,
	}, nil
}

// forKubernetes has no place for a folder on the node, nor for what the edge proxy
// of the Docker agent is told.
func (s Scripts) forKubernetes(r node.ScriptRequest) ([]byte, error) {
	if len(s.Library.Crane) == 0 {
		return nil, apperr.New(apperr.Precondition,
			"this controller has no agent for Kubernetes to install: build the archives (make artifacts) into its artifact folder and start it again")
	}
	if r.RootPath != "" {
		return nil, apperr.InvalidField("rootPath", r.RootPath, "the agent of a cluster keeps its state in a secret; leave it out")
	}
	if r.ACMEEmail != "" {
		return nil, apperr.InvalidField("dagentTraefik", nil, "is of the agent for Docker; a cluster has an ingress controller of its own")
	}
	return installscripts.RenderKubernetes(installscripts.KubernetesParams{
		ControllerURL: s.PublicURL, AgentAddr: s.AgentAddr, RootSHA256: s.RootPin(),
		Token: r.Token, Expires: r.ExpireAt, NodeID: r.NodeID.String(), NodeName: r.NodeName,
		Name:  "fairlead-" + r.NodeID.String()[:8],
		Image: s.Library.CraneImage, Version: s.Library.Version, Artifacts: s.Library.Crane, ReleaseKey: s.ReleaseKey,
	})
}

// forWindows is forDocker for PowerShell; the script is signed for Windows.
func (s Scripts) forWindows(r node.ScriptRequest) ([]byte, error) {
	params, err := s.dockerParams(r)
	if err != nil {
		return nil, err
	}
	plain, err := installscripts.RenderPowerShell(params)
	if err != nil {
		return nil, err
	}
	signer, err := s.CodeSigner()
	if err != nil {
		return nil, err
	}
	return SignPowerShell(plain, signer)
}

// containerName is what a node's agent is called on its machine: the node's
// own, so that agents of several nodes can share an engine, each with a root
// path of its own.
func containerName(nodeID uuid.UUID) string {
	return installscripts.DefaultContainerName + "-" + nodeID.String()[:8]
}

// scriptError names a field that came from the request in the API's word for
// it; any other is our own fault.
func scriptError(err error) error {
	var field *installscripts.FieldError
	if !errors.As(err, &field) {
		return err
	}
	switch field.Field {
	case "RootPath":
		return apperr.InvalidField("rootPath", nil, "%s", field.Reason)
	case "ACMEEmail":
		return apperr.InvalidField("dagentTraefik.acmeEmail", nil, "%s", field.Reason)
	}
	return err
}
