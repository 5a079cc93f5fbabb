package dashboard_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/dashboard"
)

func page(t *testing.T, jaeger string) http.Handler {
	t.Helper()
	h, err := dashboard.New(dashboard.Config{ID: "c1", Version: `1.0 "<b>"`, Jaeger: jaeger})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var reference = regexp.MustCompile(`(?:href|src)="(/dashboard/[^"]+)"`)

// The page is checked every time, its files never again: their address is of their
// content. Every file that the page or a script names is there, and no page has a
// script, style or handler of its own.
func TestFilesAreKeptByTheirContent(t *testing.T) {
	h := page(t, "")
	w := get(h, "/")
	html := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-cache" || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if again := get(h, "/", "If-None-Match", `"x", `+w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("the same page again: %d, %d bytes", again.Code, again.Body.Len())
	}
	if regexp.MustCompile(`(?i)<script>|<style|\son\w+=|style=|https?://`).MatchString(html) || strings.Contains(html, "<b>") {
		t.Errorf("the page has code, styles, addresses or markup that it should not:\n%s", html)
	}
	names := reference.FindAllStringSubmatch(html, -1)
	if len(names) != 3 {
		t.Fatalf("the page names %v", names)
	}
	folder := regexp.MustCompile(`^/dashboard/[0-9a-f]{16}/`).FindString(names[0][1])
	todo := []string{folder + "vendor/preact.LICENSE", folder + "vendor/htm.LICENSE"}
	for _, n := range names {
		todo = append(todo, n[1])
	}
	imports := regexp.MustCompile(`from '(\./[^']+)'`)
	seen := map[string]bool{}
	for len(todo) > 0 {
		path := todo[0]
		todo = todo[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		w := get(h, path)
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("Content-Type") == "" || w.Header().Get("ETag") == "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		for _, m := range imports.FindAllStringSubmatch(w.Body.String(), -1) {
			todo = append(todo, folder+strings.TrimPrefix(m[1], "./"))
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d files are reached: %v", len(seen), seen)
	}
	if w := get(h, strings.Replace(folder, folder[11:13], "zz", 1)+"app.js"); w.Code != http.StatusNotFound {
		t.Errorf("a file of another build: %d", w.Code)
	}
}

func TestFilesAreCompressed(t *testing.T) {
	h := page(t, "")
	plain := get(h, "/")
	for accept, want := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "": false, "br": false, "gzip;q=0": false} {
		w := get(h, "/", "Accept-Encoding", accept)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != want || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: %v", accept, w.Header())
			continue
		}
		if !want {
			continue
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(z)
		if err != nil || string(raw) != plain.Body.String() {
			t.Errorf("Accept-Encoding %q: other content, %v", accept, err)
		}
		if w.Header().Get("ETag") == plain.Header().Get("ETag") {
			t.Error("both forms have one tag")
		}
	}
}

// Every answer says what the page may do: nothing but its own files and its coordinator.
func TestHeadersKeepThePageIn(t *testing.T) {
	h := page(t, "")
	for path, status := range map[string]int{"/": 200, "/nothing": 404, "/dashboard/": 404, "/dashboard/../../etc/passwd": 404, "/trace/a/1": 404} {
		w := get(h, path)
		csp := w.Header().Get("Content-Security-Policy")
		if w.Code != status || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q has no %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", w.Code)
	}
}

func TestStepsLeadToJaeger(t *testing.T) {
	h := page(t, "https://jaeger.example:16686/ui/")
	w := get(h, "/trace/abcdefgh/2/17")
	want := "https://jaeger.example:16686/ui/trace/" + telemetry.StepRoot("abcdefgh", 2, 17).Trace.String()
	if w.Code != http.StatusFound || w.Header().Get("Location") != want {
		t.Errorf("%d to %s, want %s", w.Code, w.Header().Get("Location"), want)
	}
	if w := get(page(t, ""), "/trace/abcdefgh/2/17"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "--jaeger") {
		t.Errorf("without Jaeger: %d %s", w.Code, w.Body)
	}
	for _, bad := range []string{"jaeger:16686", "javascript:alert(1)", "ftp://x", "http://", "http://u:p@x", "http://x/?q", "http://x y"} {
		if _, err := dashboard.New(dashboard.Config{Jaeger: bad}); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "--jaeger: found") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
