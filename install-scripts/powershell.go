package installscripts

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed windows/docker.ps1.tmpl
var windowsSource embed.FS

// windowsValues is what the template of the PowerShell script refers to.
type windowsValues struct {
	Params
	Expires, ExpiresEpoch, StateTar, EnrolTar string
}

// RenderPowerShell makes the install script for Docker Desktop on Windows, to
// be signed by whoever serves it. It is ASCII with the line ends of Windows; the
// same Params give the same bytes. RootPath must be empty: the state is in a
// volume of the engine. The error is a *FieldError when a field cannot be used.
//
// The script holds the one-time token: serve it only while the token lives.
func RenderPowerShell(params Params) ([]byte, error) {
	if params.RootPath != "" {
		return nil, refuse("RootPath", "must be left out for PowerShell: on Docker Desktop the agent's state is in a volume of the engine")
	}
	params = params.withDefaults()
	if err := params.validate(); err != nil {
		return nil, err
	}
	handed, err := json.Marshal(enrolment{Controller: params.AgentAddr, RootSHA256: params.RootSHA256, Token: params.Token, NodeName: params.NodeName})
	if err != nil {
		return nil, fmt.Errorf("encode the enrolment: %w", err)
	}
	state, err := archiveOf(
		file{"install", fmt.Sprintf("node %s\nroot %s\n", params.NodeID, params.RootSHA256)},
		file{"release-keys", releaseKeyLine(params.ReleaseKey)},
	)
	if err != nil {
		return nil, err
	}
	enrol, err := archiveOf(file{"enrol.json", string(handed) + "\n"})
	if err != nil {
		return nil, err
	}
	script, err := template.New("docker.ps1.tmpl").Delims("<%", "%>").
		Funcs(template.FuncMap{"quote": quotePowerShell}).ParseFS(windowsSource, "windows/docker.ps1.tmpl")
	if err != nil {
		return nil, fmt.Errorf("parse the PowerShell script: %w", err)
	}
	var out bytes.Buffer
	err = script.Execute(&out, windowsValues{
		Params: params, Expires: params.Expires.UTC().Format(time.RFC3339), ExpiresEpoch: strconv.FormatInt(params.Expires.Unix(), 10),
		StateTar: state, EnrolTar: enrol,
	})
	if err != nil {
		return nil, fmt.Errorf("render the PowerShell script: %w", err)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte("\r\n")), nil
}

func releaseKeyLine(key ed25519.PublicKey) string {
	return base64.StdEncoding.EncodeToString(key) + "\n"
}

// file is one file of the agent's state folder.
type file struct{ name, content string }

// archiveOf packs files for `docker cp`, readable by root alone, in base64.
func archiveOf(files ...file) (string, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o600, Size: int64(len(f.content)), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return "", fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			return "", fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("pack the agent's files: %w", err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// quotePowerShell makes text one literal of PowerShell. What is not plain ASCII
// is carried in base64: PowerShell 5.1 reads a file without a mark in the code
// page of the machine, and takes typographic quotes for quotes.
func quotePowerShell(text string) string {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			return "([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('" + base64.StdEncoding.EncodeToString([]byte(text)) + "')))"
		}
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// powerShellBody downloads the script, checks its digest and runs it. In it %s
// are the script's URL and its digest.
const powerShellBody = `& { $ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; ` +
	`[Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12; ` +
	`$f = Join-Path ([IO.Path]::GetTempPath()) ('fairlead-' + [Guid]::NewGuid().ToString('N') + '.ps1'); ` +
	`try { Invoke-WebRequest -UseBasicParsing -Uri '%s' -OutFile $f; ` +
	`if ((Get-FileHash -Algorithm SHA256 -LiteralPath $f).Hash -ne '%s') { throw 'fairlead: the script is not the one this command is for; nothing was run' }; ` +
	`& (Get-Process -Id $PID).Path -NoProfile -ExecutionPolicy Bypass -File $f @args } ` +
	`finally { if (Test-Path -LiteralPath $f) { Remove-Item -Force -LiteralPath $f } } }`

// PowerShellCommand is the one line a person pastes into PowerShell on the
// machine that becomes a node. It runs the script only when its bytes are
// script, and leaves nothing behind. Options may be added at its end.
func PowerShellCommand(scriptURL string, script []byte) (string, error) {
	if err := checkURL("scriptURL", scriptURL); err != nil {
		return "", err
	}
	if len(script) == 0 {
		return "", refuse("script", "must not be empty")
	}
	sum := sha256.Sum256(script)
	return fmt.Sprintf(powerShellBody, scriptURL, hex.EncodeToString(sum[:])), nil
}
