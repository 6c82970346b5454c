// Command filler is as much of the agent as test pods need: it fills volumes.
package main

import (
	"context"
	"fmt"
	"os"

	"fairlead.dev/crane/internal/fetch"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "fill" {
		fmt.Fprintln(os.Stderr, "fills volumes, nothing else")
		os.Exit(2)
	}
	if err := fetch.Run(context.Background(), os.Args[2:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
