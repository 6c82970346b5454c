package seal_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/seal"
)

func newKey(t *testing.T) seal.Key {
	t.Helper()
	k, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOnlyTheHolderOpens(t *testing.T) {
	mine, other := newKey(t), newKey(t)
	for _, value := range []string{"", "password", strings.Repeat("ä", seal.MaxBytes/2)} {
		sealed, err := seal.Seal(mine.Public(), value)
		if err != nil {
			t.Fatal(err)
		}
		again, err := seal.Seal(mine.Public(), value)
		if err != nil || again == sealed {
			t.Errorf("sealed twice it is the same text, %v", err)
		}
		if value != "" && strings.Contains(sealed, value) {
			t.Error("the value can be read")
		}
		if err := seal.Check(sealed); err != nil {
			t.Errorf("check: %v", err)
		}
		kept, err := seal.ParseKey(mine.Private() + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := kept.Open(sealed); err != nil || got != value {
			t.Errorf("opened %.20q, %v; want %.20q", got, err, value)
		}
		if got, err := other.Open(sealed); !apperr.Is(err, apperr.Precondition) {
			t.Errorf("another key opened %.20q, %v", got, err)
		}
		raw, err := base64.StdEncoding.DecodeString(sealed)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{30, len(raw) / 2, len(raw) - 1} {
			changed := append([]byte(nil), raw...)
			changed[at] ^= 1
			if got, err := mine.Open(base64.StdEncoding.EncodeToString(changed)); err == nil {
				t.Errorf("with byte %d changed it opens as %.20q", at, got)
			}
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	k := newKey(t)
	if _, err := seal.Seal(k.Public(), strings.Repeat("x", seal.MaxBytes+1)); !apperr.Is(err, apperr.Invalid) {
		t.Errorf("too long a value: %v", err)
	}
	for _, public := range []string{"", "age1", k.Private(), strings.ToUpper(k.Public()) + "x"} {
		if _, err := seal.Seal(public, "v"); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("the public key %.8q: %v", public, err)
		}
	}
	for _, sealed := range []string{"", "secret", base64.StdEncoding.EncodeToString([]byte("secret")), strings.Repeat("A", 200<<10)} {
		if err := seal.Check(sealed); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("check %.10q: %v", sealed, err)
		}
		if _, err := k.Open(sealed); !apperr.Is(err, apperr.Invalid) {
			t.Errorf("open %.10q: %v", sealed, err)
		}
	}
	for _, private := range []string{"", "AGE-SECRET-KEY-1", k.Public()} {
		if _, err := seal.ParseKey(private); !apperr.Is(err, apperr.Invalid) || private != "" && strings.Contains(err.Error(), private) {
			t.Errorf("the private key %.8q: %v", private, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k, err := seal.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := seal.Seal(k.Public(), "value")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if value, err := k.Open(text); err == nil && value != "value" {
			t.Errorf("%q opens as %q", text, value)
		}
	})
}
