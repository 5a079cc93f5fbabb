package local_test

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// clock lets the wall clock of a running process jump, and leaves its monotonic clock
// and the system's clocks alone. A program in Go asks the kernel's clock_gettime for
// the time, by an address that its runtime keeps; the process gets another address
// there, of a piece of code behind its own which calls the kernel's and adds an offset.
type clock struct {
	pid            int
	memory         *os.File
	pointer, patch int64 // addresses
}

// openClock finds what is needed in a process of a program. It jumps with the first
// call of set.
func openClock(bin string, pid int) (c *clock, err error) {
	f, err := elf.Open(bin)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("clock: %s is %v for %v, want one at fixed addresses for x86-64: %w", bin, f.Type, f.Machine, errors.ErrUnsupported)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	c = &clock{pid: pid}
	for _, s := range symbols {
		if s.Name == "runtime.vdsoClockgettimeSym" {
			c.pointer = int64(s.Value)
		}
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			c.patch = int64(p.Vaddr+p.Filesz+63) &^ 63 // the rest of its last page is nobody's
			if room := -c.patch & 4095; room < 128 {
				return nil, fmt.Errorf("clock: %d bytes behind the code of %s, want 128: %w", room, bin, errors.ErrUnsupported)
			}
		}
	}
	if c.pointer == 0 || c.patch == 0 {
		return nil, fmt.Errorf("clock: %s keeps no address of clock_gettime: %w", bin, errors.ErrUnsupported)
	}
	c.memory, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	return c, err
}

// Places in the patch.
const (
	patchOffset = 0  // seconds that are added, 8 bytes
	patchKernel = 8  // address of the kernel's clock_gettime
	patchCode   = 16 // int code(clockid_t, struct timespec *)
)

// set makes the wall clock differ from the system's by so much.
func (c *clock) set(offset time.Duration) error {
	var word [8]byte
	if _, err := c.memory.ReadAt(word[:], c.pointer); err != nil {
		return fmt.Errorf("clock of process %d: %w", c.pid, err)
	}
	found := int64(binary.LittleEndian.Uint64(word[:]))
	if found == 0 {
		return fmt.Errorf("clock: process %d asks the system for the time: %w", c.pid, errors.ErrUnsupported)
	}
	seconds := binary.LittleEndian.AppendUint64(nil, uint64(int64(offset/time.Second)))
	if found == c.patch+patchCode {
		_, err := c.memory.WriteAt(seconds, c.patch+patchOffset)
		return err
	}
	code := append(seconds, word[:]...)
	code = append(code,
		0x57,             // push rdi
		0x56,             // push rsi
		0x48, 0x83, 0xec, // sub rsp, 8: aligned to 16 again
		0x08,
		0xff, 0x15, 0xec, // call [rip-20]: patchKernel
		0xff, 0xff, 0xff,
		0x48, 0x83, 0xc4, // add rsp, 8
		0x08,
		0x5e,       // pop rsi
		0x5f,       // pop rdi
		0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
		0x75, 0x0a, // jne +10
		0x48, 0x8b, 0x0d, // mov rcx, [rip-45]: patchOffset
		0xd3, 0xff, 0xff, 0xff,
		0x48, 0x01, 0x0e, // add [rsi], rcx
		0xc3, // ret
	)
	if _, err := c.memory.WriteAt(code, c.patch); err != nil {
		return fmt.Errorf("clock of process %d: %w", c.pid, err)
	}
	binary.LittleEndian.PutUint64(word[:], uint64(c.patch+patchCode))
	_, err := c.memory.WriteAt(word[:], c.pointer)
	return err
}

func (c *clock) close() error { return c.memory.Close() }
