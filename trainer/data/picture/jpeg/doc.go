// Package jpeg decodes JPEG files to the pixels that libjpeg-turbo gives with its
// default settings, and so to those of Pillow.
//
// Guarantees: equal bytes for baseline, extended and progressive Huffman files of 8
// bits and 1, 3 or 4 components, with any sampling that libjpeg takes. The standard
// library's decoder differs from libjpeg by one level in some samples, because
// its inverse transform rounds elsewhere, which the conversion to RGB makes up to
// three. Its API gives no coefficients, so there is no way to correct that from
// outside. Memory is bounded by the caller's number of pixels and by the length of
// the file: nothing is allocated for blocks that the file is too short to hold.
//
// It is stricter than libjpeg: a truncated or corrupt scan is an error, never grey
// pixels, and so is a progressive file without its last scans, which libjpeg would
// smooth. It does not read arithmetic coding, lossless files, 12 bits or files that
// give their height after the first scan. Metadata is not looked at: neither EXIF
// orientation nor colour profiles are applied.
//
// It is called by package picture.
package jpeg
