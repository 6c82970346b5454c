// Command program is what test containers run. It says hello, then does what
// its arguments say, and by default runs until it is told to stop:
//
//	exit CODE         ends at once
//	work NUMBER CODE  writes "run" and a word that no other run has, works for that
//	                  many seconds and ends
//	devour            writes 60 lines and takes memory until it is killed for it
//	write FILE TEXT   writes a file and ends
//	copy FILE FILE    copies a file and ends
//	cat FILE...       prints files and runs on
//	keep FILE TEXT    writes a file and runs on
//	look FILE         prints mode and owner of a file, what it holds and whether
//	                  it can be written, and runs on
//	serve WORD        answers HTTP on port 80 as HEALTH does for "health"
//	health            is the health probe: fails unless HEALTH is "ok", or is
//	                  "third" and this is its third run; "hang" never ends,
//	                  "stuck" never from its second run on, "loud" writes much
//
// These say no hello; tests run them in containers that run already:
//
//	echo              copies its input to its output, then says "done" on
//	                  standard error and ends with 7
//	end               tells the main process of the container to end
//	env NAME          prints the value of a variable
//	flood             writes for ever
//	fill WORDS        is the filler of volumes
//	lookup NAME       prints the addresses of a name
//	size              prints the size of its terminal whenever it changes
//
// Called as a shell it does what the words of the command say.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"fairlead.dev/shared/filler"
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
	if len(args) > 0 && args[0] == "fill" {
		if err := filler.Run(args[1:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(args) > 0 && visit(args) {
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

// visit does what is done in a container that runs already; it reports whether
// it knows the verb.
func visit(args []string) bool {
	switch args[0] {
	case "echo":
		_, _ = io.Copy(os.Stdout, os.Stdin)
		fmt.Fprintln(os.Stderr, "done")
		os.Exit(7)
	case "end":
		_ = syscall.Kill(1, syscall.SIGTERM)
	case "env":
		fmt.Println(os.Getenv(args[1]))
	case "flood":
		for text := []byte(strings.Repeat("flood ", 1<<10)); ; {
			if _, err := os.Stdout.Write(text); err != nil {
				return true
			}
		}
	case "lookup":
		found, err := net.LookupHost(args[1])
		if err != nil {
			fmt.Println("none")
			return true
		}
		slices.Sort(found)
		fmt.Println(strings.Join(found, " "))
	case "size":
		changed := make(chan os.Signal, 1)
		signal.Notify(changed, syscall.SIGWINCH)
		for {
			var size struct{ rows, columns, width, height uint16 }
			_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, 1, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
			fmt.Printf("%dx%d\n", size.columns, size.rows)
			<-changed
		}
	default:
		return false
	}
	return true
}

// serve answers requests: 200 when the word is "ok", or is "third" and this is
// at least the third. A request for /turn turns it bad until it is started again.
func serve(word string) error {
	requests := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/turn" {
			word = "bad"
		}
		if requests++; word != "ok" && (word != "third" || requests < 3) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "%s is %s in request %d", r.URL.Path, word, requests)
	})
	server := &http.Server{Addr: ":80", Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() {
		<-catchStop()
		os.Exit(0)
	}()
	return server.ListenAndServe()
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
	case "stuck":
		if run > 1 {
			<-catchStop()
		}
	case "loud":
		fmt.Println(strings.Repeat("loud ", 1<<20))
	}
	return health == "ok" || health == "third" && run >= 3
}

// devour takes memory without an end.
func devour() {
	for i := range 60 {
		fmt.Println("bite", i+1)
	}
	for taken := [][]byte{}; ; {
		bite := make([]byte, 1<<20)
		for page := 0; page < len(bite); page += os.Getpagesize() {
			bite[page] = 1
		}
		taken = append(taken, bite)
	}
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
	case args[0] == "work" && len(args) == 3:
		fmt.Println("run", time.Now().UnixNano())
		seconds, bad := strconv.Atoi(args[1])
		code, worse := strconv.Atoi(args[2])
		if err = errors.Join(bad, worse); err == nil {
			time.Sleep(time.Duration(seconds) * time.Second) // this is the work
			os.Exit(code)
		}
	case args[0] == "devour":
		devour()
	case args[0] == "serve" && len(args) == 2:
		err = serve(args[1])
	case args[0] == "write" && len(args) == 3:
		if err = os.WriteFile(args[1], []byte(args[2]), 0o600); err == nil {
			os.Exit(0)
		}
	case args[0] == "copy" && len(args) == 3:
		var content []byte
		if content, err = os.ReadFile(args[1]); err == nil {
			err = os.WriteFile(args[2], content, 0o600)
		}
		if err == nil {
			os.Exit(0)
		}
	case args[0] == "keep" && len(args) == 3:
		err = os.WriteFile(args[1], []byte(args[2]), 0o600)
	case args[0] == "cat":
		for _, file := range args[1:] {
			content, missing := os.ReadFile(file)
			fmt.Println(string(content))
			err = errors.Join(err, missing)
		}
	case args[0] == "look" && len(args) == 2:
		err = look(args[1])
	default:
		err = fmt.Errorf("unknown arguments %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(100)
	}
}

func look(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	writable := os.WriteFile(file, content, 0o600) == nil
	fmt.Printf("%v of %d: %s, writable %t\n", info.Mode(), info.Sys().(*syscall.Stat_t).Uid, content, writable)
	return nil
}
