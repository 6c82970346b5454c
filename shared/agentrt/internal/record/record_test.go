package record_test

import (
	"bytes"
	"testing"

	"fairlead.dev/shared/agentrt/internal/record"
)

func scan(data []byte) (payloads [][]byte, good int) {
	good = record.Scan(data, func(p []byte) { payloads = append(payloads, p) })
	return payloads, good
}

func TestRecordsComeBackInOrder(t *testing.T) {
	var file []byte
	for _, text := range []string{"one", "two", "three"} {
		file = record.Append(file, []byte(text))
	}
	got, good := scan(file)
	if good != len(file) || string(bytes.Join(got, []byte(" "))) != "one two three" {
		t.Fatalf("%q, %d of %d bytes", got, good, len(file))
	}
}

func TestATornTailIsNotARecord(t *testing.T) {
	whole := record.Append(nil, []byte("one"))
	file := record.Append(whole, []byte("the second"))
	for end := len(whole); end < len(file); end++ {
		if got, good := scan(file[:end]); len(got) != 1 || good != len(whole) {
			t.Fatalf("cut at %d: %q, %d bytes", end, got, good)
		}
	}
	for i := len(whole); i < len(file); i++ {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		if got, good := scan(bad); len(got) != 1 || good != len(whole) {
			t.Fatalf("a flipped bit at %d: %q, %d bytes", i, got, good)
		}
	}
	if got, good := scan(append(bytes.Clone(whole), make([]byte, 64)...)); len(got) != 1 || good != len(whole) {
		t.Fatalf("zeros at the end: %q, %d bytes", got, good)
	}
}

func TestWhatCannotBeReadIsNotWritten(t *testing.T) {
	if got := record.Append(nil, make([]byte, record.MaxBytes+1)); got != nil {
		t.Fatalf("%d bytes were written", len(got))
	}
	if got := record.Append(nil, nil); got != nil {
		t.Fatalf("%d bytes were written", len(got))
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte{})
	f.Add(record.Append(record.Append(nil, []byte("one")), []byte("two")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		good := record.Scan(data, func(p []byte) { again = record.Append(again, p) })
		if good > len(data) || !bytes.Equal(again, data[:good]) {
			t.Fatalf("%d of %d bytes were taken, and are %d when written again", good, len(data), len(again))
		}
	})
}
