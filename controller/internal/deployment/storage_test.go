package deployment_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// The keys of a storage go to the node sealed to it, and are kept nowhere.
func TestStorageKeysTravelSealedAndAreNotKept(t *testing.T) {
	w := newWorld(t)
	key := w.sealingKey()
	id := uuid.New()
	w.StorageURL = func(_ context.Context, asked uuid.UUID) (string, error) { return "https://s3.example", same(id, asked) }
	w.StorageKeys = func(_ context.Context, asked uuid.UUID, address string) (*spec.StorageKeys, error) {
		if address != "https://s3.example" {
			return nil, nil
		}
		return &spec.StorageKeys{Access: "robot", Secret: "hunter2"}, same(id, asked)
	}
	version := w.version(w.project("shop"), "rolling", nil, "acme/web")
	w.configure(version, "acme/web", spec.Container{
		Volumes: []spec.Volume{{Name: "data", Path: "/data"}},
		Storage: &spec.Storage{StorageID: id.String(), Path: "data", Bucket: "assets"},
	})
	w.start(w.create(version, "shop"))

	sent := w.assignment("shop").Deployment.Workloads[0]
	got := sent.Container.Storage
	if got == nil || got.URL != "https://s3.example" || got.Bucket != "assets" || got.Keys == nil || sent.Hash != spec.Hash(sent) {
		t.Fatalf("the node gets %+v", got)
	}
	access, errAccess := key.Open(got.Keys.Access)
	secret, errSecret := key.Open(got.Keys.Secret)
	if errAccess != nil || errSecret != nil || access != "robot" || secret != "hunter2" {
		t.Errorf("the node opens %q, %v, %q, %v", access, errAccess, secret, errSecret)
	}
	if n := value[int](w, "select count(*) from releases where spec::text like '%hunter2%' or spec::text like '%keys%'"); n != 0 {
		t.Error("the keys are in the ledger")
	}

	// A storage that is gone keeps no node from the rest.
	w.StorageKeys = func(context.Context, uuid.UUID, string) (*spec.StorageKeys, error) {
		return nil, apperr.New(apperr.NotFound, "gone")
	}
	if got := w.assignment("shop").Deployment.Workloads[0].Container.Storage; got == nil || got.Keys != nil {
		t.Errorf("the node gets %+v", got)
	}
}

func same(want, got uuid.UUID) error {
	if want != got {
		return apperr.New(apperr.NotFound, "no such storage")
	}
	return nil
}

// A start names a storage that is gone.
func TestStartWithoutItsStorage(t *testing.T) {
	w := newWorld(t)
	w.StorageURL = func(context.Context, uuid.UUID) (string, error) {
		return "", apperr.New(apperr.NotFound, "no such storage")
	}
	version := w.version(w.project("shop"), "rolling", nil, "acme/web")
	w.configure(version, "acme/web", spec.Container{
		Volumes: []spec.Volume{{Name: "data", Path: "/data"}},
		Storage: &spec.Storage{StorageID: uuid.NewString(), Path: "data", Bucket: "assets"},
	})
	d := w.create(version, "shop")
	if _, err := w.Start(w.ctx, d.ID, nil); !apperr.Is(err, apperr.NotFound) {
		t.Errorf("Start: %v", err)
	}
}
