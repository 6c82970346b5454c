package storage_test

import (
	"testing"
	"time"

	"fairlead.dev/controller/internal/audit"
	"fairlead.dev/controller/internal/keys"
	"fairlead.dev/controller/internal/postgres/pgtest"
	"fairlead.dev/controller/internal/storage"
	"fairlead.dev/controller/internal/teamtest"
	"fairlead.dev/shared/spec"
)

// Keys go to the host they were entered for, and to no other.
func TestKeysOfAStorage(t *testing.T) {
	db := pgtest.New(t)
	ring, err := keys.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	service := storage.New(db, ring.Vault, audit.New(db, time.Now), time.Now)
	made, err := service.Create(teamtest.New(t, db), storage.Write{
		Name: "Files", URL: "s3.example.com", Keys: &storage.Keys{Access: "robot", Secret: "hunter2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if url, err := service.URL(t.Context(), made.ID); err != nil || url != "https://s3.example.com" {
		t.Errorf("URL %q, %v", url, err)
	}
	for address, want := range map[string]*spec.StorageKeys{
		"https://s3.example.com":    {Access: "robot", Secret: "hunter2"},
		"https://S3.example.com/":   {Access: "robot", Secret: "hunter2"},
		"https://thief.example.com": nil,
		"http://s3.example.com":     nil,
		"":                          nil,
	} {
		got, err := service.Keys(t.Context(), made.ID, address)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("Keys at %q: %v, %v, want %v", address, got, err, want)
		}
	}
}
