//! Changing from one thread's registers to another's (Linux: `__switch_to`).

use core::arch::global_asm;

/// What a thread that does not run has left on no stack: the callee-saved registers.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Context {
    pub(crate) ra: usize,
    pub(crate) sp: usize,
    /// s0 to s11.
    pub(crate) s: [usize; 12],
}

unsafe extern "C" {
    /// Saves the registers to `from`, loads `to`'s, makes `next` the running thread; returns, in `next`, the
    /// thread that ran before.
    ///
    /// # Safety
    /// Interrupts are off; both contexts are those of live threads, and `to` was saved or made.
    pub(super) fn _switch(
        prev: *const (),
        next: *const (),
        from: *mut Context,
        to: *const Context,
    ) -> *const ();
    /// Where a new kernel thread starts: s0 is its function, s1 the argument.
    fn _kthread_start();
    /// Where a new user thread starts: sp points to its frame.
    fn _user_start();
}

/// The address of the code that a new kernel thread starts with.
pub(crate) fn kthread_start() -> usize {
    _kthread_start as *const () as usize
}

/// The address of the code that a new user thread starts with.
pub(crate) fn user_start() -> usize {
    _user_start as *const () as usize
}

global_asm!(
    r#"
    .text
    .balign 4
    .globl _switch
_switch:
    sd ra, 0(a2)
    sd sp, 8(a2)
    sd s0, 16(a2)
    sd s1, 24(a2)
    sd s2, 32(a2)
    sd s3, 40(a2)
    sd s4, 48(a2)
    sd s5, 56(a2)
    sd s6, 64(a2)
    sd s7, 72(a2)
    sd s8, 80(a2)
    sd s9, 88(a2)
    sd s10, 96(a2)
    sd s11, 104(a2)
    ld ra, 0(a3)
    ld sp, 8(a3)
    ld s0, 16(a3)
    ld s1, 24(a3)
    ld s2, 32(a3)
    ld s3, 40(a3)
    ld s4, 48(a3)
    ld s5, 56(a3)
    ld s6, 64(a3)
    ld s7, 72(a3)
    ld s8, 80(a3)
    ld s9, 88(a3)
    ld s10, 96(a3)
    ld s11, 104(a3)
    mv tp, a1
    ret

    .globl _kthread_start
_kthread_start:
    call {finish}
    mv a0, s1
    mv a1, s0
    li fp, 0
    call {kthread}

    .globl _user_start
_user_start:
    li fp, 0
    call {finish}
    mv a0, sp
    call {user}
    j _return_to_user
    "#,
    finish = sym super::start_finish,
    kthread = sym super::run_kthread,
    user = sym crate::trap::first_return,
);
