//go:build cgo && linux

package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// mirrors are the Go structs of the kernels' arguments, by their names in the sources.
func mirrors() map[string]any {
	return map[string]any{
		"fill_args": fillArgs{}, "convert_args": convertArgs{}, "move_args": moveArgs{}, "add_args": addArgs{},
		"add_rows_args": addRowsArgs{}, "rotate_args": rotateArgs{}, "index_args": indexArgs{}, "sum_rows_args": sumRowsArgs{},
		"argmax_args": argmaxArgs{}, "activation_args": activationArgs{}, "gate_args": gateArgs{},
		"target": target{}, "gemm_args": gemmArgs{}, "add_parts_args": addPartsArgs{}, "fold_args": foldArgs{},
		"weight": weight{}, "linear_fused_args": linearFusedArgs{}, "halved_weight_args": halvedWeightArgs{}, "sparse_forward_args": sparseForwardArgs{}, "effective_weight_args": effectiveWeightArgs{},
		"adamw_args": adamWArgs{}, "segment_squares_args": segmentSquaresArgs{}, "segment_sums_args": segmentSumsArgs{},
		"column_squares_args": columnSquaresArgs{}, "norm_args": normArgs{}, "norm_backward_args": normBackwardArgs{},
		"objective_args": objectiveArgs{}, "attention_args": attentionArgs{}, "attention_round_args": attentionRoundArgs{},
		"select_mask_args": selectMaskArgs{}, "kept_args": keptArgs{},
		"head": head{}, "view": view{},
	}
}

// member is a field of a struct: where it lies, and its size.
type member struct{ offset, size int }

// structs returns the layout that C gives to the structs of the sources.
func structs(t *testing.T) map[string][]member {
	t.Helper()
	sizes := map[string]int{"i32": 4, "u32": 4, "float": 4, "i64": 8, "u64": 8, "double": 8}
	layouts := map[string][]member{}
	definition := regexp.MustCompile(`(?sm)^struct (\w+) \{\n(.*?)\n\};`)
	comment := regexp.MustCompile(`(?s)/\*.*?\*/`)
	files := []string{"source/device.cuh"}
	for _, pattern := range []string{"source/*.cuh", "source/*.cu"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range definition.FindAllStringSubmatch(comment.ReplaceAllString(string(raw), ""), -1) {
			var fields []member
			end := 0
			for declaration := range strings.SplitSeq(m[2], ";") {
				declaration = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(declaration), "const "))
				if declaration == "" {
					continue
				}
				declaration = strings.TrimPrefix(declaration, "struct ")
				kind, names, _ := strings.Cut(declaration, " ")
				for name := range strings.SplitSeq(names, ",") {
					size := sizes[kind]
					if s := layouts[kind]; s != nil {
						size = extent(s)
					}
					if strings.Contains(name, "*") {
						size = 8
					}
					if size == 0 {
						t.Fatalf("%s: struct %s: unknown type %q", f, m[1], kind)
					}
					align := min(size, 8)
					end = (end + align - 1) / align * align
					fields = append(fields, member{end, size})
					end += size
				}
			}
			layouts[m[1]] = fields
		}
	}
	return layouts
}

// extent is the size of a struct, all of whose members end together with it: padding is
// spelled out.
func extent(fields []member) int {
	last := fields[len(fields)-1]
	return last.offset + last.size
}

func TestArgumentsHaveTheLayoutOfTheSources(t *testing.T) {
	if *library != "" {
		t.Skip("reads the sources, which need not be beside " + *library)
	}
	layouts := structs(t)
	for name, fields := range layouts {
		mirror, ok := mirrors()[name]
		if !ok {
			if strings.HasSuffix(name, "_args") {
				t.Errorf("struct %s has no mirror in Go that is compared with it", name)
			}
			continue
		}
		var own []member
		goType := reflect.TypeOf(mirror)
		for i := range goType.NumField() {
			f := goType.Field(i)
			own = append(own, member{int(f.Offset), int(f.Type.Size())})
		}
		if fmt.Sprint(own) != fmt.Sprint(fields) || int(goType.Size()) != extent(fields) {
			t.Errorf("struct %s: %v of %d bytes in Go, %v of %d bytes in C", name, own, goType.Size(), fields, extent(fields))
		}
		if extent(fields)%8 != 0 {
			t.Errorf("struct %s has %d bytes: spell out the padding", name, extent(fields))
		}
	}
	for name := range mirrors() {
		if layouts[name] == nil {
			t.Errorf("no source has struct %s", name)
		}
	}
}
