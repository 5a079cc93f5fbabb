package api

import _ "embed"

//go:embed demo.yaml
var demoJob string

// DemoJob returns the commented job file of the demo, as `ressa init` prints it.
func DemoJob() string { return demoJob }
