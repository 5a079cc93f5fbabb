package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth bounds nesting. The files checked here need four levels at most, a
// model's config.json perhaps ten.
const maxDepth = 100

// Object checks that data is one JSON object, valid UTF-8, without duplicate
// keys at any level and with nothing but white space after it.
func Object(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not valid UTF-8")
	}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("not a JSON object")
	}
	if err := wellFormed(data); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return uniqueKeys(d)
}

// wellFormed reports the syntax error of data with its position.
func wellFormed(data []byte) error {
	if json.Valid(data) {
		return nil
	}
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("invalid JSON at byte %d: %w", syntax.Offset, err)
	}
	return fmt.Errorf("invalid JSON: %w", err)
}

// level is an open object or array; keys is nil for an array.
type level struct {
	keys map[string]struct{}
	key  bool // the next token of an object is a key
}

// uniqueKeys walks the tokens of a well-formed value without recursion.
func uniqueKeys(d *json.Decoder) error {
	var open []level
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("invalid JSON: %w", err)
		}
		if n := len(open); n > 0 && open[n-1].key {
			if name, ok := token.(string); ok {
				if _, again := open[n-1].keys[name]; again {
					return fmt.Errorf("key %q appears twice", name)
				}
				open[n-1].keys[name] = struct{}{}
				open[n-1].key = false
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{keys: map[string]struct{}{}, key: true})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			finish(open)
		default:
			finish(open)
		}
		if len(open) > maxDepth {
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
	}
}

// finish notes that a value ended: an object expects a key again.
func finish(open []level) {
	if n := len(open); n > 0 && open[n-1].keys != nil {
		open[n-1].key = true
	}
}
