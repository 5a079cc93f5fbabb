/* Lists of kept elements, and tiles turned so that tokens or rows lie in lanes. */

RK_INLINE uint64_t K(mask_word)(struct rk_mat mask, int64_t row, int64_t word)
{
	return ((const uint64_t *)mask.data)[row * mask.stride + word];
}

/* Writes the elements of `bits` (64 or 32) that `word` keeps, in ascending order, and where they
 * lie in a tile whose columns are `pitch` bytes apart; returns their number. Up to
 * VL entries past the last are overwritten. Without a row there are offsets alone,
 * without offsets values alone. */
RK_INLINE int64_t K(list)(const float *row, const int bits, uint64_t word, const int pitch, float *values, uint16_t *offsets)
{
	int64_t n = 0;
#if defined(RK_AVX512)
	const __m512i lane = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(pitch));
#pragma GCC unroll 4
	for (int q = 0; q < bits / 16; q++) {
		__mmask16 keep = (__mmask16)(word >> (16 * q));
		if (row) _mm512_storeu_ps(values + n, _mm512_maskz_compress_ps(keep, _mm512_loadu_ps(row + 16 * q)));
		if (offsets) {
			__m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32(16 * q * pitch));
			_mm256_storeu_si256((__m256i *)(offsets + n), _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(keep, at)));
		}
		n += __builtin_popcount(keep);
	}
#else
	for (; word; word &= word - 1, n++) {
		int c = __builtin_ctzll(word);
		if (row) values[n] = row[c];
		if (offsets) offsets[n] = (uint16_t)(c * pitch);
	}
#endif
	return n;
}

/* dst[c][r] = src[r][c], 64 × 64 both. */
RK_INLINE void K(turn_tile)(const float *src, float *dst)
{
	for (int64_t r = 0; r < 64; r += VL) {
		const float *rows[VL];
		for (int64_t i = 0; i < VL; i++) rows[i] = src + (r + i) * 64;
		for (int64_t c = 0; c < 64; c += VL) K(transpose_block)(rows, c, dst + c * 64 + r, 64, VL);
	}
}

/* The 64 × 64 bits of w turned: bit r of word c becomes bit c of word r (after
 * Warren, "Hacker's Delight", 7-3: blocks of 32, 16, … 1 change places). */
RK_INLINE void K(turn_words)(uint64_t *w)
{
	uint64_t low = 0x00000000ffffffffu;
	for (int j = 32; j; j >>= 1, low ^= low << j)
		for (int k = 0; k < 64; k = (k + j + 1) & ~j) {
			uint64_t t = (w[k] >> j ^ w[k + j]) & low;
			w[k] ^= t << j;
			w[k + j] ^= t;
		}
}

/* dst[c][t] ← x[t0 + t][c0 + c] for the tokens of a block and `cols` columns, rounded up
 * to VL both; dst's columns are ld floats apart; tokens past the last are zero, columns
 * past the last arbitrary. What lies `ahead` floats further in x is prefetched. */
RK_INLINE void K(turn_tokens)(struct rk_mat x, int64_t t0, int64_t tokens, int64_t c0, int64_t cols, float *dst, int64_t ld, int64_t ahead)
{
	for (int64_t c = 0; c < cols; c += 64, c0 += 64, dst += 64 * ld) {
		int64_t width = rk_least(cols - c, 64); /* as many zeros as there are */
		for (int64_t v = 0; v < tokens; v += VL) {
			const float *src[VL];
			for (int64_t i = 0; i < VL; i++) src[i] = v + i < tokens ? (const float *)x.data + (t0 + v + i) * x.stride + c0 : K(zeros);
			for (int64_t i = 0; i < width; i += VL) {
				K(transpose_block)(src, i, dst + i * ld + v, ld, VL);
				for (int64_t r = 0; r < VL; r++) __builtin_prefetch(src[r] + ahead + i, 0, 2);
			}
		}
	}
}
