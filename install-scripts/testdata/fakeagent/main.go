// Command fakeagent keeps the agent's side of what the install script expects,
// and breaks it as FAKE_MODE in its image says: "refused", "crash" or "mute".
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	version, mode := stamp()
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println("dagent", version, "(a fake)")
		return
	}
	if err := run(os.Getenv("FAIRLEAD_STATE_DIR"), cmp.Or(mode, os.Getenv("FAKE_MODE"))); err != nil {
		fmt.Println("fake agent:", err)
		os.Exit(3)
	}
}

// stamp is what comes after the program's end in agents of services, whose image
// says nothing.
func stamp() (version, mode string) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", ""
	}
	line, stamped := bytes.CutPrefix(self[bytes.LastIndexByte(self, '\n')+1:], []byte("stamp "))
	if !stamped {
		return "", ""
	}
	version, mode, _ = strings.Cut(string(line), " ")
	return version, mode
}

func run(dir, mode string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	if mode == "crash" {
		return errors.New("broken on purpose")
	}
	socket := cmp.Or(strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://"), "/var/run/docker.sock")
	if info, err := os.Stat(socket); err != nil || info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("no Docker socket: %v %w", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		return err
	}
	identity := filepath.Join(dir, "identity")
	if _, err := os.Stat(identity); err != nil {
		handed := filepath.Join(dir, "enrol.json")
		text, err := check(handed)
		if err != nil {
			return err
		}
		if err := os.Remove(handed); err != nil {
			return err
		}
		if mode == "refused" {
			if err := os.Mkdir(identity+".new", 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "enrol-error"), []byte("the token was used already\x1b[31m"), 0o600); err != nil {
				return err
			}
			<-stop
			return nil
		}
		// The real agent keeps a key here; the test wants to see what it was handed.
		if err := os.WriteFile(identity, text, 0o600); err != nil {
			return err
		}
	}
	if mode != "mute" {
		if err := os.WriteFile(filepath.Join(dir, "enrolled"), nil, 0o600); err != nil {
			return err
		}
	}
	<-stop
	return nil
}

func check(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm() != 0o600 {
		return nil, fmt.Errorf("%s has mode %v", file, info.Mode())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var fields map[string]string
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, field := range []string{"controller", "rootSha256", "token", "nodeName"} {
		if fields[field] == "" {
			return nil, fmt.Errorf("%s lacks %s", file, field)
		}
	}
	return text, nil
}
