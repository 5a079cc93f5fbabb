// Package conversation reads and writes image-text data as LLaVA keeps it: a JSON
// file and a folder of images.
//
//	[{"id": "1", "image": "a/b.jpg",
//	  "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]}]
//
// One object a line (JSON Lines) is read too. image may be a list or missing, id
// a number or missing, and user and assistant may stand for human and gpt.
//
// Guarantees: the whole file is checked when it is opened, and errors name the
// entry; memory holds an index of 16 bytes an entry and nothing of their text;
// images are read when they are decoded, and no path or symbolic link leads out of
// the folder. It does not check that the images exist.
//
// Package job opens data with it; the export of the demo's data writes with it.
package conversation
