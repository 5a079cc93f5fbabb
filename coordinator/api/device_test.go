package api_test

import (
	"strings"
	"testing"

	"ressa/coordinator/api"
)

func TestParseDevice(t *testing.T) {
	for text, want := range map[string]string{"auto": "auto", "cpu": "cpu", "cuda": "cuda:0", "cuda:0": "cuda:0", "cuda:12": "cuda:12"} {
		d, err := api.ParseDevice(text)
		if err != nil || d.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda:01", "cuda:x", "cuda:99999999999999999999", "cuda0", "cpu:0"} {
		_, err := api.ParseDevice(text)
		if err == nil || !strings.Contains(err.Error(), "--device: found") || api.ExitCode(err) != api.ExitInvalid {
			t.Errorf("%q: %v, exit code %d", text, err, api.ExitCode(err))
		}
	}
}
