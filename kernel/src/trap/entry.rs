//! The way into the kernel and out of it (Linux: `arch/riscv/kernel/entry.S`).
//!
//! `sscratch` holds the thread's [`ThreadInfo`] while it is in user mode, and 0 while it is in the kernel.
//! `kernel_sp` points to where the frame of a trap from user mode goes; a trap from the kernel puts
//! its frame on the running stack.
//!
//! A frame has all registers. The registers that functions keep need not be loaded from it again, unless the handler
//! says that it may have changed them there: a signal, `execve` and `rt_sigreturn` do. gp and tp are none of them: the
//! kernel does not use gp, but a thread that ran meanwhile has loaded its own.

use core::arch::global_asm;
use core::mem::offset_of;

use rux_machine::ThreadInfo;

use super::TrapFrame;

global_asm!(
    r#"
    // What a call of a function does not keep, but for ra.
    .macro each_temporary op
    \op x5, 40(sp)
    \op x6, 48(sp)
    \op x7, 56(sp)
    \op x10, 80(sp)
    \op x11, 88(sp)
    \op x12, 96(sp)
    \op x13, 104(sp)
    \op x14, 112(sp)
    \op x15, 120(sp)
    \op x16, 128(sp)
    \op x17, 136(sp)
    \op x28, 224(sp)
    \op x29, 232(sp)
    \op x30, 240(sp)
    \op x31, 248(sp)
    .endm

    // What it keeps, but for fp, which is the handler's.
    .macro each_saved op
    \op x9, 72(sp)
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
    sd x8, 64(sp)
    each_temporary sd
    each_saved sd
    ld t0, {user_sp}(tp)
    csrrw t1, sscratch, zero
    csrr t2, sepc
    csrr t3, sstatus
    csrr t4, scause
    sd t0, 16(sp)
    sd t1, 32(sp)
    sd t3, {status}(sp)
    li fp, 0
    li t0, {call_cause}
    bne t4, t0, 3f
    // A system call: its arguments are where they were. An ecall has no short form.
    addi t2, t2, 4
    sd t2, 0(sp)
    sd a0, {orig_a0}(sp)
    sd a7, {syscall}(sp)
    mv a1, a7
    mv a0, sp
    call {user_call}
    beqz a0, 5f

    // To user mode: interrupts are off, sp points to the frame, all of which is loaded.
    .globl _return_to_user
_return_to_user:
4:
    each_saved ld
5:
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
    ld x8, 64(sp)
    each_temporary ld
    ld sp, 16(sp)
    sret

    // Another trap from user mode.
3:
    csrr t5, stval
    sd t2, 0(sp)
    sd t4, {cause}(sp)
    sd t5, {tval}(sp)
    mv a0, sp
    call {user_trap}
    beqz a0, 5b
    j 4b

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
    sd x8, 64(sp)
    each_temporary sd
    each_saved sd
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
    // What was interrupted goes on with the registers that it had: the handler changes pc alone, and keeps the rest.
    ld x1, 8(sp)
    ld x8, 64(sp)
    each_temporary ld
    addi sp, sp, {frame_size}
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
    orig_a0 = const offset_of!(TrapFrame, orig_a0),
    syscall = const offset_of!(TrapFrame, syscall),
    call_cause = const super::cause::USER_CALL,
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
