package state

// What the state holds at most. All replicas must have the same limits, so they
// are constants and change only with the version of the commands.
const (
	MaxEnded    = 1000  // jobs that ended; the oldest are forgotten, their decisions stay in the cluster's history
	MaxOpen     = 2000  // jobs that have not ended
	MaxNodes    = 10000 // nodes; those longest away are forgotten beyond MaxAway
	MaxAway     = 1000  // nodes that are lost or left
	MaxMembers  = 64
	MaxHistory  = 2000 // decisions of the cluster
	MaxJobPast  = 200  // decisions of a job: the first ones and the newest
	jobPastHead = 20   // of the first ones

	MaxStalled     = 10 // generations of a job without progress
	MaxCheckpoints = 16 // published, of a job

	MaxCommand = 16 << 20 // bytes of an encoded command
	MaxSpec    = 64 << 10 // bytes of a job file
	maxText    = 8 << 10  // bytes of a reason or an error; longer ones are cut
	maxName    = 128      // bytes of a name, a token or a session
	maxWorkers = 4096     // of a plan
	maxBlocks  = 65536    // of a profile's towers
	maxBatches = 1 << 20  // microbatches of a step
)

// Codes of why a job waits.
const (
	NoNodes    = "no-nodes"     // no node could inspect it or run it
	TooFew     = "too-few"      // fewer nodes than it asks for, free or not
	Busy       = "busy"         // it would fit if nodes were free
	Reserved   = "reserved"     // free nodes are kept for a job that waits longer
	DoesNotFit = "does-not-fit" // not even if all nodes were free
	NeedsLook  = "inspection"   // waits to be inspected
)
