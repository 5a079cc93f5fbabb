/* What PTX's instructions compute. Integers wrap; float32 operations that give NaN give
 * 0x7fffffff, as a GPU does. */
#pragma once
#include <cstring>
#include <type_traits>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef float f32;
typedef double f64;

#define INLINE static inline __attribute__((always_inline, unused))

template <typename To, typename From> INLINE To bits(From v)
{
	static_assert(sizeof(To) == sizeof(From), "as many bits");
	To to;
	memcpy(&to, &v, sizeof to);
	return to;
}

template <int bytes> struct unsigned_of;
template <> struct unsigned_of<2> { typedef u16 type; };
template <> struct unsigned_of<4> { typedef u32 type; };
template <> struct unsigned_of<8> { typedef u64 type; };
template <typename T> using plain = typename unsigned_of<sizeof(T)>::type;

template <typename T> struct wider;
template <> struct wider<s16> { typedef s32 type; };
template <> struct wider<u16> { typedef u32 type; };
template <> struct wider<s32> { typedef s64 type; };
template <> struct wider<u32> { typedef u64 type; };
template <> struct wider<s64> { typedef __int128 type; };
template <> struct wider<u64> { typedef unsigned __int128 type; };
template <typename T> using wide = typename wider<T>::type;
template <typename T> constexpr int width = 8 * sizeof(T);
template <typename T> constexpr bool real = std::is_floating_point<T>::value;

INLINE f32 number(f32 a) { return a == a ? a : bits<f32>(0x7fffffffu); }
INLINE f64 number(f64 a) { return a; }

#define T1 template <typename T> INLINE T
T1 select(T a, T b, bool p) { return p ? a : b; }
T1 add(T a, T b) { return (T)((u64)a + (u64)b); }
T1 subtract(T a, T b) { return (T)((u64)a - (u64)b); }
T1 multiply_low(T a, T b) { return (T)((u64)a * (u64)b); }
T1 multiply_high(T a, T b) { return (T)((wide<T>)a * (wide<T>)b >> width<T>); }
template <typename T> INLINE wide<T> multiply_wide(T a, T b) { return (wide<T>)a * (wide<T>)b; }
T1 multiply_add_low(T a, T b, T c) { return add(multiply_low(a, b), c); }
template <typename T> INLINE wide<T> multiply_add_wide(T a, T b, wide<T> c) { return add(multiply_wide(a, b), c); }
T1 divide(T a, T b, int line)
{
	if (b == 0) stop("a division by zero", line);
	return std::is_signed<T>::value && b == (T)-1 ? (T)(0 - (u64)a) : (T)(a / b);
}
T1 remainder(T a, T b, int line)
{
	if (b == 0) stop("a division by zero", line);
	return std::is_signed<T>::value && b == (T)-1 ? 0 : (T)(a % b);
}

T1 negate(T a)
{
	if constexpr (real<T>) return -a;
	else return (T)(0 - (u64)a);
}
T1 absolute(T a)
{
	if constexpr (real<T>) return bits<T>((plain<T>)(bits<plain<T>>(a) << 1 >> 1));
	else return a < 0 ? negate(a) : a;
}
/* The number where the other operand is NaN; −0 lies below +0. */
T1 least(T a, T b)
{
	if constexpr (real<T>) {
		if (a != a) return number(b);
		if (b != b) return a;
		if (a == b) return bits<T>((plain<T>)(bits<plain<T>>(a) | bits<plain<T>>(b)));
	}
	return a < b ? a : b;
}
T1 greatest(T a, T b)
{
	if constexpr (real<T>) {
		if (a != a) return number(b);
		if (b != b) return a;
		if (a == b) return bits<T>((plain<T>)(bits<plain<T>>(a) & bits<plain<T>>(b)));
	}
	return a > b ? a : b;
}
T1 least_or_nan(T a, T b) { return a != a || b != b ? number(a + b) : least(a, b); }
T1 greatest_or_nan(T a, T b) { return a != a || b != b ? number(a + b) : greatest(a, b); }

T1 both(T a, T b) { return (T)(a & b); }
T1 either(T a, T b) { return (T)(a | b); }
T1 differing(T a, T b) { return (T)(a ^ b); }
T1 inverse(T a) { return std::is_same<T, bool>::value ? !a : (T)~a; }
/* By the type's width or more, all bits are shifted out. */
T1 shift_left(T a, u32 n) { return n < (u32)width<T> ? (T)((u64)a << n) : (T)0; }
T1 shift_right(T a, u32 n) { return n < (u32)width<T> ? (T)(a >> n) : a < 0 ? (T)-1 : (T)0; }
INLINE u32 ones(u32 a) { return __builtin_popcount(a); }
INLINE u32 ones(u64 a) { return __builtin_popcountll(a); }
T1 inserted(T a, T b, u32 from, u32 n)
{
	from &= 0xff, n &= 0xff;
	if (n == 0 || from >= (u32)width<T>) return b;
	T mask = shift_left(n < (u32)width<T> ? (T)(((T)1 << n) - 1) : (T)-1, from);
	return (T)((b & ~mask) | (shift_left(a, from) & mask));
}
T1 extracted(T a, u32 from, u32 n)
{
	from &= 0xff, n &= 0xff;
	T moved = shift_right(a, from);
	return n < (u32)width<T> ? (T)(moved & (((T)1 << n) - 1)) : moved;
}
template <typename T> INLINE u32 leading_zeros(T a)
{
	u32 n = 0;
	for (T bit = (T)1 << (width<T> - 1); bit && !(a & bit); bit >>= 1) n++;
	return n;
}
T1 reversed(T a)
{
	T r = 0;
	for (int i = 0; i < width<T>; i++) r = (T)(r << 1 | (a >> i & 1));
	return r;
}
INLINE u32 permuted(u32 a, u32 b, u32 selectors)
{
	u64 all = (u64)b << 32 | a;
	u32 r = 0;
	for (int i = 0; i < 4; i++) {
		u32 s = selectors >> 4 * i & 15, byte = (u32)(all >> 8 * (s & 7)) & 0xff;
		if (s & 8) byte = byte & 0x80 ? 0xff : 0; /* its sign */
		r |= byte << 8 * i;
	}
	return r;
}

T1 add_rn(T a, T b) { return number(a + b); }
T1 subtract_rn(T a, T b) { return number(a - b); }
T1 multiply_rn(T a, T b) { return number(a * b); }
INLINE f32 fma_rn(f32 a, f32 b, f32 c) { return number(__builtin_fmaf(a, b, c)); }
INLINE f64 fma_rn(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
T1 divide_rn(T a, T b) { return number(a / b); }
T1 reciprocal_rn(T a) { return number((T)1 / a); }
INLINE f32 root_rn(f32 a) { return number(__builtin_sqrtf(a)); }
INLINE f64 root_rn(f64 a) { return __builtin_sqrt(a); }
INLINE f32 nearest(f32 a) { return number(__builtin_rintf(a)); }
INLINE f64 nearest(f64 a) { return __builtin_rint(a); }
template <typename To, typename From> INLINE To converted(From a)
{
	if constexpr (real<To>) return number((To)a);
	else return (To)a;
}
/* To bfloat16, nearest even; any NaN becomes 0x7fff. */
INLINE u32 bf16_of(f32 a)
{
	u32 u = bits<u32>(a);
	if (a != a) return 0x7fff;
	u32 cut = u & 0xffff, odd = u >> 16 & 1;
	return (u >> 16) + (cut > 0x8000 || (cut == 0x8000 && odd));
}
INLINE u32 two_bf16(f32 high, f32 low) { return bf16_of(high) << 16 | bf16_of(low); }

/* Comparisons; of reals, false where an operand is NaN. */
#define T2 template <typename T> INLINE bool
T2 equal(T a, T b) { return a == b; }
T2 unequal(T a, T b) { return a < b || a > b; }
T2 less(T a, T b) { return a < b; }
T2 at_most(T a, T b) { return a <= b; }
T2 more(T a, T b) { return a > b; }
T2 at_least(T a, T b) { return a >= b; }
T2 unordered(T a, T b) { return a != a || b != b; }
#undef T1
#undef T2
