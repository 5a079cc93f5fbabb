package cpu

import "errors"

// errClosed is what a stream reports once it was closed.
var errClosed = errors.New("cpu: the stream was closed")
