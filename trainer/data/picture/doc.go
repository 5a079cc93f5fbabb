// Package picture decodes images and prepares them for a vision tower as Hugging
// Face's CLIPImageProcessor does (its PIL form, transformers 5).
//
// Guarantees: decoding gives Pillow's pixels to the last bit for PNG of 8 bits, JPEG (package
// jpeg, with libjpeg's transform, upsampling and colours) and still WebP (with
// libwebp's), and resizing gives Pillow's own integers (antialiased bilinear and
// bicubic in two 8-bit passes with 22-bit coefficients). Pixel counts are bounded
// before anything is decoded; errors name the source.
//
// It does not apply EXIF orientation or colour profiles, nor do Pillow's open and
// convert("RGB") or the image processors of transformers, so that a picture is seen
// as its pixels are stored. Some loaders around them do turn it: transformers'
// load_image, and so its pipelines and chat templates, and the image feature of newer
// versions of the datasets library. Who needs that turns the files before.
//
// It does not read animated WebP, and 16-bit PNG is taken by its high bytes.
// Transparency is composed onto white, as transformers does from version 5 on;
// version 4 dropped the alpha channel.
//
// It is called by the data encoder and by evaluation.
package picture
