package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 150) + "1" + strings.Repeat("}", 150)
	cases := []struct{ name, in, want string }{
		{"empty object", `{}`, ""},
		{"nested", `{"a":{"a":[{"a":1},{"a":2},[]]},"b":"a"}  `, ""},
		{"same key in siblings", `{"x":{"k":1},"y":{"k":1}}`, ""},
		{"key equal to a value", `{"a":"b","b":"a"}`, ""},
		{"duplicate", `{"a":1,"a":1}`, `key "a" appears twice`},
		{"duplicate after object", `{"a":{},"a":1}`, `key "a" appears twice`},
		{"duplicate after array", `{"a":[{}],"b":1,"a":1}`, `key "a" appears twice`},
		{"duplicate nested", `{"a":[{"b":{"c":1,"c":2}}]}`, `key "c" appears twice`},
		{"duplicate by escape", `{"a":1,"\u0061":1}`, `key "a" appears twice`},
		{"two values", `{} {}`, "invalid JSON"},
		{"array", `[]`, "not a JSON object"},
		{"nothing", ``, "not a JSON object"},
		{"cut", `{"a":`, "invalid JSON"},
		{"trailing comma", `{"a":[1,],}`, "invalid JSON"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "not valid UTF-8"},
		{"deep", deep, "nested deeper"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := Object([]byte(c.in))
			switch {
			case c.want == "" && err != nil:
				t.Fatalf("unexpected error %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,{"b":null}]}`, `{"a":1,"a":2}`, `{"a":{"b":{}},"c":[[]]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if Object(data) == nil {
			var m map[string]any
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatalf("accepted what encoding/json refuses: %v", err)
			}
		}
	})
}
