package api

import (
	"fmt"
	"net/url"
	"strings"
)

// CheckCollector verifies the address of an OpenTelemetry collector: http:// or https:// for
// OTLP over HTTP, grpc:// or grpcs:// for OTLP over gRPC, with host and port.
func CheckCollector(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "http", "https", "grpc", "grpcs":
	default:
		return fmt.Errorf("found %q, want http://HOST:PORT, https://…, grpc://… or grpcs://…", address)
	}
	if u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasPrefix(u.Scheme, "grpc") && u.Path != "" {
		return fmt.Errorf("found %q, want a scheme, a host and a port", address)
	}
	return nil
}
