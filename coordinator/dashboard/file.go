package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// file is one that browsers get, as it is and compressed.
type file struct {
	kind, cache, tag string
	plain            []byte
	packed           []byte // by gzip; nil where that saves nothing
}

// kindOf returns the media type of a file.
func kindOf(name string) string {
	return map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8"}[path.Ext(name)]
}

func newFile(name string, raw []byte, cache string) file {
	sum := sha256.Sum256(raw)
	f := file{kind: kindOf(name), cache: cache, tag: hex.EncodeToString(sum[:12]), plain: raw}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return f
	}
	if _, err := z.Write(raw); err != nil || z.Close() != nil {
		return f
	}
	if b.Len() < len(raw) {
		f.packed = b.Bytes()
	}
	return f
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	body, tag := f.plain, `"`+f.tag+`"`
	head.Set("Vary", "Accept-Encoding")
	if f.packed != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = f.packed, `"`+f.tag+`-gzip"`
		head.Set("Content-Encoding", "gzip")
	}
	head.Set("Cache-Control", f.cache)
	head.Set("ETag", tag)
	if slices.Contains(strings.FieldsFunc(r.Header.Get("If-None-Match"), func(c rune) bool { return c == ',' || c == ' ' }), tag) {
		head.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Type", f.kind)
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// takesGzip reads Accept-Encoding.
func takesGzip(accept string) bool {
	for coding := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		if strings.TrimSpace(name) == "gzip" && (err != nil || q > 0) {
			return true
		}
	}
	return false
}
