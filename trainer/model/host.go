package model

// host recycles the bytes on the host that a stream's transfers read and write.
type host struct {
	on    bool
	slabs [][]byte
	used  int // bytes of the last slab
}

// Host returns n bytes with undefined contents for a transfer.
func (p *Pool) Host(n int) []byte {
	h := &p.host
	if !h.on {
		return make([]byte, n)
	}
	if len(h.slabs) == 0 || len(h.slabs[len(h.slabs)-1])-h.used < n {
		h.slabs, h.used = append(h.slabs, make([]byte, max(n, 1<<16))), 0
	}
	h.used += n
	slab := h.slabs[len(h.slabs)-1]
	return slab[h.used-n : h.used : h.used]
}

// BeginHost begins a piece of work that ends with the stream synchronised: until
// EndHost, the pool recycles what Host returns.
func (p *Pool) BeginHost() { p.host.on, p.host.used = true, 0 }

// EndHost ends it: nothing that Host returned since BeginHost is used any more,
// unless it was broken off.
func (p *Pool) EndHost(done bool) {
	h := &p.host
	if !done {
		*h = host{}
		return
	}
	h.on, h.used = false, 0
	if len(h.slabs) > 1 { // the next time one holds all
		total := 0
		for _, s := range h.slabs {
			total += len(s)
		}
		h.slabs = [][]byte{make([]byte, total)}
	}
}
