//! The registers that a trap saves, at the top of the kernel stack (Linux: `struct pt_regs`).

use rux_mm::addr::VirtAddr;

/// The registers at a trap. The first 32 words are laid out as Linux's `user_regs_struct`, so that
/// a signal's context is one copy; the trap entry's assembly knows the whole layout.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default)]
pub struct TrapFrame {
    /// Where the trap happened, and where the return goes (`sepc`).
    pub pc: usize,
    /// Registers x1 to x31, at index 0 to 30.
    pub x: [usize; 31],
    /// `sstatus` at the trap.
    pub status: usize,
    /// `scause`.
    pub cause: usize,
    /// `stval`.
    pub tval: usize,
    /// `a0` when a system call began, which restarts need; for another trap [`TrapFrame::NO_SYSCALL`] is
    /// in `syscall`.
    pub orig_a0: usize,
    /// The number of the system call that the trap is, or [`TrapFrame::NO_SYSCALL`].
    pub syscall: isize,
    /// Keeps the size a multiple of 16.
    pub(super) unused: usize,
    /// With `link_pc` a frame record, for a backtrace through a trap from the kernel.
    pub(super) link_fp: usize,
    /// Where the kernel was.
    pub(super) link_pc: usize,
}

const _: () = assert!(size_of::<TrapFrame>() == 40 * 8);

impl TrapFrame {
    /// [`TrapFrame::syscall`] of a trap that is not a system call.
    pub const NO_SYSCALL: isize = -1;

    /// A frame that enters user mode at `pc` with the stack pointer at `sp`, all else zero.
    pub fn user(pc: VirtAddr, sp: VirtAddr) -> Self {
        let mut frame = Self { syscall: Self::NO_SYSCALL, status: Self::USER_STATUS, ..Self::default() };
        frame.pc = pc.get() as usize;
        frame.set_sp(sp.get() as usize);
        frame
    }

    /// `sstatus` of a fresh user thread: SPIE, SPP = user, FS = initial, UXL = 64 bits.
    pub const USER_STATUS: usize = 1 << 5 | 1 << 13 | 2 << 32;

    /// Whether the trap came from user mode (`sstatus.SPP` is 0).
    #[inline]
    pub const fn from_user(&self) -> bool {
        self.status & 1 << 8 == 0
    }

    /// Argument register `n`, 0 to 7.
    #[inline]
    pub const fn a(&self, n: usize) -> usize {
        self.x[9 + (n & 7)]
    }

    /// `a0` to `a5`, the arguments of a system call.
    #[inline(always)]
    pub fn arguments(&self) -> &[usize; 6] {
        let [_, _, _, _, _, _, _, _, _, arguments @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            &self.x;
        arguments
    }

    /// Sets argument register `n`, 0 to 7.
    #[inline]
    pub const fn set_a(&mut self, n: usize, value: usize) {
        self.x[9 + (n & 7)] = value;
    }

    /// The stack pointer.
    #[inline]
    pub const fn sp(&self) -> usize {
        self.x[1]
    }

    /// Sets the stack pointer.
    #[inline]
    pub const fn set_sp(&mut self, value: usize) {
        self.x[1] = value;
    }

    /// Sets the return address.
    #[inline]
    pub const fn set_ra(&mut self, value: usize) {
        self.x[0] = value;
    }

    /// Sets the thread pointer, user mode's TLS.
    #[inline]
    pub const fn set_tp(&mut self, value: usize) {
        self.x[3] = value;
    }

    /// The first 32 words: `pc`, then x1 to x31, as in `user_regs_struct`.
    pub fn user_regs(&self) -> [usize; 32] {
        let mut regs = [self.pc; 32];
        regs[1..].copy_from_slice(&self.x);
        regs
    }

    /// The inverse of [`TrapFrame::user_regs`]; all values are safe, as user mode could set them.
    pub fn set_user_regs(&mut self, regs: &[usize; 32]) {
        self.pc = regs[0];
        self.x.copy_from_slice(&regs[1..]);
    }
}
