package gpu

import "fmt"

// NVIDIA's documentation of XIDs, https://docs.nvidia.com/deploy/xid-errors/, gives for
// each what has to be done at once, its resolution bucket. Fatal here is what asks for
// a reset of the GPU, of the machine or for a check of its hardware (RESET_GPU,
// RESTART_BM, RESTART_VM, CHECK_MECHANICALS, WORKFLOW_XID_48, WORKFLOW_NVLINK_ERR), and
// 94, because what ran on the GPU is lost. Those of NVLink 5 (144 to 150) depend on
// details that NVML does not tell: a warning, and 154 or 48 follows where they count.
var fatalXIDs = map[uint64]string{
	46:  "GPU stopped processing",
	48:  "double-bit ECC error",
	54:  "auxiliary power is not connected",
	62:  "internal micro-controller halted",
	64:  "GPU memory could not be remapped or retired",
	74:  "NVLink error",
	79:  "GPU has fallen off the bus",
	94:  "contained memory error",
	95:  "uncontained memory error",
	109: "context switch timed out",
	110: "security fault",
	119: "GSP did not answer",
	120: "GSP error",
	136: "NVLink training failed",
	140: "unrecovered ECC error",
	143: "GPU initialization failed",
	151: "key rotation error",
	156: "GPU resource is retired and needs a reset",
	158: "GPU timed out fatally",
}

// mildXIDs are named in their warning; all that are in no table get one without a name.
var mildXIDs = map[uint64]string{
	63:  "GPU memory is remapped or retired at its next reset",
	92:  "many single-bit ECC errors",
	121: "corrected errors on the link to the CPU",
	144: "NVLink error", 145: "NVLink error", 146: "NVLink error", 147: "NVLink error",
	148: "NVLink error", 149: "NVLink error", 150: "NVLink error",
	154: "GPU asks for another recovery action",
	155: "NVLink is down",
	157: "GPU resource could not be retired",
	171: "uncorrectable DRAM error",
	172: "uncorrectable SRAM error",
}

// applicationXIDs are about a process that used the GPU, be it ours or another's: the
// GPU stays well.
var applicationXIDs = map[uint64]bool{
	13: true, // graphics engine exception
	31: true, // memory page fault
	32: true, // corrupted push buffer
	43: true, // stopped processing for one application
	45: true, // clean-up after an application
	69: true, // graphics engine class error
}

// words says what an XID is about.
func words(xid uint64) (text string, fatal bool) {
	if s, ok := fatalXIDs[xid]; ok {
		return fmt.Sprintf("XID %d: %s", xid, s), true
	}
	if s, ok := mildXIDs[xid]; ok {
		return fmt.Sprintf("XID %d: %s", xid, s), false
	}
	return fmt.Sprintf("XID %d", xid), false
}
