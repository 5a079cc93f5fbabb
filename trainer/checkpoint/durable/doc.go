// Package durable writes files and directories that are there completely or
// not at all, also after a crash or a full disk: contents go to a temporary
// sibling, which is synced, renamed, and its directory synced.
//
// A pending file learns its final name only when it is committed, so that a
// file can be named by the hash of what was written; and directories are
// replaced as a whole. It does not lock: two writers of one name race, and the
// last one wins. The packages of trainer/checkpoint are the callers.
package durable
