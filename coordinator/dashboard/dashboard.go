package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

//go:embed page
var embedded embed.FS

// Config says what the page tells beside what the cluster says.
type Config struct {
	ID      string // of the coordinator
	Version string // of Ressa
	// Jaeger is the address of Jaeger's pages as browsers reach it; empty for none.
	Jaeger string
}

// CheckJaeger verifies an address of Jaeger's pages.
func CheckJaeger(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return api.Invalid(fmt.Errorf("--jaeger: found %q, want http://HOST:PORT or https://HOST:PORT", address))
	}
	return nil
}

// policy lets the page load its own files, ask its own coordinator, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// prefix is where the page's files are, each below the hash of all: a changed file has
// another address.
const prefix = "/dashboard/"

// Handler serves the page.
type Handler struct {
	jaeger string
	page   file
	files  map[string]file // by path
}

// New returns the handler of GET /, of the page's files, and of /trace/JOB/GENERATION/STEP,
// which leads to the step's trace in Jaeger.
func New(c Config) (*Handler, error) {
	if c.Jaeger != "" {
		if err := CheckJaeger(c.Jaeger); err != nil {
			return nil, err
		}
	}
	h := &Handler{jaeger: strings.TrimRight(c.Jaeger, "/"), files: map[string]file{}}
	contents := map[string][]byte{}
	sum := sha256.New()
	err := fs.WalkDir(embedded, "page", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := embedded.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "page/")
		fmt.Fprintf(sum, "%s %d\n%s", name, len(raw), raw)
		contents[name] = raw
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	at := prefix + hex.EncodeToString(sum.Sum(nil)[:8]) + "/"
	for name, raw := range contents {
		if name != "index.html" {
			h.files[at+name] = newFile(name, raw, "public, max-age=31536000, immutable")
		}
	}
	t, err := template.New("page").Parse(string(contents["index.html"]))
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, map[string]string{"Files": at, "ID": c.ID, "Version": c.Version, "Jaeger": h.jaeger}); err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	h.page = newFile("index.html", page.Bytes(), "no-cache")
	return h, nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s %s: want GET", r.Method, r.URL.Path))
		return
	}
	if r.URL.Path == "/" {
		h.page.serve(w, r)
		return
	}
	if f, ok := h.files[r.URL.Path]; ok {
		f.serve(w, r)
		return
	}
	if m := step.FindStringSubmatch(r.URL.Path); m != nil {
		h.trace(w, r, m[1], m[2], m[3])
		return
	}
	refuse(w, http.StatusNotFound, fmt.Sprintf("%s %s: no such path", r.Method, r.URL.Path))
}

var step = regexp.MustCompile(`^/trace/([A-Za-z0-9]{1,64})/([0-9]{1,9})/([0-9]{1,9})$`)

// trace leads to the trace of a step, whose ID follows from what it is of.
func (h *Handler) trace(w http.ResponseWriter, r *http.Request, job, generation, step string) {
	if h.jaeger == "" {
		refuse(w, http.StatusNotFound, "this coordinator was started without --jaeger: it does not know where traces are")
		return
	}
	g, err := strconv.Atoi(generation)
	if err != nil {
		refuse(w, http.StatusNotFound, err.Error())
		return
	}
	n, err := strconv.Atoi(step)
	if err != nil {
		refuse(w, http.StatusNotFound, err.Error())
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, h.jaeger+"/trace/"+telemetry.StepRoot(job, g, n).Trace.String(), http.StatusFound)
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Error{Message: why, ExitCode: api.ExitFailed}) // a client that is gone needs no answer
}
