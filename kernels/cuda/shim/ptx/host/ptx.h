/* What a translated kernel is written in. Before it is included, `module` is the name of
 * the PTX and parameter_bytes the size of the kernel's parameter. */
#pragma once
#include "thread.h"

[[noreturn]] static inline void stop(const char *why, int line);
#include "arithmetic.h"

namespace ptx {

/* A kernel that registers itself with the shim. */
struct kernel {
	kernel(const char *name, size_t parameter, void (*body)(const void *), unsigned threads, bool exact, size_t shared);
};
[[noreturn]] void stop(const char *why, shim::site s);

/* Shared memory and the parameter are at addresses that are no pointers, so that one
 * which is taken for another's is found. A window is what generic addresses add: not
 * in their high half alone, which may be cut off. */
constexpr u64 shared_from = 1 << 10, parameter_from = 1 << 20, shared_window = 1ull << 60 | 1 << 28;
void *shared_at(u64 address, size_t bytes, shim::site s);

struct exchange { u32 value, lane; };
void exchange_lanes(exchange &mine, shim::site s);
u32 ballot_lanes(bool p, shim::site s);
void load_matrices(u32 *d, bool turned, const void *row, shim::site s);
void multiply_matrices(f32 *d, const u32 *a, const u32 *b, const f32 *c, shim::site s);
void multiply_sparse(f32 *d, const u32 *a, const u32 *b, const f32 *c, u32 metadata, u32 selector, shim::site s);

} // namespace ptx

using ptx::parameter_from;
using ptx::shared_from;
static const u8 *parameter;
static inline shim::site here(int line) { return {module, line}; }
static inline void stop(const char *why, int line) { ptx::stop(why, here(line)); }

INLINE u32 tid_x() { return shim::now.thread; }
INLINE u32 ntid_x() { return shim::now.threads.x; }
INLINE u32 lane() { return shim::now.thread % 32; }
INLINE shim::dim3 ctaid() { return shim::now.block_of; }
INLINE shim::dim3 nctaid() { return shim::now.grid; }

template <typename T, int n> struct several { T at[n]; };

#define SPACE(space, find) \
	template <typename T, int n> static __attribute__((noinline, unused)) several<T, n> load_##space(u64 a, int line) \
	{ \
		several<T, n> w; \
		memcpy(&w, find(a, sizeof w, line), sizeof w); \
		return w; \
	} \
	template <typename T, int n> static __attribute__((noinline, unused)) void store_##space(u64 a, several<T, n> w, int line) \
	{ \
		memcpy(find(a, sizeof w, line), &w, sizeof w); \
	}
INLINE void *find_global(u64 a, size_t bytes, int line)
{
	shim::check((const void *)a, bytes, bytes, here(line));
	return (void *)a;
}
INLINE void *find_shared(u64 a, size_t bytes, int line)
{
	if (a < shared_from || a + bytes > shared_from + shim::block_shared || a % bytes) return ptx::shared_at(a, bytes, here(line));
	return shim::dynamic_shared + (a - shared_from);
}
INLINE void *find_generic(u64 a, size_t bytes, int line)
{
	return a >> 60 ? find_shared(a - ptx::shared_window, bytes, line) : find_global(a, bytes, line);
}
SPACE(global, find_global)
SPACE(shared, find_shared)
SPACE(generic, find_generic)
#undef SPACE
template <typename T, int n> INLINE several<T, n> load_param(u64 a, int line)
{
	several<T, n> w;
	if (a < parameter_from || a + sizeof w > parameter_from + parameter_bytes) stop("a read outside the parameter", line);
	if (a % sizeof w) stop("a read of the parameter off its alignment", line);
	memcpy(&w, parameter + (a - parameter_from), sizeof w);
	return w;
}

INLINE u64 cvta_to_global(u64 a, int line)
{
	if (a >> 60) stop("a shared address is taken for a global one", line);
	return a;
}
INLINE u64 cvta_to_shared(u64 a, int line)
{
	if (a >> 60 != 1) stop("a global address is taken for a shared one", line);
	return a - ptx::shared_window;
}
INLINE u64 cvta_shared(u64 a, int) { return a + ptx::shared_window; }

static inline void all_lanes(u32 mask, int line)
{
	if (mask != ~0u) stop("an operation of a warp that does not name all lanes", line);
}
/* Warps may wait at different instructions for one barrier, lanes of a warp may not. */
INLINE void barrier(u32 number, int line) { shim::wait_barrier(here(line), (int)number); }
INLINE void warp_barrier(u32 mask, int line)
{
	all_lanes(mask, line);
	shim::collective([](void **) {}, nullptr, here(line));
}
INLINE u32 ballot(bool p, u32 mask, int line) { return all_lanes(mask, line), ptx::ballot_lanes(p, here(line)); }

/* b names the lane, c has the clamp in bits 0–4 and the segment's mask in bits 8–12. p is
 * whether that lane lies in reach; where not, the own value comes back. */
#define SHUFFLE(mode, other, reach) \
	static __attribute__((unused)) u32 shuffle_##mode(u32 a, u32 b, u32 c, u32 mask, bool &p, int line) \
	{ \
		all_lanes(mask, line); \
		const s32 own = (s32)lane(), segment = c >> 8 & 31, named = b & 31; \
		const s32 last = (own & segment) | (c & 31 & ~segment), first = own & segment; \
		const s32 from = other; \
		(void)first; \
		p = reach; \
		ptx::exchange mine = {a, (u32)(p ? from : own)}; \
		ptx::exchange_lanes(mine, here(line)); \
		return mine.value; \
	}
SHUFFLE(up, own - named, from >= last)
SHUFFLE(down, own + named, from <= last)
SHUFFLE(bfly, own ^ named, from <= last)
SHUFFLE(idx, first | (named & ~segment), from <= last)
#undef SHUFFLE

static __attribute__((unused)) void red_global_max(u64 a, u64 v, int line)
{
	u64 *p = (u64 *)find_global(a, sizeof *p, line);
	if (v > *p) *p = v;
}

/* Performed where they are waited for. */
static __attribute__((unused)) void copy_async(u64 to, u64 from, u32 bytes, int line)
{
	if (bytes > 16) stop("a copy that reads more than 16 bytes", line);
	shim::copy_later(find_shared(to, 16, line), (const void *)from, (int)bytes, here(line));
}
INLINE void commit_copies() { shim::commit_copies(); }
INLINE void wait_copies(u32 but) { shim::perform_copies((int)but); }
INLINE void wait_all_copies() { shim::commit_copies(), shim::perform_copies(0); }

/* Lane l names row l mod 8 of matrix l / 8. */
template <bool turned> static __attribute__((unused)) several<u32, 4> load_matrices(u64 a, int line)
{
	several<u32, 4> d;
	ptx::load_matrices(d.at, turned, find_shared(a, 16, line), here(line));
	return d;
}
static __attribute__((unused)) several<f32, 4> multiply_matrices(several<u32, 4> a, several<u32, 2> b, several<f32, 4> c, int line)
{
	several<f32, 4> d;
	ptx::multiply_matrices(d.at, a.at, b.at, c.at, here(line));
	return d;
}
/* Each four bits of metadata are the places of two elements among four, which must
 * differ, and ascend where that is promised. */
template <bool ordered>
static __attribute__((unused)) several<f32, 4> multiply_sparse(several<u32, 4> a, several<u32, 4> b, several<f32, 4> c, u32 metadata, u32 selector, int line)
{
	if (selector > 1) stop("a selector of metadata above 1", line);
	for (u32 left = metadata, i = 0; i < 8 && lane() % 4 / 2 == selector; i++, left >>= 4) {
		const u32 first = left & 3, second = left >> 2 & 3;
		if (first == second || (ordered && first > second)) stop("metadata that names no two elements in order", line);
	}
	several<f32, 4> d;
	ptx::multiply_sparse(d.at, a.at, b.at, c.at, metadata, selector, here(line));
	return d;
}
