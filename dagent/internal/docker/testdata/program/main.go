// Command program is what test containers run. It says hello, then does what
// its arguments say, and by default runs until it is told to stop:
//
//	exit CODE         ends at once
//	write FILE TEXT   writes a file and ends
//	cat FILE          prints a file and runs on
//	health            is the health probe: fails unless HEALTH is "ok", or is
//	                  "third" and this is its third run; "hang" never ends,
//	                  "loud" writes much
//
// Called as a shell it does what the words of the command say.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "sh" && len(args) == 2 && args[0] == "-c" {
		args = strings.Fields(args[1])[1:]
	}
	if len(args) > 0 && args[0] == "health" {
		if !healthy(os.Getenv("HEALTH")) {
			os.Exit(1)
		}
		return
	}
	stop := catchStop()
	fmt.Fprintln(os.Stderr, "warming up")
	fmt.Println("hello", os.Getenv("GREETING"))
	fmt.Println("ready")
	if len(args) > 0 {
		act(args)
	}
	<-stop
}

func catchStop() <-chan os.Signal {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	return stop
}

func healthy(health string) bool {
	runs, err := os.OpenFile("/probes", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Println(err)
		return false
	}
	defer func() { _ = runs.Close() }()
	_, _ = runs.WriteString(".")
	run, _ := runs.Seek(0, io.SeekEnd)
	fmt.Println("health is", health, "in run", run)
	switch health {
	case "hang":
		<-catchStop()
	case "loud":
		fmt.Println(strings.Repeat("loud ", 1<<20))
	}
	return health == "ok" || health == "third" && run >= 3
}

func act(args []string) {
	var err error
	switch {
	case args[0] == "exit" && len(args) == 2:
		code, bad := strconv.Atoi(args[1])
		if bad == nil {
			os.Exit(code)
		}
		err = bad
	case args[0] == "write" && len(args) == 3:
		if err = os.WriteFile(args[1], []byte(args[2]), 0o600); err == nil {
			os.Exit(0)
		}
	case args[0] == "cat" && len(args) == 2:
		var content []byte
		content, err = os.ReadFile(args[1])
		fmt.Println(string(content))
	default:
		err = fmt.Errorf("unknown arguments %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(100)
	}
}
