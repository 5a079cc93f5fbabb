// Package opaque is a backend for tests whose memory Go cannot address, as that
// of a GPU: it keeps the layers above honest about [kernels.Stream].
//
// It guarantees the bits of package reference, with the strictest reading of the
// contract: the pages of a buffer can be read and written only while an operation
// on it runs (a stray access is a fault); nothing runs before Synchronize or
// Close, so that a host slice that is touched too early is seen; every error
// comes late; a stream that was not closed is an error of the device.
//
// It is not fast: each operation changes the protection of its operands' pages,
// and the operations of one device run one at a time. Only tests call it.
package opaque
