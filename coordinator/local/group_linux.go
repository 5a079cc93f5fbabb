package local

import "syscall"

// ofGroup puts a process into a group of its own, which the terminal's signals do
// not reach, and has the kernel end it with the thread that started it.
func ofGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
