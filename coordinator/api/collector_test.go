package api_test

import (
	"testing"

	"ressa/coordinator/api"
)

func TestCheckCollector(t *testing.T) {
	for address, ok := range map[string]bool{
		"http://127.0.0.1:4318": true, "https://traces.example:4318/v1/traces": true, "grpc://jaeger:4317": true, "grpcs://jaeger:4317": true,
		"": false, "jaeger:4317": false, "http://": false, "ftp://x:1": false, "grpc://x:1/path": false, "http://a:b@x:1": false, "http://x:1?y=1": false, "http://x:y": false,
	} {
		if err := api.CheckCollector(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
