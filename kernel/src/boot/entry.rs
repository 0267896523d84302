//! The first instructions: from the firmware, at a physical address without translation, to Rust at
//! the image's linked address (Linux: `arch/riscv/kernel/head.S`).
//!
//! The early tables map the image (2 MiB leaves) and the first 128 GiB of physical addresses (1 GiB
//! leaves); they serve until [`super::tables`] has built the real ones. One chain of tables serves
//! Sv39, Sv48 and Sv57, as the kernel's half is the top of all three: each is tried in turn, and a write
//! of `satp` that the hart does not support changes nothing. A write that it does support makes
//! the next fetch fault, and the fault goes on at `stvec`, in the high half.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .head.text, "ax"
    .globl _start
_start:
    .option push
    .option norvc
    j 1f
    .word 0
    .dword 0x200000
    .dword _image_end - _image_start
    .dword 0
    .word 2
    .word 0
    .dword 0
    .ascii "RISCV\0\0\0"
    .ascii "RSC\x05"
    .word 0
    .option pop

1:
    rdtime s2
    csrw sie, zero
    mv s0, a0
    mv s1, a1

    lla t0, _bss_start
    lla t1, _bss_end
1:
    sd zero, 0(t0)
    sd zero, 8(t0)
    sd zero, 16(t0)
    sd zero, 24(t0)
    addi t0, t0, 32
    bltu t0, t1, 1b

    // The image, executable and writable for now: leaves of 2 MiB with V R W X G A D.
    lla s3, _image_start
    lla t2, _image_end
    lla t0, {pmd}
    mv t1, s3
    li t4, 0x200000
1:
    srli t3, t1, 2
    ori t3, t3, 0xef
    sd t3, 0(t0)
    addi t0, t0, 8
    add t1, t1, t4
    bltu t1, t2, 1b

    // The direct map: 128 leaves of 1 GiB with V R W G A D.
    lla s4, {pud}
    li t0, 256 * 8
    add t0, t0, s4
    li t1, 0xe7
    li t2, 0x10000000
    li t3, 128
1:
    sd t1, 0(t0)
    addi t0, t0, 8
    add t1, t1, t2
    addi t3, t3, -1
    bnez t3, 1b

    lla t0, {pmd}
    srli t0, t0, 2
    ori t0, t0, 1
    li t1, 510 * 8
    add t1, t1, s4
    sd t0, 0(t1)
    lla s5, {p4d}
    srli t0, s4, 2
    ori t0, t0, 1
    li t1, 511 * 8
    add t2, t1, s5
    sd t0, 0(t2)
    lla s6, {pgd}
    srli t0, s5, 2
    ori t0, t0, 1
    add t2, t1, s6
    sd t0, 0(t2)

    ld t0, 2f
    csrw stvec, t0
    sfence.vma
    srli t0, s6, 12
    li t1, 10 << 60
    or t0, t0, t1
    csrw satp, t0
    srli t0, s5, 12
    li t1, 9 << 60
    or t0, t0, t1
    csrw satp, t0
    srli t0, s4, 12
    li t1, 8 << 60
    or t0, t0, t1
    csrw satp, t0
    // No translation at all: nothing can be said or done.
1:
    wfi
    j 1b
    .balign 8
2:
    .dword 3f

    .balign 4
3:
    csrw sscratch, zero
    lla t0, _park
    csrw stvec, t0
    .option push
    .option norelax
    lla tp, {task}
    .option pop
    lla sp, {stack} + {stack_size}
    mv a0, s0
    mv a1, s1
    mv a2, s3
    mv a3, s2
    // The end of the frames; `fp` is s0.
    li fp, 0
    call {boot}

    .balign 4
_park:
    wfi
    j _park

    // A further hart: a0 is its id, a1 the physical address of its `SecondaryBoot`.
    .globl _start_secondary
_start_secondary:
    csrw sie, zero
    ld sp, 8(a1)
    ld tp, 16(a1)
    ld t1, 0(a1)
    ld t0, 2f
    csrw stvec, t0
    sfence.vma
    csrw satp, t1
1:
    wfi
    j 1b
    .balign 8
2:
    .dword 3f
    .balign 4
3:
    csrw sscratch, zero
    lla t0, _park
    csrw stvec, t0
    li fp, 0
    call {secondary}
    "#,
    pmd = sym super::EARLY_PMD,
    pud = sym super::EARLY_PUD,
    p4d = sym super::EARLY_P4D,
    pgd = sym super::EARLY_PGD,
    task = sym super::BOOT_TASK,
    stack = sym super::BOOT_STACK,
    stack_size = const super::BOOT_STACK_BYTES,
    boot = sym super::boot,
    secondary = sym super::smp::secondary,
);
