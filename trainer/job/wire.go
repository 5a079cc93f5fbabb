package job

import (
	"bytes"
	"encoding/gob"
	"fmt"
)

// encoded writes what workers tell each other. It serves types that gob can write:
// the version of a worker's program is checked when its node registers.
func encoded(v any) []byte {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		panic(fmt.Sprintf("job: %T cannot be written: %v", v, err)) // a mistake in the program
	}
	return b.Bytes()
}

// decoded reads into v what encoded wrote.
func decoded(raw []byte, v any) error {
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(v); err != nil {
		return fmt.Errorf("message of another worker: %w", err)
	}
	return nil
}
