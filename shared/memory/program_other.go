//go:build !linux

package memory

// forgetProgram does nothing here.
func forgetProgram() error { return nil }
