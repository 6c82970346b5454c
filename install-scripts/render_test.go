package installscripts_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	installscripts "fairlead.dev/install-scripts"
)

var update = flag.Bool("update", false, "rewrite the golden renders")

// example is a complete set of parameters.
func example() installscripts.Params {
	return installscripts.Params{
		NodeID:        "2f1c9d6e-0000-4000-8000-000000000001",
		NodeName:      "web-1",
		ControllerURL: "https://fairlead.example.org",
		AgentAddr:     "fairlead.example.org:8443",
		RootSHA256:    strings.Repeat("0123456789abcdef", 4),
		Token:         "example-token-0123456789",
		Expires:       time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Image:         "fairlead/dagent:1.2.3",
		Version:       "1.2.3",
		ACMEEmail:     "admin@example.org",
		Artifacts: []installscripts.Artifact{
			{Arch: "amd64", Path: "/artifacts/dagent/1.2.3/linux-amd64.tar", SHA256: strings.Repeat("a1", 32), Size: 12345678, ImageDigest: "sha256:" + strings.Repeat("a2", 32), ImageID: "sha256:" + strings.Repeat("a3", 32)},
			{Arch: "arm64", Path: "/artifacts/dagent/1.2.3/linux-arm64.tar", SHA256: strings.Repeat("b2", 32), Size: 11345678, ImageDigest: "sha256:" + strings.Repeat("b3", 32), ImageID: "sha256:" + strings.Repeat("b4", 32)},
		},
		ReleaseKey: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey),
	}
}

// difficult is what is still allowed and hardest to quote.
func difficult() installscripts.Params {
	params := example()
	params.NodeName = `Büro's "node" $(reboot) ` + "`reboot`" + ` \n %s <% .Token %>`
	params.RootPath = `/srv/it's "here" $HOME/$(id) ` + "`id`" + ` \ <%x%> *`
	params.ACMEEmail = "o'neil+`id`${HOME}|#@mail.example.org"
	params.ControllerURL = "http://[2001:db8::1]:8080/fairlead/"
	params.AgentAddr = "[2001:db8::1]:8443"
	params.ContainerName = "agent_2.b-c"
	params.Artifacts = params.Artifacts[1:]
	return params
}

func TestGolden(t *testing.T) {
	for name, params := range map[string]installscripts.Params{"example": example(), "difficult": difficult()} {
		t.Run(name, func(t *testing.T) {
			got, err := installscripts.Render(params)
			if err != nil {
				t.Fatal(err)
			}
			again, err := installscripts.Render(params)
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("two renders differ (%v)", err)
			}
			file := filepath.Join("testdata", "golden", name+".sh")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the render differs from %s; see the change with: go test -run TestGolden -update && git diff", file)
			}
		})
	}
}

func TestShellcheck(t *testing.T) {
	for _, name := range []string{"example", "difficult"} {
		file := filepath.Join("testdata", "golden", name+".sh")
		// SC2016 is a hint about what the difficult values do on purpose.
		out, err := exec.CommandContext(t.Context(), "shellcheck", "--shell=sh", "--severity=style", "--exclude=SC2016", file).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			t.Fatal("this test needs shellcheck: apt-get install shellcheck")
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

func TestBadParamsAreRefusedByField(t *testing.T) {
	type params = installscripts.Params
	for name, test := range map[string]struct {
		field  string
		change func(*params)
	}{
		"no node":                {"NodeID", func(p *params) { p.NodeID = "" }},
		"node with a quote":      {"NodeID", func(p *params) { p.NodeID = "a'b" }},
		"nameless":               {"NodeName", func(p *params) { p.NodeName = "" }},
		"name over two lines":    {"NodeName", func(p *params) { p.NodeName = "a\nb" }},
		"name with an escape":    {"NodeName", func(p *params) { p.NodeName = "a\x1b[2J" }},
		"name with a bidi mark":  {"NodeName", func(p *params) { p.NodeName = "a\u202eb" }},
		"name not UTF-8":         {"NodeName", func(p *params) { p.NodeName = "\xff" }},
		"long name":              {"NodeName", func(p *params) { p.NodeName = strings.Repeat("a", 256) }},
		"no URL":                 {"ControllerURL", func(p *params) { p.ControllerURL = "" }},
		"file URL":               {"ControllerURL", func(p *params) { p.ControllerURL = "file:///etc/passwd" }},
		"URL with a user":        {"ControllerURL", func(p *params) { p.ControllerURL = "https://a:b@example.org" }},
		"URL with a query":       {"ControllerURL", func(p *params) { p.ControllerURL = "https://example.org/?a=b" }},
		"URL with a command":     {"ControllerURL", func(p *params) { p.ControllerURL = "https://example.org/$(id)" }},
		"URL with a quote":       {"ControllerURL", func(p *params) { p.ControllerURL = "https://example.org/'" }},
		"URL climbing":           {"ControllerURL", func(p *params) { p.ControllerURL = "https://example.org/a/../b" }},
		"URL port":               {"ControllerURL", func(p *params) { p.ControllerURL = "https://example.org:99999" }},
		"URL host":               {"ControllerURL", func(p *params) { p.ControllerURL = "https://-x" }},
		"address without port":   {"AgentAddr", func(p *params) { p.AgentAddr = "example.org" }},
		"address with port 0":    {"AgentAddr", func(p *params) { p.AgentAddr = "example.org:0" }},
		"address with a space":   {"AgentAddr", func(p *params) { p.AgentAddr = "exa mple.org:1" }},
		"short pin":              {"RootSHA256", func(p *params) { p.RootSHA256 = "ab" }},
		"upper-case pin":         {"RootSHA256", func(p *params) { p.RootSHA256 = strings.Repeat("AB", 32) }},
		"no token":               {"Token", func(p *params) { p.Token = "" }},
		"token over two lines":   {"Token", func(p *params) { p.Token = "a\nb" }},
		"long token":             {"Token", func(p *params) { p.Token = strings.Repeat("a", 513) }},
		"never expires":          {"Expires", func(p *params) { p.Expires = time.Time{} }},
		"relative folder":        {"RootPath", func(p *params) { p.RootPath = "var/lib/x" }},
		"unclean folder":         {"RootPath", func(p *params) { p.RootPath = "/var/lib/../x" }},
		"folder with a line":     {"RootPath", func(p *params) { p.RootPath = "/var/lib/x\ny" }},
		"folder with a colon":    {"RootPath", func(p *params) { p.RootPath = "/var/lib/x:ro" }},
		"folder with a tab":      {"RootPath", func(p *params) { p.RootPath = "/var/lib/x\ty" }},
		"folder ending blank":    {"RootPath", func(p *params) { p.RootPath = "/var/lib/x " }},
		"address without a host": {"ACMEEmail", func(p *params) { p.ACMEEmail = "admin" }},
		"host without a dot":     {"ACMEEmail", func(p *params) { p.ACMEEmail = "admin@localhost" }},
		"address with a name":    {"ACMEEmail", func(p *params) { p.ACMEEmail = "Ann <ann@example.org>" }},
		"address of two lines":   {"ACMEEmail", func(p *params) { p.ACMEEmail = "ann@example.org\nENROLMENT=" }},
		"address ending a line":  {"ACMEEmail", func(p *params) { p.ACMEEmail = "ann@example.org\n" }},
		"quoted address":         {"ACMEEmail", func(p *params) { p.ACMEEmail = `"a b"@example.org` }},
		"address at a number":    {"ACMEEmail", func(p *params) { p.ACMEEmail = "ann@192.0.2.1" }},
		"long address":           {"ACMEEmail", func(p *params) { p.ACMEEmail = "ann@" + strings.Repeat("a.", 130) + "org" }},
		"the root":               {"RootPath", func(p *params) { p.RootPath = "/" }},
		"a top folder":           {"RootPath", func(p *params) { p.RootPath = "/home" }},
		"a folder of all":        {"RootPath", func(p *params) { p.RootPath = "/var/lib" }},
		"a passing folder":       {"RootPath", func(p *params) { p.RootPath = "/var/run/agent" }},
		"a system folder":        {"RootPath", func(p *params) { p.RootPath = "/etc/fairlead" }},
		"long folder":            {"RootPath", func(p *params) { p.RootPath = "/a/" + strings.Repeat("a", 1024) }},
		"container option":       {"ContainerName", func(p *params) { p.ContainerName = "--privileged" }},
		"no image":               {"Image", func(p *params) { p.Image = "" }},
		"image without a tag":    {"Image", func(p *params) { p.Image = "fairlead/dagent" }},
		"image option":           {"Image", func(p *params) { p.Image = "--help:1" }},
		"no version":             {"Version", func(p *params) { p.Version = "" }},
		"version with a line":    {"Version", func(p *params) { p.Version = "1\n2" }},
		"no artifacts":           {"Artifacts", func(p *params) { p.Artifacts = nil }},
		"unknown architecture":   {"Artifacts[0].Arch", func(p *params) { p.Artifacts[0].Arch = "*" }},
		"architecture twice":     {"Artifacts[1].Arch", func(p *params) { p.Artifacts[1].Arch = "amd64" }},
		"artifact elsewhere":     {"Artifacts[0].Path", func(p *params) { p.Artifacts[0].Path = "@evil.example/x" }},
		"artifact climbing":      {"Artifacts[0].Path", func(p *params) { p.Artifacts[0].Path = "/../x" }},
		"artifact digest":        {"Artifacts[1].SHA256", func(p *params) { p.Artifacts[1].SHA256 = "" }},
		"artifact size":          {"Artifacts[1].Size", func(p *params) { p.Artifacts[1].Size = 0 }},
		"image digest":           {"Artifacts[0].ImageDigest", func(p *params) { p.Artifacts[0].ImageDigest = "latest" }},
		"image without a digest": {"Artifacts[1].ImageDigest", func(p *params) { p.Artifacts[1].ImageDigest = "" }},
		"image id":               {"Artifacts[1].ImageID", func(p *params) { p.Artifacts[1].ImageID = "sha256:$(id)" }},
		"no key":                 {"ReleaseKey", func(p *params) { p.ReleaseKey = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			params := example()
			test.change(&params)
			script, err := installscripts.Render(params)
			var field *installscripts.FieldError
			if !errors.As(err, &field) || field.Field != test.field {
				t.Errorf("Render: %d bytes, %v; want an error about %s", len(script), err, test.field)
			}
		})
	}
}
