package data

// Ignore is the label of a position that takes no part in the loss.
const Ignore = -1

// Sample is one encoded example: a token sequence and the pixels of its images.
//
// Labels[t] is the token to be predicted from position t (already shifted by
// one), or [Ignore]. Each image stands in Tokens as a run of image tokens, in
// the order of Pixels.
type Sample struct {
	Tokens []int32 // [T]
	Labels []int32 // [T]
	// Pixels are, per image, CHW [3·H·W], normalised; nil where somebody else
	// computes with the image.
	Pixels [][]float32
	// ImageRows lists the positions in Tokens that take image features, image by
	// image, ascending.
	ImageRows []int32
}

// Batch is a microbatch of B = Sequences samples, right-padded to T = Length.
// Every slice is row-major.
type Batch struct {
	Sequences int
	Length    int
	Tokens    []int32 // [B, T]; padding holds the pad token
	Labels    []int32 // [B, T]; Ignore wherever no token is to be predicted
	Lengths   []int32 // [B]; tokens before padding
	Positions []int32 // [B, T]; 0…T-1 in every sequence
	Images    int
	Pixels    []float32 // [Images, 3, H, W]; empty where somebody else computes with them
	// ImageRows holds the rows in [0, B·T) that take the image features, image by
	// image and patch by patch: its length is Images times the features per image.
	ImageRows    []int32
	AnswerTokens int // labels that are not Ignore
}
