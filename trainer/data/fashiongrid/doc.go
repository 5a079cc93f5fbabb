// Package fashiongrid is the data of the demo: 2×2 grids of real photographs
// from Fashion-MNIST (Zalando Research, MIT licence, see LICENSE-fashion-mnist),
// with captions and questions about what is where, how many there are and how
// they stand to each other.
//
// Every example is a pure function of (photos, split, seed, index). Training and
// validation grids hold disjoint sets of official training photos; test grids
// hold official test photos only and ask one question each. Answers are balanced
// so far as a grid allows, so that a model that does not see the image gets
// little more than a quarter right.
//
// The package carries 12,000 training photos and all 10,000 test photos as
// Parquet; photos/main.go makes those files from the official ones, which can
// also be read in full through [ReadIDX]. Package job and the demo call it.
package fashiongrid
