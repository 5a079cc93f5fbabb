// Package checkpoint keeps the state of a training job: a [Store] is a directory
// with one blob of tensors and one manifest a checkpoint.
//
//	<sha256 of the blob>.safetensors            adapters and moments, F32
//	step-0000000100.generation-000001.json      what they belong to, and their hash
//
// A checkpoint exists once its manifest does: it is written last, and both
// appear atomically and durably. Reading verifies every hash. [Store.Latest] goes
// back to the newest checkpoint that is whole and says what it passed over;
// state of another job, base or numeric kind is refused, never loaded. One
// process at a time writes to a store, held by a lock on the directory.
//
// The blob holds nothing but the tensors, so that the same training gives the
// same blob, name and hash, on any number of nodes and however often it was
// interrupted.
//
// An [Archive] keeps copies outside the nodes that train: in a shared directory,
// in S3, in JetStream (package objects). There is no lock there: names tell
// writers apart, and no writer removes what another may need.
//
// It does not know what the tensors mean or the format of models: that is package
// hf's. The phases of a job and the verb resume are the callers.
package checkpoint
