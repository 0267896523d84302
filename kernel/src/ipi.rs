//! Interrupts from hart to hart (Linux: `kernel/smp.c`, `arch/riscv/kernel/smp.c`).
//!
//! Who asks something of others waits until they have done it: for a moment in a loop, then in `wfi`, which
//! under an emulator lets the others run. Meanwhile interrupts are served, so that two that ask each other
//! both go on. A fence that is asked for with interrupts off goes through the firmware, which needs
//! nothing of the other hart's kernel.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release, Ordering::SeqCst};

use rux_machine::cold::Fence;
use rux_machine::{AtomicHartMask, HartMask, Hot, HotExt, Hw, PreemptGuard};

use crate::{hart, klog, sbi, time};

/// A function to run, and its argument.
type Request = (fn(*mut ()), *mut ());

/// How long a hart waits in a loop for others, in nanoseconds.
const SPIN: u64 = 5_000;

/// What other harts ask of one, and what it asks of them.
pub(crate) struct Mailbox {
    /// Harts whose `request` this one is to run.
    from: AtomicHartMask,
    /// Harts that have still to run this one's request.
    pending: AtomicHartMask,
    /// What this one asks. Written by it alone, while `pending` is empty.
    request: UnsafeCell<Request>,
    /// Whether this hart sleeps until `pending` is empty, and is to be woken.
    waiting: AtomicBool,
    /// Whether the hart is to stop for good.
    stop: AtomicBool,
    /// Whether it has.
    stopped: AtomicBool,
}

// SAFETY: `request` is written by its hart while nobody is to read it, and read by those in `pending`.
unsafe impl Sync for Mailbox {}

impl Mailbox {
    pub(crate) const fn new() -> Self {
        Self {
            from: AtomicHartMask::new(),
            pending: AtomicHartMask::new(),
            request: UnsafeCell::new((|_| {}, core::ptr::null_mut())),
            waiting: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }
}

/// Makes `harts` look whether they are to reschedule.
pub(crate) fn send_reschedule(harts: HartMask) {
    sbi::send_ipi(harts);
}

/// The software interrupt. Interrupts are off.
pub(crate) fn interrupt() {
    // SAFETY: clearing the pending bit loses nothing: what was asked is looked at after that.
    unsafe { core::arch::asm!("csrci sip, 2", options(nostack)) };
    serve();
    klog::wake_deferred();
}

fn serve() {
    let mailbox = &hart::this().mailbox;
    if mailbox.stop.load(Acquire) {
        stop_here();
    }
    for asker in mailbox.from.load().iter() {
        mailbox.from.clear(asker);
        let theirs = &hart::hart(asker).mailbox;
        // SAFETY: the asker waits until this hart is out of `pending`.
        let (f, arg) = unsafe { *theirs.request.get() };
        f(arg);
        theirs.pending.clear(Hw::hart());
        // Either the asker sees the cleared bit before it sleeps, or this hart sees that it sleeps.
        if theirs.waiting.load(SeqCst) && theirs.pending.load().is_empty() {
            sbi::send_ipi(HartMask::one(asker));
        }
    }
}

/// See [`rux_machine::cold::Cold::run_on`]. Not from an interrupt; no lock is held that the others could
/// wait for with interrupts off.
pub(crate) fn run_on(harts: HartMask, f: fn(*mut ()), arg: *mut ()) {
    let guard = PreemptGuard::new();
    let here = guard.hart();
    let harts = harts.and(hart::online()).without(here);
    if harts.is_empty() {
        return;
    }
    let mine = &hart::hart(here).mailbox;
    debug_assert!(mine.pending.load().is_empty(), "a request from within a request");
    // SAFETY: `pending` is empty: this hart waited for it the last time, and pre-emption is off.
    unsafe { *mine.request.get() = (f, arg) };
    for target in harts.iter() {
        mine.pending.set(target);
        hart::hart(target).mailbox.from.set(here);
    }
    sbi::send_ipi(harts);
    wait(mine);
}

/// Waits until all have done what this hart asked of them. Pre-emption is off.
fn wait(mine: &Mailbox) {
    let patience = time::now() + SPIN;
    while !mine.pending.load().is_empty() {
        Hw::relax();
        let were_on = Hw::irq_disable();
        if !were_on {
            serve();
        } else if time::now() >= patience {
            mine.waiting.store(true, SeqCst);
            if !mine.pending.load().is_empty() {
                // Goes on at the next interrupt, masked as they are: it is served below.
                riscv::asm::wfi();
            }
            mine.waiting.store(false, SeqCst);
        }
        if were_on {
            Hw::irq_enable();
        }
    }
}

/// See [`rux_machine::cold::Cold::remote_fence`].
pub(crate) fn remote_fence(harts: HartMask, fence: Fence) {
    let guard = PreemptGuard::new();
    let harts = harts.and(hart::online()).without(guard.hart());
    if harts.is_empty() {
        return;
    }
    // What this hart wrote to tables is seen by the others before they fence.
    core::sync::atomic::fence(SeqCst);
    if Hw::irqs_on() {
        let serve = |fence: *mut ()| {
            // SAFETY: the asker's, which waits until this has run.
            rux_mm::paging::serve_fence(unsafe { *fence.cast::<Fence>() });
        };
        return run_on(harts, serve, (&raw const fence).cast_mut().cast());
    }
    match fence {
        Fence::Pages { asid, start, pages } => {
            let bytes = pages.saturating_mul(rux_machine::PAGE_SIZE);
            sbi::remote_sfence_asid(harts, start as usize, bytes, asid);
        }
        Fence::Asid(asid) => sbi::remote_sfence_asid(harts, 0, usize::MAX, asid),
        Fence::All => sbi::remote_sfence(harts, 0, usize::MAX),
        Fence::Instructions => sbi::remote_fence_i(harts),
    }
}

/// Stops all other harts, for a panic or the machine's end; does not wait long.
pub(crate) fn stop_others() {
    let others = hart::online().without(Hw::hart());
    for index in others.iter() {
        hart::hart(index).mailbox.stop.store(true, Release);
    }
    sbi::send_ipi(others);
}

/// As [`stop_others`], and waits until they have stopped, but no longer than `limit` nanoseconds; says whether
/// all have. What they did before is seen then. Interrupts are off, and no lock is held.
#[cfg(debug_assertions)]
pub(crate) fn stop_others_within(limit: u64) -> bool {
    debug_assert!(!Hw::irqs_on());
    stop_others();
    let end = time::now() + limit;
    let others = hart::online().without(Hw::hart());
    let stopped = || others.iter().all(|index| hart::hart(index).mailbox.stopped.load(Acquire));
    while !stopped() {
        if time::now() >= end {
            return false;
        }
        // One that waits for this hart with interrupts off stops once it is answered.
        serve();
        Hw::relax();
    }
    true
}

/// Stops this hart, and says so.
pub(crate) fn stop_here() -> ! {
    Hw::irq_disable();
    hart::this().mailbox.stopped.store(true, Release);
    halt()
}

/// Does nothing any more.
pub(crate) fn halt() -> ! {
    Hw::irq_disable();
    // SAFETY: with all interrupts masked, `wfi` never goes on to anything but itself.
    unsafe { core::arch::asm!("csrw sie, zero", options(nostack)) };
    loop {
        riscv::asm::wfi();
    }
}
