package installscripts

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// DefaultRootPath is where the agent keeps its state on the node.
	DefaultRootPath = "/var/lib/fairlead-agent"
	// DefaultContainerName is the name of the agent's container.
	DefaultContainerName = "fairlead-agent"

	maxText     = 255
	maxEmail    = 254
	maxURL      = 1024
	maxPath     = 1024
	maxToken    = 512
	maxArtifact = 2 << 30
)

// Params is what one node's install script says. All text is checked by Render:
// what could not be carried into a shell unharmed is refused, not altered.
type Params struct {
	// NodeID and NodeName say which node the machine becomes.
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
	// RootPath is the folder on the node for the agent's state; empty means
	// DefaultRootPath. It must be absolute, must not be a folder of the system
	// itself and must not hold ':' or control characters.
	RootPath string
	// ACMEEmail is where the certificate authority may write about the
	// certificates of what the node serves; with one the node serves by the
	// agent's own proxy. Empty leaves both to whoever runs the script. ASCII
	// only, at most 254 bytes.
	ACMEEmail string
	// ContainerName of the agent; empty means DefaultContainerName. Agents that
	// share an engine need names of their own.
	ContainerName string
	// Image is the name:tag of the image inside the archives.
	Image string
	// Version of the agent.
	Version string
	// Artifacts are the agent's archives, one for each architecture.
	Artifacts []Artifact
	// ReleaseKey checks the artifacts' signatures.
	ReleaseKey ed25519.PublicKey
}

// Artifact is one agent archive as the controller serves it.
type Artifact struct {
	// Arch as Docker names it: amd64 or arm64.
	Arch string
	// Path of the archive under the controller's URL, starting with "/".
	Path string
	// SHA256 of the archive in lower-case hex.
	SHA256 string
	// Size of the archive in bytes, at most 2 GiB.
	Size int64
	// ImageDigest is what a registry has the archive's image by, and ImageID what an
	// engine has it by, both like sha256:…; both are empty where the image can only be
	// had out of the archive.
	ImageDigest, ImageID string
}

// SizeText is the size in decimal digits.
func (a Artifact) SizeText() string { return strconv.FormatInt(a.Size, 10) }

// FieldError names the field of Params, or of Command's arguments, that cannot
// be used.
type FieldError struct {
	// Field is the Go name of the field, with the index for artifacts.
	Field string
	// Reason continues the sentence "field …".
	Reason string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

func refuse(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

var (
	idPattern        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)
	tokenPattern     = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)
	versionPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$`)
	containerPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)
	imagePattern     = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	hostPattern      = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	localPartPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")
	urlPathPattern   = regexp.MustCompile(`^(/[A-Za-z0-9._~+-]+)*$`)
)

// withDefaults fills what may be left empty.
func (p Params) withDefaults() Params {
	if p.RootPath == "" {
		p.RootPath = DefaultRootPath
	}
	if p.ContainerName == "" {
		p.ContainerName = DefaultContainerName
	}
	p.ControllerURL = strings.TrimRight(p.ControllerURL, "/")
	return p
}

func (p Params) validate() error {
	for _, check := range []struct {
		field, value string
		pattern      *regexp.Regexp
	}{
		{"NodeID", p.NodeID, idPattern},
		{"Token", p.Token, tokenPattern},
		{"Version", p.Version, versionPattern},
		{"ContainerName", p.ContainerName, containerPattern},
		{"Image", p.Image, imagePattern},
	} {
		if !check.pattern.MatchString(check.value) {
			return refuse(check.field, "must match %s", check.pattern)
		}
	}
	if len(p.Token) > maxToken {
		return refuse("Token", "must be at most %d bytes", maxToken)
	}
	if len(p.Image) > maxText {
		return refuse("Image", "must be at most %d bytes", maxText)
	}
	if p.NodeName == "" || len(p.NodeName) > maxText || !printable(p.NodeName) {
		return refuse("NodeName", "must be 1 to %d bytes of printable text", maxText)
	}
	if err := checkURL("ControllerURL", p.ControllerURL); err != nil {
		return err
	}
	if err := checkAddr(p.AgentAddr); err != nil {
		return err
	}
	if !digest(p.RootSHA256) {
		return refuse("RootSHA256", "must be a SHA-256 in lower-case hex")
	}
	if p.Expires.Unix() <= 0 {
		return refuse("Expires", "must be set")
	}
	if err := checkRootPath(p.RootPath); err != nil {
		return err
	}
	if p.ACMEEmail != "" && !emailAddress(p.ACMEEmail) {
		return refuse("ACMEEmail", "must be an e-mail address such as admin@example.org")
	}
	if len(p.ReleaseKey) != ed25519.PublicKeySize {
		return refuse("ReleaseKey", "must be an Ed25519 public key")
	}
	return checkArtifacts(p.Artifacts)
}

func checkArtifacts(artifacts []Artifact) error {
	if len(artifacts) == 0 {
		return refuse("Artifacts", "must hold at least one")
	}
	known := map[string]bool{"amd64": true, "arm64": true}
	for i, artifact := range artifacts {
		field := fmt.Sprintf("Artifacts[%d]", i)
		if !known[artifact.Arch] {
			return refuse(field+".Arch", "must be amd64 or arm64, each once")
		}
		known[artifact.Arch] = false
		if len(artifact.Path) < 2 || len(artifact.Path) > maxURL || !cleanURLPath(artifact.Path) {
			return refuse(field+".Path", "must be a plain URL path like /artifacts/agent.tar")
		}
		if !digest(artifact.SHA256) {
			return refuse(field+".SHA256", "must be a SHA-256 in lower-case hex")
		}
		if artifact.Size <= 0 || artifact.Size > maxArtifact {
			return refuse(field+".Size", "must be 1 to %d bytes", maxArtifact)
		}
		if artifact.ImageDigest == "" && artifact.ImageID == "" {
			continue
		}
		if !imageDigest(artifact.ImageDigest) {
			return refuse(field+".ImageDigest", "must be like sha256:…, or empty like ImageID")
		}
		if !imageDigest(artifact.ImageID) {
			return refuse(field+".ImageID", "must be like sha256:…, or empty like ImageDigest")
		}
	}
	return nil
}

// checkURL takes only what needs no quoting anywhere, so that the URL can stand
// in a command a person pastes.
func checkURL(field, text string) error {
	if len(text) > maxURL {
		return refuse(field, "must be at most %d bytes", maxURL)
	}
	parsed, err := url.Parse(text)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return refuse(field, "must be an http or https URL")
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" || strings.ContainsAny(text, "?#@%") {
		return refuse(field, "must have no user, query, fragment or escapes")
	}
	if !host(parsed.Hostname()) {
		return refuse(field, "must name a host")
	}
	if strings.HasSuffix(parsed.Host, ":") || (parsed.Port() != "" && !port(parsed.Port())) {
		return refuse(field, "must have a port of 1 to 65535 or none")
	}
	if !cleanURLPath(parsed.Path) {
		return refuse(field, "must have a plain path or none")
	}
	return nil
}

func checkAddr(text string) error {
	name, number, err := net.SplitHostPort(text)
	if err != nil || len(text) > maxText || !host(name) || !port(number) {
		return refuse("AgentAddr", "must be host:port")
	}
	return nil
}

// checkRootPath refuses what Docker's --volume cannot express (':'), what is no
// clean absolute path, and folders that are the system's own.
func checkRootPath(folder string) error {
	const field = "RootPath"
	switch {
	case len(folder) > maxPath:
		return refuse(field, "must be at most %d bytes", maxPath)
	case !printable(folder):
		return refuse(field, "must be printable text")
	case !path.IsAbs(folder) || path.Clean(folder) != folder:
		return refuse(field, "must be an absolute path without . and .. and without a slash at the end")
	case strings.Contains(folder, ":"):
		return refuse(field, "must not hold ':': Docker cannot mount such a folder")
	case strings.TrimSpace(folder) != folder:
		return refuse(field, "must not end in a space")
	case strings.Count(folder, "/") < 2:
		return refuse(field, "must not be the root or a folder right under it")
	}
	switch folder {
	case "/var/cache", "/var/lib", "/var/local", "/var/log", "/var/mail", "/var/opt", "/var/spool", "/var/tmp":
		return refuse(field, "must not be %s itself", folder)
	}
	for _, system := range []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run"} {
		if strings.HasPrefix(folder, system+"/") {
			return refuse(field, "must not be under %s", system)
		}
	}
	return nil
}

func printable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func digest(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32 && strings.ToLower(text) == text
}

func imageDigest(text string) bool {
	sum, found := strings.CutPrefix(text, "sha256:")
	return found && digest(sum)
}

func host(text string) bool {
	return len(text) <= 253 && (hostPattern.MatchString(text) || net.ParseIP(text) != nil)
}

// emailAddress takes addresses that certificate authorities do: ASCII, without
// a name or quotes, at a host with a dot.
func emailAddress(text string) bool {
	local, domain, found := strings.Cut(text, "@")
	return found && len(text) <= maxEmail && len(local) <= 64 && localPartPattern.MatchString(local) &&
		hostPattern.MatchString(domain) && strings.Contains(domain, ".") && net.ParseIP(domain) == nil
}

func port(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == text
}

func cleanURLPath(text string) bool {
	return urlPathPattern.MatchString(text) && !strings.Contains(text, "/..") && !strings.Contains(text, "/./")
}
