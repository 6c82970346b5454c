package main

import (
	"path/filepath"
	"testing"
)

// TestEveryMutantCanBeMade: code that moves takes its row of the list along,
// also where only make mutants runs its test.
func TestEveryMutantCanBeMade(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		if _, err := m.overlay(root, t.TempDir()); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
