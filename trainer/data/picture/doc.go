// Package picture decodes images and prepares them for a vision tower as Hugging
// Face's CLIPImageProcessor does (its PIL form, transformers 5).
//
// Guarantees: resizing gives Pillow's own integers (antialiased bilinear and
// bicubic in two 8-bit passes with 22-bit coefficients), so that a PNG's pixels
// are equal to the reference to the last bit. JPEG differs by the rounding of the
// inverse transform in the standard library (in our goldens up to 3 grey levels,
// below 0.2 on average): chroma is upsampled and converted as libjpeg does, which
// Go's own conversion to RGB does not do. Pixel counts are bounded before anything
// is decoded; errors name the source.
//
// It does not apply EXIF orientation (nor does the reference), it reads PNG and
// JPEG only, and 16-bit PNG is taken by its high bytes. Transparency is composed
// onto white, as transformers does from version 5 on; version 4 dropped the alpha
// channel.
//
// It is called by the data encoder and by evaluation.
package picture
