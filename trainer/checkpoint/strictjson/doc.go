// Package strictjson checks what encoding/json lets pass: duplicate object
// keys, bytes that are not UTF-8, and anything after the value.
//
// The headers, indexes and manifests of checkpoints name what is loaded into a
// model. A name given twice means that two readers may load different bytes,
// so such files are refused before they are decoded. Its callers are the
// packages of trainer/checkpoint.
package strictjson
