package deployment

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"fairlead.dev/shared/spec"
)

// Document is what a release asks of its node as a tree of maps, lists, texts,
// numbers and truth values, for people and for comparing. What has a name or a
// key is in a map by it, so that a JSON pointer names it whatever stands before
// it. Values of secrets are not in it; which value it is, is.
type Document map[string]any

// secretsKey is the key of a container's secrets in a document.
const secretsKey = "secrets"

// Document returns what the release asks of its node.
func (r Release) Document() Document {
	containers := map[string]any{}
	for _, w := range r.Spec.Workloads {
		c := object(reflect.ValueOf(w.Container))
		delete(c, "name") // it is the key
		image := map[string]any{"reference": w.Image.Reference}
		if digest := r.digestOf(w); digest != "" {
			image["digest"] = digest
		}
		c["image"] = image
		others := map[string]any{}
		for _, reference := range otherImages(w.Container) {
			if digest := r.otherDigestOf(w, reference); digest != "" {
				others[written(reference)] = digest
			}
		}
		if len(others) > 0 {
			c["otherImages"] = others
		}
		containers[w.Name()] = c
	}
	return Document{"prefix": r.Spec.Prefix, "containers": containers}
}

// object returns what a struct says: fields that hold their zero value say
// nothing, and the ids are the clients' own.
func object(v reflect.Value) map[string]any {
	m := map[string]any{}
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "ID" || v.Field(i).IsZero() {
			continue
		}
		if value := plain(v.Field(i)); value != nil {
			m[camel(name)] = value
		}
	}
	return m
}

// plain returns a value of a spec as part of a document; nil when it says
// nothing.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		return object(v)
	case reflect.Slice:
		return list(v)
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return v.Int()
	default:
		return fmt.Sprint(v.Interface())
	}
}

// list returns a slice as a map where its entries have keys or names that
// differ, else as a list; nil when it has none.
func list(v reflect.Value) any {
	if v.Len() == 0 {
		return nil
	}
	all := make([]any, v.Len())
	byKey := map[string]any{}
	for i := range v.Len() {
		key, value := entry(v.Index(i))
		all[i] = value
		if key != "" {
			byKey[key] = value
		}
	}
	if len(byKey) == len(all) {
		return byKey
	}
	return all
}

// entry returns an entry of a list and the key that it goes by; "" when it has
// none.
func entry(v reflect.Value) (key string, value any) {
	switch e := v.Interface().(type) {
	case spec.KeyValue:
		return e.Key, e.Value
	case spec.Key:
		return "", e.Key
	case spec.Secret:
		return e.Key, secretDocument(e)
	case spec.Port:
		return fmt.Sprintf("%d/%s", e.Internal, protocol(e.Protocol)), object(v)
	case spec.PortRange:
		return fmt.Sprintf("%d-%d/%s", e.Internal.From, e.Internal.To, protocol(e.Protocol)), object(v)
	case spec.Volume:
		return e.Name, object(v)
	case spec.VolumeLink:
		return e.Name, object(v)
	case spec.InitContainer:
		return e.Name, object(v)
	default:
		return "", plain(v)
	}
}

func protocol(name string) string {
	if name == "" {
		return "tcp"
	}
	return name
}

// secretDocument tells which value a secret has without telling the value, of
// which the controller knows the ciphertext alone.
func secretDocument(s spec.Secret) map[string]any {
	m := map[string]any{"required": s.Required}
	if s.Value != "" {
		m["version"] = secretVersion(s)
	}
	return m
}

// secretVersion names a value of a secret: another one, or the same entered
// again, has another version. It tells nothing of the value, since every
// sealing begins with chance.
func secretVersion(s spec.Secret) string {
	sum := sha256.Sum256([]byte(s.Value))
	return hex.EncodeToString(sum[:6])
}

// SecretVersion is which value of a secret a release ran with.
type SecretVersion struct {
	Container string
	Key       string
	Version   string
}

// SecretVersions returns which values of secrets the release holds, in the
// order of its containers.
func (r Release) SecretVersions() []SecretVersion {
	var found []SecretVersion
	for _, w := range r.Spec.Workloads {
		for _, s := range w.Container.Secrets {
			if s.Value != "" {
				found = append(found, SecretVersion{Container: w.Name(), Key: s.Key, Version: secretVersion(s)})
			}
		}
	}
	return found
}

// camel turns the name of a field into the key that the API has for it.
func camel(name string) string {
	if strings.ToUpper(name) == name {
		return strings.ToLower(name)
	}
	if rest, ok := strings.CutSuffix(name, "ID"); ok {
		name = rest + "Id"
	}
	runes := []rune(name)
	runes[0] = unicode.ToLower(runes[0])
	return string(runes)
}
