/* ldmatrix and mma as the PTX ISA describes their fragments. With g = lane / 4 (groupID)
 * and t = lane mod 4 (threadID_in_group), elements of registers counted from low halves:
 *
 *   A, 16 × 16, a0…a7:  row g, or g + 8 for a2, a3, a6, a7;  column 2t + (i & 1), + 8 from a4 on
 *   B,  k × 8,  b0…:    row 2t + (i & 1), + 8 for each two;   column g
 *   C,  16 × 8, c0…c3:  row g, or g + 8 from c2 on;          column 2t + (i & 1)
 */
static const char module[] = "matrix.cc";
constexpr unsigned parameter_bytes = 0;
#include "ptx.h"

namespace ptx {
namespace {

struct load {
	u32 *d;
	bool turned;
	const void *row;
};

struct product {
	f32 *d;
	const u32 *a, *b;
	const f32 *c;
	u32 metadata, selector;
};

f64 element(const u32 *registers, int i) { return bits<f32>(registers[i / 2] >> 16 * (i % 2) << 16); }

f32 &sum(void **l, int row, int col, bool result)
{
	auto *p = (product *)l[row % 8 * 4 + col / 2];
	return (result ? p->d : const_cast<f32 *>(p->c))[row / 8 * 2 + col % 2];
}

/* Column k of the whole A of which the sparse one keeps element `kept` of a row: each four
 * columns have two, whose places within the four are two bits of metadata each. Of the
 * 16 bits for a row and 16 columns, the thread that the selector and the half of the
 * columns name has those of row g below those of row g + 8. */
int column(void **l, int row, int kept)
{
	const int half = kept / 8;
	auto *any = (product *)l[0];
	auto *p = (product *)l[row % 8 * 4 + any->selector * 2 + half];
	u32 places = p->metadata >> 16 * (row / 8);
	return kept / 2 * 4 + (int)(places >> 2 * (kept % 8) & 3);
}

/* Products are exact and added in float64, by ascending column, and rounded once. */
template <int depth, bool sparse> void multiply(void **l)
{
	f64 a[16][16], b[depth][8];
	for (int lane = 0; lane < 32; lane++) {
		auto *p = (product *)l[lane];
		const int g = lane / 4, t = lane % 4;
		for (int i = 0; i < 8; i++) a[g + (i & 2 ? 8 : 0)][2 * t + (i & 1) + (i & 4 ? 8 : 0)] = element(p->a, i);
		for (int i = 0; i < depth / 4; i++) b[2 * t + (i & 1) + i / 2 * 8][g] = element(p->b, i);
	}
	f32 d[16][8];
	for (int row = 0; row < 16; row++) {
		f64 total[8];
		for (int col = 0; col < 8; col++) total[col] = sum(l, row, col, false);
		for (int k = 0; k < 16; k++) {
			const f64 left = a[row][k], *right = b[sparse ? column(l, row, k) : k];
			for (int col = 0; col < 8; col++) total[col] += left * right[col];
		}
		for (int col = 0; col < 8; col++) d[row][col] = number((f32)total[col]);
	}
	for (int row = 0; row < 16; row++)
		for (int col = 0; col < 8; col++) sum(l, row, col, true) = d[row][col];
}

} // namespace

void load_matrices(u32 *d, bool turned, const void *row, shim::site s)
{
	load mine{d, turned, row};
	shim::collective([](void **l) {
		const auto *any = (load *)l[0];
		for (int m = 0; m < 4; m++) {
			u16 matrix[8][8];
			for (int r = 0; r < 8; r++) memcpy(matrix[r], ((load *)l[8 * m + r])->row, 16);
			for (int lane = 0; lane < 32; lane++) {
				const int line = lane / 4, pair = lane % 4 * 2;
				u32 low = any->turned ? matrix[pair][line] : matrix[line][pair];
				u32 high = any->turned ? matrix[pair + 1][line] : matrix[line][pair + 1];
				((load *)l[lane])->d[m] = low | high << 16;
			}
		}
	}, &mine, s);
}

void multiply_matrices(f32 *d, const u32 *a, const u32 *b, const f32 *c, shim::site s)
{
	product mine{d, a, b, c, 0, 0};
	shim::collective(multiply<16, false>, &mine, s);
}

void multiply_sparse(f32 *d, const u32 *a, const u32 *b, const f32 *c, u32 metadata, u32 selector, shim::site s)
{
	product mine{d, a, b, c, metadata, selector};
	shim::collective(multiply<32, true>, &mine, s);
}

} // namespace ptx
