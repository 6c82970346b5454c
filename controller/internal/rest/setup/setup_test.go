package setup_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fairlead.dev/controller/internal/controllertest"
)

func fetch(t *testing.T, method, target string, form url.Values) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestAdministratorRegistersOnThePageOnce(t *testing.T) {
	c, token := controllertest.NewWithoutAdmin(t)
	status, page, header := fetch(t, http.MethodGet, c.URL+"/setup", nil)
	if status != http.StatusOK || !strings.Contains(page, "<form") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%d %v\n%s", status, header, page)
	}
	for _, file := range []string{"/setup/setup.js", "/setup/setup.css"} {
		if status, _, _ := fetch(t, http.MethodGet, c.URL+file, nil); status != http.StatusOK || !strings.Contains(page, file) {
			t.Errorf("%s: %d", file, status)
		}
	}
	form := func(token, email, password string) url.Values {
		return url.Values{"token": {token}, "email": {email}, "password": {password}}
	}
	for name, refused := range map[string]url.Values{
		"another token":  form("x", "ann@example.com", controllertest.AdminPassword),
		"short password": form(token, "ann@example.com", "short"),
		"markup":         form(token, `"><script>alert(1)</script>`, controllertest.AdminPassword),
		"too much":       form(token, "ann@example.com", strings.Repeat("x", 100_000)),
	} {
		status, page, _ := fetch(t, http.MethodPost, c.URL+"/setup", refused)
		if status != http.StatusBadRequest || !strings.Contains(page, `role="alert"`) || strings.Contains(page, "<script>alert") {
			t.Errorf("%s: %d\n%s", name, status, page)
		}
	}
	status, page, _ = fetch(t, http.MethodPost, c.URL+"/setup", form(token, "ann@example.com", controllertest.AdminPassword))
	if status != http.StatusOK || !strings.Contains(page, "ann@example.com is the administrator") {
		t.Fatalf("%d\n%s", status, page)
	}
	c.LogIn(t, "ann@example.com", controllertest.AdminPassword)

	if status, page, _ = fetch(t, http.MethodGet, c.URL+"/setup", nil); strings.Contains(page, "<form") {
		t.Errorf("the page still offers to register: %d", status)
	}
	if status, _, _ = fetch(t, http.MethodPost, c.URL+"/setup", form(token, "bob@example.com", controllertest.AdminPassword)); status != http.StatusConflict {
		t.Errorf("the token worked twice: %d", status)
	}
}
