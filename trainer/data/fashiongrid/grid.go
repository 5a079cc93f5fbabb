package fashiongrid

import (
	"fmt"
	"hash/fnv"
	"image"
	"slices"

	"ressa/trainer/data"
	"ressa/trainer/random"
)

// Split names one of the three disjoint sets of grids.
type Split string

// The splits.
const (
	Train      Split = "train"
	Validation Split = "validation"
	Test       Split = "test"
)

// heldOut is the share of training photos kept for validation: one in ten, chosen
// by a hash of the pixels, so that a photo is on the same side in every collection.
const heldOut = 10

func (p *Photo) held() bool {
	h := fnv.New32a()
	_, _ = h.Write(p.Pixels[:]) // never fails
	return h.Sum32()%heldOut == 0
}

// site separates this package's random numbers from others of the same seed.
const site random.Site = 0x67726964 // "grid"

// Grids is a data set of n grids. It implements [data.Dataset].
type Grids struct {
	photos  []Photo
	byClass [10][]int32
	split   Split
	seed    uint64
	n       int
}

var _ data.Dataset = (*Grids)(nil)

// New returns n grids of a split. photos are the training photos for Train and
// Validation, which share them out, and the test photos for Test.
func New(photos []Photo, split Split, seed uint64, n int) (*Grids, error) {
	if n < 1 {
		return nil, fmt.Errorf("fashiongrid: %d grids, want at least 1", n)
	}
	g := &Grids{photos: photos, split: split, seed: seed, n: n}
	for i := range photos {
		p := &photos[i]
		if split == Test || p.held() == (split == Validation) {
			g.byClass[p.Label] = append(g.byClass[p.Label], int32(i))
		}
	}
	for c, list := range g.byClass {
		if len(list) == 0 {
			return nil, fmt.Errorf("fashiongrid: no photo of class %s for split %s", Classes()[c], split)
		}
	}
	return g, nil
}

// Len implements [data.Dataset].
func (g *Grids) Len() int { return g.n }

// turnsPerTrainingGrid is how many questions a training conversation asks about
// its image, so that the image tokens are paid for once.
const turnsPerTrainingGrid = 4

// Example implements [data.Dataset]: a conversation of several turns for
// training, one question otherwise.
func (g *Grids) Example(i int) (data.Example, error) {
	if i < 0 || i >= g.n {
		return data.Example{}, fmt.Errorf("fashiongrid: example %d of %d", i, g.n)
	}
	r := random.New(g.seed^splitKey(g.split), uint32(i), 0, site)
	cells := chooseClasses(&r)
	pic := picture{}
	for c, class := range cells {
		list := g.byClass[class]
		pic[c] = &g.photos[list[r.IntN(len(list))]]
	}
	ex := data.Example{ID: fmt.Sprintf("%s-%d", g.split, i), Images: []data.Picture{pic}}
	turns := 1
	if g.split == Train {
		turns = turnsPerTrainingGrid
	}
	for t := range turns {
		var q question
		if g.split == Train && r.IntN(8) == 0 {
			q = caption(cells)
		} else {
			q = ask(&r, cells)
		}
		text := q.text
		if t == 0 {
			text = "<image> " + text
			ex.Kind = q.kind
		}
		ex.Turns = append(ex.Turns, data.Turn{Role: data.User, Text: text}, data.Turn{Role: data.Assistant, Text: q.answer})
	}
	return ex, nil
}

func splitKey(s Split) uint64 {
	return map[Split]uint64{Train: 0, Validation: 0x5bd1e9955bd1e995, Test: 0x9e3779b97f4a7c15}[s]
}

// chooseClasses draws the four classes, from a small pool as often as from all,
// so that repeated classes are common enough to count.
func chooseClasses(r *random.Stream) [4]uint8 {
	pool := []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	r.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
	pool = pool[:[]int{2, 3, 4, 10}[r.IntN(4)]]
	var cells [4]uint8
	for i := range cells {
		cells[i] = pool[r.IntN(len(pool))]
	}
	return cells
}

type question struct {
	kind, text, answer string
}

// The cells in reading order.
func corners() []string { return []string{"top left", "top right", "bottom left", "bottom right"} }

func caption(cells [4]uint8) question {
	names, text := Classes(), ""
	for i, c := range cells {
		if i > 0 {
			text += " "
		}
		text += names[c]
	}
	return question{"caption", "describe the picture", text}
}

// ask draws a question: half of them about a place, a quarter about a number, a
// quarter about a relation.
func ask(r *random.Stream, cells [4]uint8) question {
	switch r.IntN(4) {
	case 0, 1:
		at := r.IntN(4)
		return question{"where", "what is " + corners()[at], Classes()[cells[at]]}
	case 2:
		return askCount(r, cells)
	default:
		return askRelation(r, cells)
	}
}

// askCount draws the answer first, among the numbers the grid offers, then a
// class of that number.
func askCount(r *random.Stream, cells [4]uint8) question {
	var byNumber [5][]uint8
	for c := range uint8(10) {
		n := 0
		for _, x := range cells {
			if x == c {
				n++
			}
		}
		byNumber[n] = append(byNumber[n], c)
	}
	var numbers []int
	for n, list := range byNumber {
		if len(list) > 0 {
			numbers = append(numbers, n)
		}
	}
	n := numbers[r.IntN(len(numbers))]
	class := byNumber[n][r.IntN(len(byNumber[n]))]
	return question{"count", "how many " + Classes()[class], []string{"zero", "one", "two", "three", "four"}[n]}
}

// askRelation draws the answer first where both can be had. "a left of b" holds
// when some a stands in the left column and some b in the right one.
func askRelation(r *random.Stream, cells [4]uint8) question {
	vertical := r.IntN(2) == 1
	words := "left of"
	if vertical {
		words = "above"
	}
	present := slices.Compact(slices.Sorted(slices.Values(cells[:])))
	var yes, no [][2]uint8
	for _, a := range present {
		for _, b := range present {
			if a == b {
				continue
			}
			if holds(cells, a, b, vertical) {
				yes = append(yes, [2]uint8{a, b})
			} else {
				no = append(no, [2]uint8{a, b})
			}
		}
	}
	answer, pairs := "yes", yes
	if r.IntN(2) == 1 && len(no) > 0 || len(yes) == 0 {
		answer, pairs = "no", no
	}
	if len(pairs) == 0 {
		// One class fills the grid: ask for one that is not there.
		other := (cells[0] + 1 + uint8(r.IntN(9))) % 10
		answer, pairs = "no", [][2]uint8{{cells[0], other}}
	}
	p := pairs[r.IntN(len(pairs))]
	return question{"relation", fmt.Sprintf("is %s %s %s", Classes()[p[0]], words, Classes()[p[1]]), answer}
}

func holds(cells [4]uint8, a, b uint8, vertical bool) bool {
	first, second := [2]int{0, 2}, [2]int{1, 3}
	if vertical {
		first, second = [2]int{0, 1}, [2]int{2, 3}
	}
	return (cells[first[0]] == a || cells[first[1]] == a) && (cells[second[0]] == b || cells[second[1]] == b)
}

// picture is a grid of four photos in reading order.
type picture [4]*Photo

// Decode implements [data.Picture]: 56×56 grey pixels.
func (p picture) Decode() (image.Image, error) {
	img := image.NewGray(image.Rect(0, 0, 2*Side, 2*Side))
	for c, photo := range p {
		x0, y0 := c%2*Side, c/2*Side
		for y := range Side {
			copy(img.Pix[img.PixOffset(x0, y0+y):], photo.Pixels[y*Side:(y+1)*Side])
		}
	}
	return img, nil
}

// TaskSeed is the seed of the test and validation questions that scores in this
// project's documentation are for.
const TaskSeed = 20171
