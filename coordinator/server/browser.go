package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"ressa/coordinator/api"
)

// fromOurPage refuses a request that a browser makes for another site's page and that
// may change something. Such a request tells where it comes from; one of a program
// does not. A page of ours sends [api.HeaderPage] too, which no other page can without
// being allowed to. A coordinator on loopback takes names of loopback only, so that no
// site gets there by giving its own name that address.
func fromOurPage(r *http.Request) error {
	origin := r.Header.Get("Origin")
	fromBrowser := origin != "" || r.Header.Get("Sec-Fetch-Site") != ""
	if r.Method == http.MethodGet || r.Method == http.MethodHead || !fromBrowser || r.Header.Get(forwarded) != "" {
		return nil // one that was passed on was looked at there
	}
	refuse := func(why string) error {
		return &refusal{http.StatusForbidden, api.ExitInvalid, fmt.Sprintf("%s %s from a browser: %s", r.Method, r.URL.Path, why)}
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return refuse("it comes from another site's page")
	}
	if r.Header.Get(api.HeaderPage) == "" {
		return refuse("it has no header " + api.HeaderPage)
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && loopback(local.String()) && !loopback(r.Host) {
		return refuse(fmt.Sprintf("host %q is none of loopback", r.Host))
	}
	return nil
}

// loopback reports whether a host, with or without a port, is this machine alone.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// timed gives up a client that does not take what is written.
type timed struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

// Unwrap is for [http.ResponseController].
func (t *timed) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *timed) wait() { _ = t.control.SetWriteDeadline(time.Now().Add(t.patience)) } // recorders of tests have none

// Write implements io.Writer.
func (t *timed) Write(p []byte) (int, error) {
	t.wait()
	return t.ResponseWriter.Write(p)
}

// FlushError is what [http.ResponseController] calls.
func (t *timed) FlushError() error {
	t.wait()
	return t.control.Flush()
}
