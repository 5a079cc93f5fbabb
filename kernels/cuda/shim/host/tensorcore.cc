/* What a warp's tensor cores do, in the fragments that PTX's manual gives. */
#include "device.cuh"

namespace shim {
namespace {

struct matrix_load {
	u32 *d;
	const void *row;
	bool turned;
};

struct product {
	float *d;
	const u32 *a, *b;
	u32 places; /* of a sparse one */
};

float half_of(u32 pair, int i) { return from_bf16((u16)(pair >> 16 * i)); }

/* Element (r, c) of A, 16 × 16: lane 4·(r mod 8) + (c mod 8)/2, register r/8 + 2·(c/8). */
float a_at(void **l, int r, int c)
{
	return half_of(((product *)l[r % 8 * 4 + c % 8 / 2])->a[r / 8 + c / 8 * 2], c % 2);
}

/* Element (r, c) of B, 16 or 32 × 8: lane 4·c + (r mod 8)/2, register r/8. */
float b_at(void **l, int r, int c) { return half_of(((product *)l[c * 4 + r % 8 / 2])->b[r / 8], r % 2); }

/* Element (r, c) of the sum: lane 4·(r mod 8) + c/2, register 2·(r/8) + c mod 2. */
float &sum_at(void **l, int r, int c) { return ((product *)l[r % 8 * 4 + c / 2])->d[r / 8 * 2 + c % 2]; }

} // namespace

void load_matrix(u32 *d, const void *row, bool turned, site s)
{
	if ((uintptr_t)row % 16) fail(MISALIGNED_ADDRESS, "a row of a matrix is not at a multiple of 16 bytes", s);
	matrix_load mine{d, row, turned};
	collective([](void **l) {
		for (int lane = 0; lane < 32; lane++) {
			auto *m = (matrix_load *)l[lane];
			for (int block = 0; block < 4; block++) {
				u32 pair = 0;
				for (int i = 0; i < 2; i++) {
					int r = lane / 4, c = lane % 4 * 2 + i;
					if (m->turned) r = lane % 4 * 2 + i, c = lane / 4;
					pair |= (u32)((const u16 *)((matrix_load *)l[block * 8 + r])->row)[c] << 16 * i;
				}
				m->d[block] = pair;
			}
		}
	}, &mine, s);
}

/* Products are exact and added in float64, k ascending, with one rounding at the end. */
void multiply_bf16(float *d, const u32 *a, const u32 *b, site s)
{
	product mine{d, a, b, 0};
	collective([](void **l) {
		double right[16][8];
		for (int k = 0; k < 16; k++)
			for (int c = 0; c < 8; c++) right[k][c] = b_at(l, k, c);
		for (int r = 0; r < 16; r++) {
			double sum[8];
			for (int c = 0; c < 8; c++) sum[c] = sum_at(l, r, c);
			for (int k = 0; k < 16; k++) {
				double left = a_at(l, r, k);
				for (int c = 0; c < 8; c++) sum[c] += left * right[k][c];
			}
			for (int c = 0; c < 8; c++) sum_at(l, r, c) = (float)sum[c];
		}
	}, &mine, s);
}

/* As above. The values of row r for group g of four columns are elements 2·g and 2·g + 1
 * of A, 16 × 16; lane 4·(r mod 8) + g/4 says where they stand, in bits 16·(r/8) + 4·(g mod 4) on. */
void multiply_sparse_bf16(float *d, const u32 *a, const u32 *b, u32 places, site s)
{
	const int lane = now.thread % 32;
	for (int g = 0; g < 8 && lane % 4 < 2; g++)
		if ((places >> 4 * g & 3) >= (places >> (4 * g + 2) & 3)) fail(LAUNCH_FAILED, "row " + std::to_string(lane / 4 + g / 4 * 8) +
			" of a sparse matrix has values at places " + std::to_string(places >> 4 * g & 3) + " and " +
			std::to_string(places >> (4 * g + 2) & 3) + " of four, which do not ascend", s);
	product mine{d, a, b, places};
	collective([](void **l) {
		for (int r = 0; r < 16; r++) {
			double sum[8];
			for (int c = 0; c < 8; c++) sum[c] = sum_at(l, r, c);
			for (int g = 0; g < 8; g++) {
				auto *p = (product *)l[r % 8 * 4 + g / 4];
				const u32 at = p->places >> (16 * (r / 8) + 4 * (g % 4));
				for (int e = 0; e < 2; e++) {
					const double left = a_at(l, r, 2 * g + e);
					for (int c = 0; c < 8; c++) sum[c] += left * b_at(l, 4 * g + (at >> 2 * e & 3), c);
				}
			}
			for (int c = 0; c < 8; c++) sum_at(l, r, c) = (float)sum[c];
		}
	}, &mine, s);
}

} // namespace shim
