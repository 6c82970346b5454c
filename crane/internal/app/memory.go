package app

import (
	"time"

	"fairlead.dev/shared/memory"
)

// thrifty gives the system back what a deployment took. A cluster's memory is for
// what it runs; so the collector runs earlier than by default, too.
func thrifty() *memory.Keeper {
	return memory.New(memory.Options{Period: 15 * time.Second, Calm: 1, Worth: 1 << 20, Program: true, GCPercent: 40})
}
