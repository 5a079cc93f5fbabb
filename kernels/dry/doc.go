// Package dry is a device without memory or arithmetic: buffers have a size and no
// contents, operations do nothing. A computation that is run on it asks for the
// memory that it would take elsewhere; trainer/step plans its pools so.
//
// It guarantees that no operation fails and that Download leaves what the host
// passed as it is. It checks no argument: the backends do. Trainer/step and
// measurements of memory are the callers.
package dry
