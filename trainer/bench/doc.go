// Package bench measures a whole repair step, student and teacher forward, loss,
// backward and AdamW, in several forms: ours, the same engine on the published form
// of the layer (package dense), and that form in PyTorch (folder pytorch).
//
// [Prepare] writes a task, the model, masks, adapters and batches, as files that
// every form reads; [Solve] runs one of ours on it in this process, a step for each
// line that it is told; [Contest] runs forms as processes of their own and has them
// make a step each in turns. It guarantees that all forms start from the same numbers,
// and reports by how much their losses differ over the steps: that their work is the
// same is measured, not assumed. Memory is the resident size of the process, at the
// start, with the model loaded and at most during the steps.
//
// It trains nothing that is kept and judges nothing. The verb bench is the caller.
package bench
