package driver

import "fmt"

// The results that callers tell apart.
const (
	OutOfMemory    = 2
	NotFound       = 500
	NotReady       = 600
	IllegalAddress = 700
	LaunchFailed   = 719
)

// Error is a call into libcuda that failed.
type Error struct {
	Call   string // the function, as libcuda exports it
	Code   int    // its CUresult
	Name   string // CUDA's name of the code, as CUDA_ERROR_OUT_OF_MEMORY
	Text   string // CUDA's words for it
	Detail string // what the compiler said, where it was one
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, e.Code, e.Text)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Is makes errors.Is compare the code alone: a target is &Error{Code: OutOfMemory}.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}
