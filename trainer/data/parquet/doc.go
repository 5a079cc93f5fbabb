// Package parquet reads and writes image-text data as the Hugging Face datasets
// library keeps it, through Arrow's own Parquet reader.
//
// Columns that it reads, the first that is there:
//
//	conversation   conversations list<struct<from, value>>, or messages
//	               list<struct<role, content>>, or question and answer (strings)
//	image          image struct<bytes, path> or binary, or images, a list of either;
//	               optional
//	id             string or integer; optional
//	answers        list<string>, accepted beside the answer; optional
//
// A folder stands for its *.parquet files in the order of their names. Images
// with a path but no bytes are read from an image folder, which no path leaves.
//
// Guarantees: schemas are checked when a set is opened; a file that lies about its
// sizes, or makes the reader panic, gives an error; memory holds a few row groups
// within a fixed budget. Columns are read a row group at a time, so access in
// random order is as costly as row groups are large (the datasets library writes
// 100 rows of images); a row group beyond the budget is refused. Values are
// plain or in a dictionary, as pyarrow writes them; delta encodings are refused.
//
// Package job opens data with it; the export of the demo's data writes with it.
package parquet
