// Command program is what test containers run. It says hello, then does what
// its arguments say, and by default runs until it is told to stop:
//
//	exit CODE         ends at once
//	write FILE TEXT   writes a file and ends
//	cat FILE          prints a file and runs on
//	health            is the health probe: fails unless HEALTH is "ok"
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "health" {
		health := os.Getenv("HEALTH")
		fmt.Println("health is", health)
		if health != "ok" {
			os.Exit(1)
		}
		return
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "warming up")
	fmt.Println("hello", os.Getenv("GREETING"))
	fmt.Println("ready")
	if len(args) > 0 {
		act(args)
	}
	<-stopped
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
