//! What one thread keeps of signals: those for it alone, its mask, its signal stack.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use linux_raw_sys::general as abi;
use rux_mm::addr::VirtAddr;
use rux_mm::sync::{IrqSpinGuard, IrqSpinLock, Rank};

use super::pending::Pending;
use super::restart::Restart;
use super::set::{SigSet, Signal};

/// See the head of the room. `blocked`, the saved mask and the signal stack are changed by the thread
/// itself alone.
pub struct ThreadSignals {
    pending: IrqSpinLock<Pending>,
    blocked: AtomicU64,
    /// The mask to go back to after a call that waits under another one.
    saved: AtomicU64,
    has_saved: AtomicBool,
    /// Set by a fatal signal: the thread is to end, whatever it does.
    killed: AtomicBool,
    /// The process stops: this thread is to stop, too.
    pub(crate) must_stop: AtomicBool,
    /// It stands stopped.
    pub(crate) is_stopped: AtomicBool,
    stack_base: AtomicU64,
    stack_size: AtomicU64,
    stack_flags: AtomicU32,
    /// How to go on with a system call after a stop.
    pub(crate) restart: IrqSpinLock<Restart>,
    /// What is blocked but for `rt_sigtimedwait`, which opens `blocked` for what it waits for: signals in
    /// here are neither ignored nor fatal when they are sent (Linux: `real_blocked`).
    really_blocked: AtomicU64,
}

/// A signal stack (`stack_t`).
#[derive(Clone, Copy, Debug)]
pub struct AltStack {
    /// Its lowest byte.
    pub base: u64,
    /// Its size in bytes; 0 for none.
    pub size: u64,
    /// `SS_DISABLE`, `SS_AUTODISARM`.
    pub flags: u32,
}

impl AltStack {
    /// No signal stack.
    pub const NONE: Self = Self { base: 0, size: 0, flags: abi::SS_DISABLE };

    /// Whether `sp` is on it. With `SS_AUTODISARM` it never is (Linux: `on_sig_stack`).
    pub const fn holds(&self, sp: u64) -> bool {
        self.flags & abi::SS_AUTODISARM == 0 && self.spans(sp)
    }

    /// Whether `sp` is within it (Linux: `__on_sig_stack`).
    pub const fn spans(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }
}

impl ThreadSignals {
    /// A thread that blocks `blocked` and has no signal stack.
    pub fn new(blocked: SigSet) -> Self {
        Self {
            pending: IrqSpinLock::new(Rank::ThreadSignal, Pending::new()),
            blocked: AtomicU64::new(blocked.0),
            saved: AtomicU64::new(0),
            has_saved: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            must_stop: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            stack_base: AtomicU64::new(0),
            stack_size: AtomicU64::new(0),
            stack_flags: AtomicU32::new(abi::SS_DISABLE),
            restart: IrqSpinLock::new(Rank::ThreadSignal, Restart::None),
            really_blocked: AtomicU64::new(0),
        }
    }

    /// What waits for the thread alone, locked.
    pub fn pending(&self) -> IrqSpinGuard<'_, Pending> {
        self.pending.lock()
    }

    /// What the thread blocks.
    #[inline]
    pub fn blocked(&self) -> SigSet {
        SigSet(self.blocked.load(Relaxed))
    }

    /// Stores the mask as it is; see [`super::set_blocked`].
    pub(super) fn store_blocked(&self, blocked: SigSet) {
        self.blocked.store(blocked.minus(SigSet::UNBLOCKABLE).0, Relaxed);
    }

    /// Whether `signal` is kept until somebody asks for it: no action is taken on it now.
    #[inline]
    pub fn keeps(&self, signal: Signal) -> bool {
        self.blocked().or(SigSet(self.really_blocked.load(Relaxed))).contains(signal)
    }

    /// Opens the mask for `awaited` while the thread waits for it, or closes it again.
    pub(super) fn set_awaited(&self, awaited: Option<SigSet>) {
        match awaited {
            Some(awaited) => {
                let blocked = self.blocked();
                self.really_blocked.store(blocked.0, Relaxed);
                self.store_blocked(blocked.minus(awaited));
            }
            None => self.store_blocked(SigSet(self.really_blocked.swap(0, Relaxed))),
        }
    }

    /// The mask to go back to, if a call put another one in place.
    pub fn saved(&self) -> Option<SigSet> {
        self.has_saved.load(Relaxed).then(|| SigSet(self.saved.load(Relaxed)))
    }

    /// Remembers the mask to go back to, or forgets it.
    pub(super) fn set_saved(&self, mask: Option<SigSet>) {
        self.saved.store(mask.unwrap_or_default().0, Relaxed);
        self.has_saved.store(mask.is_some(), Relaxed);
    }

    /// The mask that a handler's frame keeps (Linux: `sigmask_to_save`).
    pub fn mask_to_save(&self) -> SigSet {
        self.saved().unwrap_or(self.blocked())
    }

    /// Whether the thread is to end.
    #[inline]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Says that the thread is to end.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.pending.lock().mark(Signal::KILL);
    }

    /// The signal stack.
    pub fn alt_stack(&self) -> AltStack {
        AltStack {
            base: self.stack_base.load(Relaxed),
            size: self.stack_size.load(Relaxed),
            flags: self.stack_flags.load(Relaxed),
        }
    }

    /// Changes the signal stack.
    pub fn set_alt_stack(&self, stack: AltStack) {
        self.stack_base.store(stack.base, Relaxed);
        self.stack_size.store(stack.size, Relaxed);
        self.stack_flags.store(stack.flags, Relaxed);
    }

    /// Where a handler's frame goes below, on the signal stack or not (Linux: `sigsp`).
    pub fn frame_top(&self, sp: u64, on_stack: bool) -> VirtAddr {
        let stack = self.alt_stack();
        let switch = on_stack && stack.size != 0 && stack.flags & abi::SS_DISABLE == 0 && !stack.holds(sp);
        VirtAddr::new(if switch { stack.base.wrapping_add(stack.size) } else { sp })
    }
}
