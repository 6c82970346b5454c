package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"reflect"
)

// Hash returns the SHA-256, in hex, of everything in a workload that makes a
// difference to a container of it: not which instance asks for it, not how many
// there are to be, not the credentials of registries and storages, not the clients' list ids.
// Fields that hold their zero value do not count, so that a field added to the
// spec later leaves the hashes of old content as they were.
func Hash(w Workload) string {
	w.Hash, w.InstanceID = "", ""
	w.Container.Replicas = nil
	w.Image.Auth = nil
	if storage := w.Container.Storage; storage != nil {
		plain := *storage
		plain.Keys = nil
		w.Container.Storage = &plain
	}
	w.Image.RegistryID = ""
	h := sha256.New()
	write(h, "", reflect.ValueOf(w))
	return hex.EncodeToString(h.Sum(nil))
}

func write(h hash.Hash, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			// A pointer to a zero value is something said, unlike nil.
			fmt.Fprintf(h, "%s!\n", path)
			write(h, path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			fmt.Fprintf(h, "%s[%d]\n", path, i)
			write(h, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name != "ID" && !v.Field(i).IsZero() {
				write(h, path+"."+name, v.Field(i))
			}
		}
	default:
		fmt.Fprintf(h, "%s=%q\n", path, fmt.Sprint(v.Interface()))
	}
}
