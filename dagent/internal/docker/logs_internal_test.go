package docker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/workload"
)

const stamp = "2026-01-02T03:04:05.000000006Z "

func TestLineWriterMakesLines(t *testing.T) {
	for name, test := range map[string]struct {
		messages []string
		want     []string
	}{
		"one line a message":      {[]string{stamp + "a\n", stamp + "b\n"}, []string{"a", "b"}},
		"a line in two messages":  {[]string{stamp + "first ", stamp + "second\n"}, []string{"first second"}},
		"an empty line":           {[]string{stamp + "\n"}, []string{""}},
		"no line break at end":    {[]string{stamp + "rest"}, []string{"rest"}},
		"terminal line break":     {[]string{stamp + "a\r\n"}, []string{"a"}},
		"not UTF-8":               {[]string{stamp + "a\xffb\n"}, []string{"a�b"}},
		"no time":                 {[]string{"plain words\n"}, []string{"plain words"}},
		"line without end is cut": {[]string{stamp + strings.Repeat("x", maxLine+1) + "\n"}, []string{strings.Repeat("x", maxLine), "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			w := &lineWriter{stream: "stdout", emit: func(l workload.LogLine) error {
				got = append(got, l.Text)
				if at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC); name != "no time" && !l.Time.Equal(at) {
					t.Errorf("time is %v, want %v", l.Time, at)
				}
				return nil
			}}
			for _, m := range test.messages {
				if n, err := w.Write([]byte(m)); n != len(m) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if err := w.flush(); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("lines are %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestLineWriterStopsWhenRefused(t *testing.T) {
	enough := errors.New("enough")
	w := &lineWriter{emit: func(workload.LogLine) error { return enough }}
	if _, err := w.Write([]byte(stamp + "a\n" + stamp + "b\n")); !errors.Is(err, enough) || !errors.Is(w.refused, enough) {
		t.Errorf("Write: %v, want the callback's error", err)
	}
}

func FuzzLineWriter(f *testing.F) {
	f.Add(stamp+"a\n", "b\r\n")
	f.Add("", "\n\n \n")
	f.Fuzz(func(t *testing.T, first, second string) {
		w := &lineWriter{emit: func(l workload.LogLine) error {
			if len(l.Text) > 3*maxLine || strings.Contains(l.Text, "\n") {
				t.Errorf("line %q", l.Text)
			}
			return nil
		}}
		for _, m := range []string{first, second} {
			if n, err := w.Write([]byte(m)); n != len(m) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestParseBytes(t *testing.T) {
	for quantity, want := range map[string]int64{
		"0": 0, "512": 512, "1k": 1000, "1Ki": 1024, "1.5Gi": 3 << 29, "64M": 64e6, "64Mi": 64 << 20,
		"64mb": 64 << 20, "1g": 1 << 30, "2tb": 2 << 40, "9999999P": 1<<63 - 1,
	} {
		if got, err := parseBytes(quantity); got != want || err != nil {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", quantity, got, err, want)
		}
	}
	for _, quantity := range []string{"", "m", "64m", "1e9", "-1", "1/2", "0x10", "1Mib", "Gi", "1_0"} {
		if got, err := parseBytes(quantity); err == nil {
			t.Errorf("parseBytes(%q) = %d, want an error", quantity, got)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	f.Add("64Mi")
	f.Add("1.5gb")
	f.Fuzz(func(t *testing.T, quantity string) {
		if got, err := parseBytes(quantity); err == nil && got < 0 {
			t.Errorf("parseBytes(%q) = %d", quantity, got)
		}
	})
}

func TestRegistryErrorsGetTheirKind(t *testing.T) {
	for text, want := range map[string]string{
		"manifest for r/x:1 not found: manifest unknown: manifest unknown":                  "not-found",
		"pull access denied for x, repository does not exist or may require 'docker login'": "forbidden",
		"Head \"https://r/v2/x/manifests/1\": unauthorized: authentication required":        "unauthenticated",
		"Get \"https://r/v2/\": dial tcp: lookup r: no such host":                           "unavailable",
		"received unexpected HTTP status: 503 Service Unavailable":                          "unavailable",
		"toomanyrequests: You have reached your pull rate limit":                            "too-many",
		"failed to register layer: write /x: no space left on device":                       "internal",
		"no matching manifest for linux/arm64/v8 in the manifest list entries":              "not-found",
	} {
		if got := apperr.KindOf(registryError(errors.New(text), "pull", "r/x:1")).String(); got != want {
			t.Errorf("%s: kind %s, want %s", text, got, want)
		}
	}
}
