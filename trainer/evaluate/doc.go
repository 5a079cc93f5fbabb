// Package evaluate scores a model on questions about images: greedy answers,
// compared with the accepted ones after the normalisation of the VQA reference,
// as a percentage with a 95 % interval, overall and by kind of question.
//
// It guarantees that the score depends on the model and the data alone. Batches
// are formed before anything runs, from lengths and indices, so that neither
// their order nor their size depends on the number of lanes; what lanes add up
// are integers.
//
// The blind score zeroes the pixels after preprocessing: every image is then the
// uniform one of mean colour, and what the answers still get right comes from the
// question alone.
//
// It does not read files and draws nothing: data sets, the encoding of questions
// and the model are passed in. Packages job, cli and the demo call it.
package evaluate
