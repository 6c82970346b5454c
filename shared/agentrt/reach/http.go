package reach

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

func looksLikeHTTP(heard []byte) bool { return bytes.HasPrefix(heard, []byte("HTTP/")) }

// explainHTTP says what web server it is that answers without TLS.
func explainHTTP(err error, hop string, heard []byte) *Problem {
	p := &Problem{Kind: PlainHTTP, Err: err,
		What: fmt.Sprintf("a web server without TLS answers at %s%s", hop, describe(heard)),
		Fix:  "Another service has this port, such as the controller's API: " + rightPort + ". Behind a proxy: " + passThrough}
	if portal := redirect(heard); portal != "" {
		p.What = fmt.Sprintf("a page of %s answers at %s in place of the controller", portal, hop)
		p.Fix = "A login page of this network (a captive portal) or a filter stands between this machine and the controller: log in there, or have the controller's address let through"
	}
	return p
}

// describe tells from the head of an answer which server gave it.
func describe(heard []byte) string {
	line, _, _ := strings.Cut(string(heard), "\r\n")
	text := fmt.Sprintf(" (%q", line[:min(len(line), 60)])
	if server := header(heard).Get("Server"); server != "" {
		text += ", server " + server[:min(len(server), 60)]
	}
	return text + ")"
}

// redirect returns the host that an answer sends its reader to.
func redirect(heard []byte) string {
	to, err := url.Parse(header(heard).Get("Location"))
	if err != nil {
		return ""
	}
	return to.Hostname()
}

// header reads what there is of an answer's header.
func header(heard []byte) http.Header {
	if i := bytes.Index(heard, []byte("\r\n\r\n")); i < 0 {
		heard = append(bytes.Clone(heard), "\r\n\r\n"...)
	}
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(heard)), nil)
	if err != nil {
		return http.Header{}
	}
	_ = answer.Body.Close()
	return answer.Header
}
