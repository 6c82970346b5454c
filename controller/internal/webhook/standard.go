package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"fairlead.dev/controller/internal/notification"
)

// standard renders what programs read.
//
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
func standard(d notification.Delivery, link string) object {
	m := d.Message
	facts := object{}
	for _, f := range m.Facts {
		facts[key(f.Name)] = f.Value
	}
	data := object{
		"team": object{"id": m.TeamID, "slug": d.TeamSlug}, "title": m.Title, "failed": m.Failed, "facts": facts,
		"error": m.Error, "log": append([]string{}, m.Lines...), "url": link,
	}
	return object{"type": string(m.Event), "timestamp": m.At.UTC().Format(time.RFC3339Nano), "data": data}
}

// key makes a name for programs of one for people: "Created by" is createdBy.
func key(name string) string {
	words := strings.Fields(strings.ReplaceAll(name, "-", ""))
	for i, word := range words {
		runes := []rune(strings.ToLower(word))
		if i > 0 {
			runes[0] = unicode.ToUpper(runes[0])
		}
		words[i] = string(runes)
	}
	return strings.Join(words, "")
}

// sign adds the headers by which a receiver knows who sent a message, that it
// is not an old one sent again, and which one it is when it comes twice.
func sign(header http.Header, d notification.Delivery, body []byte, at time.Time) {
	id, timestamp := "msg_"+strings.ReplaceAll(d.PublicID.String(), "-", ""), strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(d.Keys))
	for i, secret := range d.Keys {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", timestamp)
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
}
