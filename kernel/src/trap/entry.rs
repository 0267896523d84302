//! The way into the kernel and out of it (Linux: `arch/riscv/kernel/entry.S`).
//!
//! `sscratch` holds the thread's [`ThreadInfo`] while it is in user mode, and 0 while it is in the kernel.
//! `kernel_sp` points to where the frame of a trap from user mode goes; a trap from the kernel puts
//! its frame on the running stack.

use core::arch::global_asm;
use core::mem::offset_of;

use rux_machine::ThreadInfo;

use super::TrapFrame;

global_asm!(
    r#"
    .macro each_register op
    \op x5, 40(sp)
    \op x6, 48(sp)
    \op x7, 56(sp)
    \op x8, 64(sp)
    \op x9, 72(sp)
    \op x10, 80(sp)
    \op x11, 88(sp)
    \op x12, 96(sp)
    \op x13, 104(sp)
    \op x14, 112(sp)
    \op x15, 120(sp)
    \op x16, 128(sp)
    \op x17, 136(sp)
    \op x18, 144(sp)
    \op x19, 152(sp)
    \op x20, 160(sp)
    \op x21, 168(sp)
    \op x22, 176(sp)
    \op x23, 184(sp)
    \op x24, 192(sp)
    \op x25, 200(sp)
    \op x26, 208(sp)
    \op x27, 216(sp)
    \op x28, 224(sp)
    \op x29, 232(sp)
    \op x30, 240(sp)
    \op x31, 248(sp)
    .endm

    .section .text.trap, "ax"
    .option push
    .option arch, +a
    .balign 4
    .globl _trap_entry
_trap_entry:
    csrrw tp, sscratch, tp
    beqz tp, 1f

    // From user mode.
    sd sp, {user_sp}(tp)
    ld sp, {kernel_sp}(tp)
    sd x1, 8(sp)
    sd x3, 24(sp)
    each_register sd
    ld t0, {user_sp}(tp)
    csrrw t1, sscratch, zero
    csrr t2, sepc
    csrr t3, sstatus
    csrr t4, scause
    csrr t5, stval
    sd t0, 16(sp)
    sd t1, 32(sp)
    sd t2, 0(sp)
    sd t3, {status}(sp)
    sd t4, {cause}(sp)
    sd t5, {tval}(sp)
    mv a0, sp
    li fp, 0
    li t0, 8
    beq t4, t0, 3f
    call {user_trap}
    j _return_to_user
3:
    call {user_call}

    // To user mode: interrupts are off, sp points to the frame.
    .globl _return_to_user
_return_to_user:
    ld t0, 0(sp)
    ld t1, {status}(sp)
    // What the thread reserved with lr is not to be had by another.
    sc.d zero, t0, (sp)
    csrw sepc, t0
    csrw sstatus, t1
    csrw sscratch, tp
    ld x1, 8(sp)
    ld x3, 24(sp)
    ld x4, 32(sp)
    each_register ld
    ld sp, 16(sp)
    sret

    // From the kernel: tp was the thread's, and is in sscratch now.
1:
    csrrw tp, sscratch, tp
    sd t0, {scratch}(tp)
    ld t0, {limit}(tp)
    bltu sp, t0, 2f
    ld t0, {scratch}(tp)
    addi sp, sp, -{frame_size}
    sd x1, 8(sp)
    sd x3, 24(sp)
    sd x4, 32(sp)
    each_register sd
    addi t0, sp, {frame_size}
    sd t0, 16(sp)
    // A trap inside a user copy: the handler is not to touch user memory by mistake.
    li t1, 1 << 18
    csrrc t1, sstatus, t1
    csrr t2, sepc
    csrr t3, scause
    csrr t4, stval
    sd t2, 0(sp)
    sd t1, {status}(sp)
    sd t3, {cause}(sp)
    sd t4, {tval}(sp)
    mv a0, sp
    // A frame record for the backtrace: it goes on where the trap was.
    sd t2, {link_pc}(sp)
    sd x8, {link_fp}(sp)
    addi fp, sp, {frame_size}
    call {kernel_trap}
    ld t0, 0(sp)
    ld t1, {status}(sp)
    sc.d zero, t0, (sp)
    csrw sepc, t0
    csrw sstatus, t1
    ld x1, 8(sp)
    ld x3, 24(sp)
    ld x4, 32(sp)
    each_register ld
    ld sp, 16(sp)
    sret

    // The kernel's stack is used up. The rest happens on the hart's spare stack.
2:
    mv a0, sp
    csrr a1, sepc
    csrr a2, scause
    csrr a3, stval
    lla sp, {spare_stack} + {spare_bytes}
    call {overflow}
    .option pop
    "#,
    user_sp = const offset_of!(ThreadInfo, user_sp),
    kernel_sp = const offset_of!(ThreadInfo, kernel_sp),
    limit = const offset_of!(ThreadInfo, scratch),
    scratch = const offset_of!(ThreadInfo, scratch) + 8,
    status = const offset_of!(TrapFrame, status),
    cause = const offset_of!(TrapFrame, cause),
    tval = const offset_of!(TrapFrame, tval),
    link_pc = const offset_of!(TrapFrame, link_pc),
    link_fp = const offset_of!(TrapFrame, link_fp),
    frame_size = const size_of::<TrapFrame>(),
    user_trap = sym super::user_trap,
    user_call = sym super::user_call,
    kernel_trap = sym super::kernel_trap,
    spare_stack = sym super::SPARE_STACK,
    spare_bytes = const super::SPARE_BYTES,
    overflow = sym super::stack_overflow,
);
