package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// Config says which coordinators to call and how long to try.
type Config struct {
	// URLs of coordinators, http or https; one that answers is enough.
	URLs []string
	// TLS is for https; nil takes the defaults.
	TLS *tls.Config
	// Timeout is of one attempt, until the answer begins.
	Timeout time.Duration
	// Patience is how long a call goes on trying while no coordinator answers. 0
	// tries each URL once.
	Patience time.Duration
	// Logger gets a line for each failed attempt, at level debug. Required.
	Logger *slog.Logger
}

// DefaultConfig returns the times that suit a user's call.
func DefaultConfig(urls ...string) Config {
	return Config{URLs: urls, Timeout: 10 * time.Second, Patience: 10 * time.Second, Logger: slog.Default()}
}

// Client calls coordinators. It is safe for concurrent use.
type Client struct {
	config Config
	urls   []*url.URL
	http   *http.Client
	last   atomic.Int32 // the URL that answered last
}

// ParseURLs splits a list of URLs at commas and checks them. Errors are the
// user's, and name the URL.
func ParseURLs(list string) ([]string, error) {
	var out []string
	for _, s := range strings.Split(list, ",") {
		s = strings.TrimSuffix(strings.TrimSpace(s), "/")
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
			return nil, api.Invalid(fmt.Errorf("coordinator %q: want http://HOST:PORT or https://HOST:PORT", s))
		}
		out = append(out, s)
	}
	return out, nil
}

// New returns a client. It does not connect yet.
func New(c Config) (*Client, error) {
	if len(c.URLs) == 0 {
		return nil, api.Invalid(fmt.Errorf("no coordinator given, want http://HOST:PORT"))
	}
	checked, err := ParseURLs(strings.Join(c.URLs, ","))
	if err != nil {
		return nil, err
	}
	if c.Timeout <= 0 || c.Patience < 0 || c.Logger == nil {
		return nil, fmt.Errorf("client: timeout %v, patience %v, logger %v: want a timeout, a logger and no negative patience", c.Timeout, c.Patience, c.Logger)
	}
	cl := &Client{config: c}
	for _, s := range checked {
		u, err := url.Parse(s)
		if err != nil {
			return nil, api.Invalid(err)
		}
		cl.urls = append(cl.urls, u)
	}
	cl.http = &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: min(c.Timeout, 3*time.Second), KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     c.TLS,
		TLSHandshakeTimeout: c.Timeout,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		ForceAttemptHTTP2:   false,
	}}
	return cl, nil
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// maxAnswer bounds the JSON of an answer.
const maxAnswer = 256 << 20

// request is one call before it is sent.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
	timeout      time.Duration // of an attempt; 0 is the client's
}

// call sends in as JSON, where it is not nil, and decodes the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.slow(ctx, 0, method, path, in, out)
}

// slow is call with a timeout of its own for each attempt.
func (c *Client) slow(ctx context.Context, timeout time.Duration, method, path string, in, out any) error {
	r := request{method: method, path: path, timeout: timeout}
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		r.body = raw
	}
	return c.try(ctx, r, func(resp *http.Response) error {
		if out == nil {
			return nil
		}
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out)
	})
}

// Pauses between rounds over all URLs.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// try sends the request to one coordinator after the other until one gives an
// answer that is its own to give, and reads it with read. An answer that cannot
// be read counts as none, unless read marks its error as a [callbackError].
func (c *Client) try(ctx context.Context, r request, read func(*http.Response) error) error {
	deadline := time.Now().Add(c.config.Patience)
	pause := firstPause
	for {
		var last error
		for range c.urls {
			i := c.last.Load()
			err := c.attempt(ctx, r, c.urls[i], read)
			var refused *Error
			var own *callbackError
			if err == nil || errors.As(err, &own) || errors.As(err, &refused) && !elsewhere(refused.Status) {
				return err
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			// Also when the time of this call is over: the next one begins elsewhere.
			c.last.CompareAndSwap(i, (i+1)%int32(len(c.urls)))
			if ctx.Err() != nil {
				return c.ended(ctx, err)
			}
			c.config.Logger.Debug("coordinator does not answer", "url", c.urls[i].Host, "call", r.method+" "+r.path, "err", err)
			last = err
		}
		if time.Now().Add(pause).After(deadline) {
			return &UnreachableError{c.config.URLs, last}
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return c.ended(ctx, last)
		}
		pause = min(2*pause, longestPause)
	}
}

// elsewhere reports whether another coordinator, or the same one a moment later,
// may know better.
func elsewhere(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// ended words the end of the context: who cancelled knows why, a deadline means
// that nobody answered.
func (c *Client) ended(ctx context.Context, last error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &UnreachableError{c.config.URLs, last}
}

// attempt sends the request to one coordinator. The timeout ends when the answer
// begins: how long it may take to read is the context's to say.
func (c *Client) attempt(ctx context.Context, r request, to *url.URL, read func(*http.Response) error) error {
	timeout := r.timeout
	if timeout == 0 {
		timeout = c.config.Timeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() { cancel(fmt.Errorf("no answer within %v", timeout)) })
	defer timer.Stop()
	u := *to
	u.Path, u.RawQuery = r.path, r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	telemetry.Inject(ctx, req.Header)
	for k, v := range r.header {
		req.Header[k] = v
	}
	if r.body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
		return err
	}
	defer resp.Body.Close()
	timer.Stop()
	if resp.StatusCode/100 != 2 {
		return refusal(resp)
	}
	return read(resp)
}

// refusal reads the body of an answer that is not a success.
func refusal(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(raw, &e.Answer) != nil || e.Answer.Message == "" {
		e.Answer = api.Error{Message: fmt.Sprintf("%s answered %s", resp.Request.URL.Host, resp.Status), ExitCode: api.ExitFailed}
	}
	return e
}
