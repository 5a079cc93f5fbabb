package gpu

import (
	"errors"
	"time"
)

// ErrNone is returned where no GPU can be there, as far as this build can tell: no
// driver, or no way to load its library.
var ErrNone = errors.New("no GPU is watched")

// driver is what a monitor asks of the GPUs. Every call may hang. Calls come one at a
// time, but for wait, which runs beside them.
type driver interface {
	// open loads the driver's library.
	open() error
	// list returns the GPUs; positions in it are what read and events name.
	list() ([]Device, error)
	// listen asks for events of the listed GPUs.
	listen() error
	// read asks one GPU how it is. Errors wrap errLost, errGone or errSick where the
	// GPU cannot be used.
	read(device int) (Reading, error)
	// wait returns the next event; nil where none came in time.
	wait(time.Duration) (*event, error)
	close() error
}
