// Package waterfall lays out the trace of a step to be looked at: who did what when, and
// which chain of spans decided when the step ended.
//
// It guarantees an order that depends on the trace alone, and that the critical path goes
// back in time without a loop: from the step's end over what ended last before, on the
// same node or, where that waited for another one, on that. It draws nothing: verbs and
// pages do. A trace with parts missing gives what can be known without them.
package waterfall
