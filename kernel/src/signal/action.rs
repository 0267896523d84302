//! What a process wants done on each signal: `rt_sigaction` (Linux: `struct sighand_struct`).

use linux_raw_sys::general as abi;
use rux_mm::addr::VirtAddr;
use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KArc;
use rux_mm::sync::{IrqSpinLock, Rank};

use super::set::{DefaultAction, SigSet, Signal};
use crate::uaccess::Plain;

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// `struct sigaction` as RISC-V's programs pass it: without `sa_restorer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct SigAction {
    /// `SIG_DFL` (0), `SIG_IGN` (1), or where the handler is.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// What is blocked while the handler runs.
    pub mask: SigSet,
}

// SAFETY: three words.
unsafe impl Plain for SigAction {}

impl SigAction {
    /// The default action.
    pub const DEFAULT: Self = Self { handler: SIG_DFL, flags: 0, mask: SigSet::EMPTY };

    /// The flags that Linux knows; others read back as 0, so that a program can ask what there is.
    const FLAGS: u64 = (abi::SA_NOCLDSTOP
        | abi::SA_NOCLDWAIT
        | abi::SA_SIGINFO
        | abi::SA_ONSTACK
        | abi::SA_RESTART
        | abi::SA_NODEFER
        | abi::SA_RESETHAND
        | abi::SA_EXPOSE_TAGBITS) as u64;

    /// Whether `flag`, one of `SA_*`, is set.
    #[inline]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag as u64 != 0
    }

    /// Whether the program wants the default.
    #[inline]
    pub const fn is_default(&self) -> bool {
        self.handler == SIG_DFL
    }

    /// Whether the program ignores the signal by name.
    #[inline]
    pub const fn is_ignore(&self) -> bool {
        self.handler == SIG_IGN
    }

    /// Where the handler is; `None` when there is none.
    #[inline]
    pub const fn handler(&self) -> Option<VirtAddr> {
        if self.handler > SIG_IGN { Some(VirtAddr::new(self.handler)) } else { None }
    }

    /// Whether `signal` has no effect under this action.
    pub const fn ignores(&self, signal: Signal) -> bool {
        self.is_ignore() || self.is_default() && matches!(signal.default_action(), DefaultAction::Ignore)
    }
}

struct Table {
    actions: [SigAction; Signal::MAX],
    /// The signals whose action is perhaps not [`SigAction::DEFAULT`]: few, and a fork copies these alone.
    changed: u64,
}

impl Table {
    fn changed(&self) -> impl Iterator<Item = (usize, &SigAction)> {
        let mut left = self.changed;
        core::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            Some((index, self.actions.get(index)?))
        })
    }
}

/// The actions of a process. Processes share them after `clone(CLONE_SIGHAND)`.
pub struct Actions(IrqSpinLock<Table>);

impl Actions {
    /// All default.
    pub fn new() -> Result<KArc<Self>, AllocError> {
        // A constant is copied once; what is put together is moved at every step.
        KArc::new_with(Gfp::KERNEL, || const { Self::all_default() })
    }

    const fn all_default() -> Self {
        let table = Table { actions: [SigAction::DEFAULT; Signal::MAX], changed: 0 };
        Self(IrqSpinLock::new(Rank::SignalActions, table))
    }

    /// As they are now, for a child to change on its own.
    pub fn copy(&self) -> Result<KArc<Self>, AllocError> {
        let mut copy = Self::new()?;
        // Nobody else has it yet.
        let to = KArc::get_mut(&mut copy).ok_or(AllocError)?.0.get_mut();
        let from = self.0.lock();
        for (index, action) in from.changed() {
            to.actions[index] = *action;
        }
        to.changed = from.changed;
        drop(from);
        Ok(copy)
    }

    /// The action of `signal`.
    #[inline]
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0.lock().actions[signal.index()]
    }

    /// Sets the action of `signal`; flags that Linux does not know are dropped, and so are the two signals
    /// that nothing blocks.
    pub fn set(&self, signal: Signal, mut action: SigAction) {
        action.flags &= SigAction::FLAGS;
        action.mask = action.mask.minus(SigSet::UNBLOCKABLE);
        let mut table = self.0.lock();
        table.actions[signal.index()] = action;
        table.changed |= 1 << signal.index();
    }

    /// Makes `signal`'s action the default, as `SA_RESETHAND` asks.
    pub fn reset(&self, signal: Signal) {
        self.0.lock().actions[signal.index()].handler = SIG_DFL;
    }

    /// What an exec leaves: handlers are gone, the ignored stay so. `clone(CLONE_CLEAR_SIGHAND)` does the same
    /// (Linux: `flush_signal_handlers`).
    pub fn drop_handlers(&self) {
        for action in self.0.lock().actions.iter_mut() {
            let handler = if action.is_ignore() { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::DEFAULT };
        }
    }

    /// The signals that are ignored by name, and those that have a handler (`/proc/PID/status`).
    pub fn sets(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (0, 0);
        for (index, action) in self.0.lock().changed() {
            ignored |= u64::from(action.is_ignore()) << index;
            caught |= u64::from(action.handler().is_some()) << index;
        }
        (SigSet(ignored), SigSet(caught))
    }
}
