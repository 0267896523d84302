//! `memcpy` and `memset`, which the compiler calls for what is too large to write out (Linux:
//! `arch/riscv/lib/memcpy.S`, `memset.S`). They take the place of the compiler's own, which move a word at a time.
//!
//! Memory is read and written in aligned words only: hardware may refuse others, or be slow with them.

use core::arch::global_asm;

global_asm!(
    r#"
    .text
    .balign 4
    .globl memcpy
    .type memcpy, @function
memcpy:
    mv t6, a0
    or t0, a0, a1
    andi t0, t0, 7
    bnez t0, 6f

    // Both are at words: 64 bytes at a time, then what is left by halves.
1:
    andi t5, a2, -64
    beqz t5, 3f
    add t5, t6, t5
2:
    ld a3, 0(a1)
    ld a4, 8(a1)
    ld a5, 16(a1)
    ld a6, 24(a1)
    ld a7, 32(a1)
    ld t0, 40(a1)
    ld t1, 48(a1)
    ld t2, 56(a1)
    sd a3, 0(t6)
    sd a4, 8(t6)
    sd a5, 16(t6)
    sd a6, 24(t6)
    sd a7, 32(t6)
    sd t0, 40(t6)
    sd t1, 48(t6)
    sd t2, 56(t6)
    addi a1, a1, 64
    addi t6, t6, 64
    bltu t6, t5, 2b
3:
    andi t0, a2, 32
    beqz t0, 4f
    ld a3, 0(a1)
    ld a4, 8(a1)
    ld a5, 16(a1)
    ld a6, 24(a1)
    sd a3, 0(t6)
    sd a4, 8(t6)
    sd a5, 16(t6)
    sd a6, 24(t6)
    addi a1, a1, 32
    addi t6, t6, 32
4:
    andi t0, a2, 16
    beqz t0, 5f
    ld a3, 0(a1)
    ld a4, 8(a1)
    sd a3, 0(t6)
    sd a4, 8(t6)
    addi a1, a1, 16
    addi t6, t6, 16
5:
    andi t0, a2, 8
    beqz t0, 9f
    ld a3, 0(a1)
    sd a3, 0(t6)
    addi a1, a1, 8
    addi t6, t6, 8
    j 9f

    // One of them is not: bytes until the target is.
6:
    li t0, 16
    bltu a2, t0, 10f
    neg t0, t6
    andi t0, t0, 7
    beqz t0, 8f
    sub a2, a2, t0
    add t0, t6, t0
7:
    lb a3, 0(a1)
    sb a3, 0(t6)
    addi a1, a1, 1
    addi t6, t6, 1
    bltu t6, t0, 7b
8:
    andi t0, a1, 7
    beqz t0, 1b
    // The source never is: each word is put together from two. The second has at least one byte that is wanted.
    slli t1, t0, 3
    neg t2, t1
    sub a1, a1, t0
    andi t5, a2, -8
    add t5, t6, t5
    ld a3, 0(a1)
13:
    ld a4, 8(a1)
    srl a3, a3, t1
    sll a5, a4, t2
    or a3, a3, a5
    sd a3, 0(t6)
    mv a3, a4
    addi a1, a1, 8
    addi t6, t6, 8
    bltu t6, t5, 13b
    add a1, a1, t0

    // Less than a word is left, or never was much.
9:
    andi a2, a2, 7
10:
    beqz a2, 12f
    add t5, t6, a2
11:
    lb a3, 0(a1)
    sb a3, 0(t6)
    addi a1, a1, 1
    addi t6, t6, 1
    bltu t6, t5, 11b
12:
    ret
    .size memcpy, . - memcpy

    .balign 4
    .globl memset
    .type memset, @function
memset:
    mv t6, a0
    li t0, 16
    bltu a2, t0, 6f
    // The byte in all of a word.
    andi a1, a1, 255
    slli t0, a1, 8
    or a1, a1, t0
    slli t0, a1, 16
    or a1, a1, t0
    slli t0, a1, 32
    or a1, a1, t0
    neg t0, t6
    andi t0, t0, 7
    beqz t0, 2f
    sub a2, a2, t0
    add t0, t6, t0
1:
    sb a1, 0(t6)
    addi t6, t6, 1
    bltu t6, t0, 1b
2:
    andi t5, a2, -64
    beqz t5, 4f
    add t5, t6, t5
3:
    sd a1, 0(t6)
    sd a1, 8(t6)
    sd a1, 16(t6)
    sd a1, 24(t6)
    sd a1, 32(t6)
    sd a1, 40(t6)
    sd a1, 48(t6)
    sd a1, 56(t6)
    addi t6, t6, 64
    bltu t6, t5, 3b
4:
    andi t5, a2, 56
    beqz t5, 6f
    add t5, t6, t5
5:
    sd a1, 0(t6)
    addi t6, t6, 8
    bltu t6, t5, 5b
    andi a2, a2, 7
6:
    andi a2, a2, 15
    beqz a2, 8f
    add t5, t6, a2
7:
    sb a1, 0(t6)
    addi t6, t6, 1
    bltu t6, t5, 7b
8:
    ret
    .size memset, . - memset
    "#
);
