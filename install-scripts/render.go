package installscripts

import (
	"bytes"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed shell dagent
var sources embed.FS

// linuxValues is what the template of the Linux script refers to.
type linuxValues struct {
	Params
	Enrolment, Expires, ExpiresEpoch, ReleaseKeyPEM, ReleaseKeyRaw string
}

// enrolment is the content of enrol.json.
type enrolment struct {
	Controller string `json:"controller"`
	RootSHA256 string `json:"rootSha256"`
	Token      string `json:"token"`
	NodeName   string `json:"nodeName"`
}

// Render makes the install script for Docker on Linux. The same Params give the
// same bytes. The error is a *FieldError when a field cannot be used.
//
// The script holds the one-time token: serve it only while the token lives.
func Render(params Params) ([]byte, error) {
	params = params.withDefaults()
	if err := params.validate(); err != nil {
		return nil, err
	}
	handed, err := json.Marshal(enrolment{
		Controller: params.AgentAddr,
		RootSHA256: params.RootSHA256,
		Token:      params.Token,
		NodeName:   params.NodeName,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the enrolment: %w", err)
	}
	key, err := x509.MarshalPKIXPublicKey(params.ReleaseKey)
	if err != nil {
		return nil, fmt.Errorf("encode the release key: %w", err)
	}
	// The delimiters are ones that neither shell nor Docker's formats use.
	script, err := template.New("linux.sh.tmpl").Delims("<%", "%>").
		Funcs(template.FuncMap{"quote": quote}).
		ParseFS(sources, "dagent/linux.sh.tmpl", "dagent/*.sh", "shell/*.sh")
	if err != nil {
		return nil, fmt.Errorf("parse the install script: %w", err)
	}
	var out bytes.Buffer
	err = script.Execute(&out, linuxValues{
		Params:        params,
		Enrolment:     string(handed),
		Expires:       params.Expires.UTC().Format(time.RFC3339),
		ExpiresEpoch:  strconv.FormatInt(params.Expires.Unix(), 10),
		ReleaseKeyRaw: base64.StdEncoding.EncodeToString(params.ReleaseKey),
		ReleaseKeyPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key})),
	})
	if err != nil {
		return nil, fmt.Errorf("render the install script: %w", err)
	}
	return out.Bytes(), nil
}

// quote makes text one word of a POSIX shell, whatever is in it.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
