#include "textflag.h"

// Constants of rounding: Z10 one, Z11 half of the last kept bit less one, Z12 the kept
// bits, Z13 the bit that makes a NaN quiet.
#define ROUNDING \
	MOVL         $1, AX          \
	VPBROADCASTD AX, Z10         \
	MOVL         $0x7fff, AX     \
	VPBROADCASTD AX, Z11         \
	MOVL         $0xffff0000, AX \
	VPBROADCASTD AX, Z12         \
	MOVL         $0x00400000, AX \
	VPBROADCASTD AX, Z13

// ROUND writes X rounded to bfloat16 to R, ties to even, NaNs quiet. X is spoilt.
#define ROUND(X, R) \
	VPSRLD $16, X, R     \
	VPANDD Z10, R, R     \
	VPADDD X, R, R       \
	VPADDD Z11, R, R     \
	VPANDD Z12, R, R     \
	VCMPPS $3, X, X, K1  \
	VPANDD Z12, X, X     \
	VPORD  Z13, X, K1, R

// func add16(dst, a, b *float32, n int)
TEXT ·add16(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), BX
	MOVQ n+24(FP), CX

add:
	VMOVUPS (SI), Z0
	VADDPS  (BX), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ    $64, SI
	ADDQ    $64, BX
	ADDQ    $64, DI
	SUBQ    $16, CX
	JNZ     add
	VZEROUPPER
	RET

// func addRounded16(dst, a, b *float32, n int)
TEXT ·addRounded16(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), BX
	MOVQ n+24(FP), CX
	ROUNDING

rounded:
	VMOVDQU32 (SI), Z0
	VMOVDQU32 (BX), Z1
	ROUND(Z0, Z2)
	ROUND(Z1, Z3)
	VADDPS    Z3, Z2, Z2
	VMOVUPS   Z2, (DI)
	ADDQ      $64, SI
	ADDQ      $64, BX
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       rounded
	VZEROUPPER
	RET

// func toBF16x16(dst *uint16, src *float32, n int)
TEXT ·toBF16x16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	ROUNDING

narrow:
	VMOVDQU32 (SI), Z0
	ROUND(Z0, Z1)
	VPSRLD    $16, Z1, Z1
	VPMOVDW   Z1, (DI)
	ADDQ      $64, SI
	ADDQ      $32, DI
	SUBQ      $16, CX
	JNZ       narrow
	VZEROUPPER
	RET

// func fromBF16x16(dst *float32, src *uint16, n int)
TEXT ·fromBF16x16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

widen:
	VPMOVZXWD (SI), Z0
	VPSLLD    $16, Z0, Z0
	VMOVDQU32 Z0, (DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       widen
	VZEROUPPER
	RET

// Packs the elements at OFF(SI) that the low 16 bits of AX keep.
#define PACK(OFF) \
	KMOVW         AX, K1          \
	VMOVDQU32     OFF(SI), Z0     \
	VPCOMPRESSD.Z Z0, K1, Z1      \
	VMOVDQU32     Z1, (DI)(R9*4)  \
	MOVWLZX       AX, R10         \
	POPCNTL       R10, R10        \
	ADDQ          R10, R9         \
	SHRQ          $16, AX

// func pack64(dst *float32, room int, src *float32, words *uint64, n int) (done, used int)
TEXT ·pack64(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ room+8(FP), R8
	MOVQ src+16(FP), SI
	MOVQ words+24(FP), BX
	MOVQ n+32(FP), CX
	XORQ DX, DX
	XORQ R9, R9
	SUBQ $64, R8

pack:
	CMPQ DX, CX
	JGE  packed
	CMPQ R9, R8
	JGT  packed
	MOVQ (BX)(DX*8), AX
	PACK(0)
	PACK(64)
	PACK(128)
	PACK(192)
	ADDQ $256, SI
	INCQ DX
	JMP  pack

packed:
	MOVQ DX, done+40(FP)
	MOVQ R9, used+48(FP)
	VZEROUPPER
	RET

// Unpacks the next elements to OFF(DI), as the low 16 bits of AX say.
#define UNPACK(OFF) \
	KMOVW       AX, K1          \
	VMOVDQU32   (SI)(R9*4), Z0  \
	VPEXPANDD.Z Z0, K1, Z1      \
	VMOVDQU32   Z1, OFF(DI)     \
	MOVWLZX     AX, R10         \
	POPCNTL     R10, R10        \
	ADDQ        R10, R9         \
	SHRQ        $16, AX

// func unpack64(dst, src *float32, room int, words *uint64, n int) (done, used int)
TEXT ·unpack64(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ room+16(FP), R8
	MOVQ words+24(FP), BX
	MOVQ n+32(FP), CX
	XORQ DX, DX
	XORQ R9, R9
	SUBQ $64, R8

unpack:
	CMPQ DX, CX
	JGE  unpacked
	CMPQ R9, R8
	JGT  unpacked
	MOVQ (BX)(DX*8), AX
	UNPACK(0)
	UNPACK(64)
	UNPACK(128)
	UNPACK(192)
	ADDQ $256, DI
	INCQ DX
	JMP  unpack

unpacked:
	MOVQ DX, done+40(FP)
	MOVQ R9, used+48(FP)
	VZEROUPPER
	RET
