package ptx

import (
	"fmt"
	"strings"
)

type writer func(e *emitter, in instruction) (string, error)

// others are the instructions that do more than compute a value, by their whole name.
var others = map[string]writer{
	"bra":     branch,
	"bra.uni": branch,
	"ret":     func(*emitter, instruction) (string, error) { return "return;", nil },

	"cvta.to.global.u64": call("cvta_to_global", "=b64 b64 line"),
	"cvta.to.shared.u64": call("cvta_to_shared", "=b64 b64 line"),
	"cvta.shared.u64":    call("cvta_shared", "=b64 b64 line"),

	"bar.sync":      call("barrier", "b32 line"),
	"bar.warp.sync": call("warp_barrier", "b32 line"),

	"shfl.sync.bfly.b32":    shuffle("bfly"),
	"shfl.sync.idx.b32":     shuffle("idx"),
	"shfl.sync.up.b32":      shuffle("up"),
	"shfl.sync.down.b32":    shuffle("down"),
	"vote.sync.ballot.b32":  call("ballot", "=b32 pred b32 line"),
	"red.global.max.u64":    call("red_global_max", "address b64 line"),
	"cp.async.commit_group": call("commit_copies", ""),
	"cp.async.wait_group":   call("wait_copies", "b32"),
	"cp.async.wait_all":     call("wait_all_copies", ""),

	"cp.async.cg.shared.global": copyAsync,

	"ldmatrix.sync.aligned.m8n8.x4.shared.b16":       call("load_matrices<false>", "=b32*4 address line"),
	"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16": call("load_matrices<true>", "=b32*4 address line"),

	"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32": call("multiply_matrices", "=f32*4 b32*4 b32*2 f32*4 line"),

	"mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32":                   call("multiply_sparse<false>", "=f32*4 b32*4 b32*4 f32*4 b32 b32 line"),
	"mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32": call("multiply_sparse<true>", "=f32*4 b32*4 b32*4 f32*4 b32 b32 line"),
}

func branch(e *emitter, in instruction) (string, error) {
	if len(in.args) != 1 {
		return "", fmt.Errorf("%d operands, want 1", len(in.args))
	}
	return fmt.Sprintf("goto %s;", target(in.args[0])), nil
}

// call returns a writer of a call of host/ptx.h. Each operand is a type, a vector of a
// type (b32*4), an address, or the line, which is no operand of the instruction; = is
// what is written.
func call(function, operands string) writer {
	return func(e *emitter, in instruction) (string, error) {
		var results, args []string
		var result string
		next := 0
		for _, kind := range strings.Fields(operands) {
			if kind == "line" {
				args = append(args, fmt.Sprint(in.line))
				continue
			}
			if next == len(in.args) {
				return "", fmt.Errorf("%d operands, want more", len(in.args))
			}
			arg := in.args[next]
			next++
			typ, n := kind, 0
			if t, many, ok := strings.Cut(kind, "*"); ok {
				typ, n = t, int(many[0]-'0')
			}
			if strings.HasPrefix(kind, "=") {
				result, results = typ[1:], list(arg)
				if n != 0 && len(results) != n {
					return "", fmt.Errorf("a vector of %d, want %d", len(results), n)
				}
				continue
			}
			text, err := e.operand(arg, typ, n)
			if err != nil {
				return "", err
			}
			args = append(args, text)
		}
		if next != len(in.args) {
			return "", fmt.Errorf("%d operands, want %d", len(in.args), next)
		}
		text := fmt.Sprintf("%s(%s)", function, strings.Join(args, ", "))
		if results == nil {
			return text + ";", nil
		}
		return e.spread(results, result, text, strings.Contains(operands, "="+result+"*"))
	}
}

func (e *emitter) operand(arg, typ string, n int) (string, error) {
	if typ == "address" {
		return e.address(arg)
	}
	if n == 0 {
		return e.read(arg, typ)
	}
	members := list(arg)
	if len(members) != n {
		return "", fmt.Errorf("a vector of %d, want %d", len(members), n)
	}
	for i := range members {
		var err error
		if members[i], err = e.read(members[i], typ); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("several<%s, %d>{%s}", cxx(typ), n, strings.Join(members, ", ")), nil
}

// spread gives registers what a call returns: a value, or a vector of them.
func (e *emitter) spread(to []string, typ, call string, vector bool) (string, error) {
	if !vector {
		return e.write(to[0], typ, call)
	}
	text := "{ auto w = " + call + ";"
	for i := range to {
		set, err := e.write(to[i], typ, fmt.Sprintf("w.at[%d]", i))
		if err != nil {
			return "", err
		}
		text += " " + set
	}
	return text + " }", nil
}

// shuffle writes d|p, a, b, c, mask; p says whether the lane that was named is in reach.
func shuffle(mode string) writer {
	return func(e *emitter, in instruction) (string, error) {
		if len(in.args) != 5 {
			return "", fmt.Errorf("%d operands, want 5", len(in.args))
		}
		d, p, both := strings.Cut(in.args[0], "|")
		args := make([]string, 4)
		for i := range args {
			var err error
			if args[i], err = e.read(in.args[i+1], "b32"); err != nil {
				return "", err
			}
		}
		text := fmt.Sprintf("{ bool p; u32 w = shuffle_%s(%s, p, %d);", mode, strings.Join(args, ", "), in.line)
		set, err := e.write(d, "b32", "w")
		if err != nil {
			return "", err
		}
		text += " " + set
		if both {
			if set, err = e.write(p, "pred", "p"); err != nil {
				return "", err
			}
			text += " " + set
		}
		return text + " }", nil
	}
}

// copyAsync writes [to], [from], 16, or with how many bytes are read before zeros.
func copyAsync(e *emitter, in instruction) (string, error) {
	if len(in.args) != 3 && len(in.args) != 4 || in.args[2] != "16" {
		return "", fmt.Errorf("operands %q, want two addresses, 16 and the bytes that are read", in.args)
	}
	to, err := e.address(in.args[0])
	if err != nil {
		return "", err
	}
	from, err := e.address(in.args[1])
	if err != nil {
		return "", err
	}
	bytes, err := e.read(in.args[len(in.args)-1], "b32")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("copy_async(%s, %s, %s, %d);", to, from, bytes, in.line), nil
}
