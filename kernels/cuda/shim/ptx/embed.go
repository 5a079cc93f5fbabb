package ptx

import "embed"

// Runtime is what translated kernels are compiled with, in the folder host.
//
//go:embed host
var Runtime embed.FS
