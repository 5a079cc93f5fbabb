//go:build !linux

package local

import "syscall"

// ofGroup puts a process into a group of its own, which the terminal's signals do
// not reach.
func ofGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
