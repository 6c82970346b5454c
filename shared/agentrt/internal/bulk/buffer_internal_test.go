package bulk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/workload"
)

func line(text string) workload.LogLine { return workload.LogLine{Stream: "stdout", Text: text} }

// drain reads a buffer to its end.
func drain(t *testing.T, b *buffer) (batches []*agentv1.LogBatch) {
	t.Helper()
	for {
		batch, err := b.take(t.Context())
		if batch == nil {
			if err != nil {
				t.Fatal(err)
			}
			return batches
		}
		b.sent()
		batches = append(batches, batch)
	}
}

func TestWhatHasNoRoomIsDroppedAndCountedWhereItWas(t *testing.T) {
	shared := &budget{free: sharedBytes}
	b := newBuffer(shared)
	large := strings.Repeat("x", 60<<10)
	kept := 0
	for b.put(line(large)) {
		kept++
	}
	if size := kept * sizeOf(line(large)); size > maxStreamBytes {
		t.Errorf("%d bytes wait on one stream, %d may", size, maxStreamBytes)
	}
	for range 4 {
		b.put(line(large))
	}
	if _, err := b.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.sent()
	if !b.put(line("after")) {
		t.Fatal("no room after something was sent")
	}
	for b.put(line(large)) {
		kept++
	}
	b.close(nil)
	batches := drain(t, b)
	var told []string
	lines := 1 // the one that was taken
	for _, batch := range batches {
		lines += len(batch.GetLines())
		if batch.GetDropped() > 0 {
			text := ""
			if len(batch.GetLines()) > 0 {
				text = batch.GetLines()[0].GetText()
			}
			told = append(told, fmt.Sprint(batch.GetDropped(), text))
		}
	}
	if want := []string{"5after", "1"}; lines != kept+1 || strings.Join(told, " ") != strings.Join(want, " ") {
		t.Errorf("%d lines of %d, dropped %q, want %q", lines, kept+1, told, want)
	}
	b.discard()
	if shared.free != sharedBytes {
		t.Errorf("%d bytes were not given back", sharedBytes-shared.free)
	}
}

func TestAllStreamsTogetherAreBounded(t *testing.T) {
	shared := &budget{free: sharedBytes}
	size := 0
	var all []*buffer
	for range MaxStreams {
		b := newBuffer(shared)
		all = append(all, b)
		for text := strings.Repeat("x", 1000); b.put(line(text)); {
			size += sizeOf(line(text))
		}
	}
	if size > maxAgentBytes || size < maxAgentBytes-MaxStreams*2000 {
		t.Errorf("%d bytes wait, %d may", size, maxAgentBytes)
	}
	all[0].discard()
	if !all[MaxStreams-1].put(line("room again")) {
		t.Error("what one gave back is of no use to another")
	}
}

func TestStuckStreamsLeaveRoomForTheOthers(t *testing.T) {
	shared := &budget{free: sharedBytes}
	text := strings.Repeat("x", 1000)
	for range MaxStreams - 1 {
		for b := newBuffer(shared); b.put(line(text)); {
			continue
		}
	}
	own := newBuffer(shared)
	size := 0
	for own.put(line(text)) {
		size += sizeOf(line(text))
	}
	if size < ownBytes-2000 {
		t.Errorf("the last stream has room for %d bytes", size)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	b := newBuffer(&budget{free: sharedBytes})
	for range 3000 {
		b.put(line("short"))
	}
	b.put(line(strings.Repeat("x", 2*maxBatchBytes))) // goes alone
	b.close(errors.New("the log broke"))
	n := 0
	for {
		batch, err := b.take(t.Context())
		if batch == nil {
			if n != 3001 || err == nil {
				t.Errorf("%d lines, then %v", n, err)
			}
			return
		}
		b.sent()
		size := 0
		for _, l := range batch.GetLines() {
			size += len(l.GetText())
		}
		if len(batch.GetLines()) > maxBatchLines || size > maxBatchBytes && len(batch.GetLines()) > 1 {
			t.Errorf("a batch of %d lines, %d bytes", len(batch.GetLines()), size)
		}
		n += len(batch.GetLines())
	}
}

func TestALineOfThePastWaitsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffer(&budget{free: sharedBytes})
		large := line(strings.Repeat("x", maxStreamBytes/2-lineBytes))
		b.put(large)
		b.put(large)
		if b.await(t.Context(), large, time.Second) {
			t.Error("there is no room")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b.await(ctx, large, time.Hour) {
			t.Error("nobody reads any more")
		}
		go func() {
			<-time.After(time.Minute)
			if _, err := b.take(t.Context()); err == nil {
				b.sent()
			}
		}()
		if !b.await(t.Context(), large, time.Hour) {
			t.Error("there was room after a minute")
		}
	})
}
