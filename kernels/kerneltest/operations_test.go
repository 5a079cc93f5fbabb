package kerneltest

import (
	"reflect"

	"ressa/kernels"
)

// operations returns the names of all operations of a stream.
func operations() (names []string) {
	managing := map[string]bool{"Upload": true, "Download": true, "Synchronize": true, "Close": true}
	t := reflect.TypeFor[kernels.Stream]()
	for i := range t.NumMethod() {
		if name := t.Method(i).Name; !managing[name] {
			names = append(names, name)
		}
	}
	return names
}
