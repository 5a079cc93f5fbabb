// Package backlog stands between who says something and who reads it, so that a
// reader that is slow or stands still (a stopped terminal, a full pipe, a hub that
// hangs) holds nobody up.
//
// It guarantees that a [Queue] passes items on in the order in which they came, one
// at a time; that neither Put nor Keep waits for the reader; that Put drops when the
// reader is too far behind, and the next item is passed with how many were; and that
// Keep drops nothing.
//
// It does not say what may be lost: its callers do. They are the view of a job that
// runs in this process, the log of a node, and the lines that a node sends.
package backlog
