package export

import (
	"bytes"
	"encoding/json"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/checkpoint/strictjson"
)

// withDType returns config.json with every dtype that it names, also of its
// towers, set to d, under the key it uses: "dtype" since transformers 5,
// "torch_dtype" before. Where it names none, "torch_dtype" is added, which all
// versions read. A file that says so already stays as it is, byte for byte.
func withDType(raw []byte, d kernels.DType) ([]byte, error) {
	name := "float32"
	if d == kernels.BF16 {
		name = "bfloat16"
	}
	if err := strictjson.Object(raw); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // numbers keep their digits
	var config map[string]any
	if err := decoder.Decode(&config); err != nil {
		return nil, err
	}
	found, changed := false, false
	set(config, name, &found, &changed)
	if !found {
		config["torch_dtype"], changed = name, true
	}
	if !changed {
		return raw, nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(config); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return out.Bytes(), nil
}

func set(object map[string]any, name string, found, changed *bool) {
	for key, value := range object {
		switch v := value.(type) {
		case map[string]any:
			set(v, name, found, changed)
		case string:
			if key == "dtype" || key == "torch_dtype" {
				*found = true
				*changed = *changed || v != name
				object[key] = name
			}
		}
	}
}
