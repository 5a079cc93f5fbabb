#include "textflag.h"

// Folding by 2048 bits: V. Gopal et al., "Fast CRC Computation for Generic Polynomials
// Using PCLMULQDQ Instruction", Intel 2009. The constants are x^(2048+32) and
// x^(2048-32) modulo the Castagnoli polynomial, reflected and shifted left by one.
DATA constants<>+0(SB)/8, $0x00000000dcb17aa4
DATA constants<>+8(SB)/8, $0x00000000b9e02b86
GLOBL constants<>(SB), RODATA|NOPTR, $16

#define FOLD(offset, acc) \
	VPCLMULQDQ $0x00, Z4, acc, Z5; \
	VPCLMULQDQ $0x11, Z4, acc, Z6; \
	VMOVDQU64 offset(SI), acc; \
	VPTERNLOGQ $0x96, Z5, Z6, acc

// func fold(dst *[256]byte, src *byte, blocks int, state uint32)
TEXT ·fold(SB), NOSPLIT, $0-28
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVL state+24(FP), AX
	VMOVDQU64 0(SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVD AX, X4
	VPXORQ Z4, Z0, Z0
	VBROADCASTI32X4 constants<>(SB), Z4
	DECQ CX
	JZ done

loop:
	ADDQ $256, SI
	FOLD(0, Z0)
	FOLD(64, Z1)
	FOLD(128, Z2)
	FOLD(192, Z3)
	DECQ CX
	JNZ loop

done:
	VMOVDQU64 Z0, 0(DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	VZEROUPPER
	RET
