// Package local starts a whole cluster on this machine for as long as somebody
// uses it: coordinators and trainers as processes of their own, on loopback and
// on ports that are free, with one directory that is theirs.
//
// It guarantees that [Start] returns when every trainer is registered, or not
// within its deadline; that nothing it started outlives [Local.Close], nor, on
// Linux, a launcher that is killed; and that Close removes the directory. What a
// process wrote to standard error is part of the error when it ends too early.
//
// It restarts nothing: a process that ends is for the cluster to get over, and
// shows in [Local.Ended]. It knows the processes by their command line and the
// API only, and does not submit jobs. Package coordinator/cli calls it, for
// `demo --nodes` and `repair --local`.
package local
