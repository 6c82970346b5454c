// Command hello proves that an image runs: it prints what it was given.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	note, err := os.ReadFile("/etc/note")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("hello", os.Getenv("WHO"), strings.Join(os.Args[1:], " "), os.Getuid(), string(note))
}
