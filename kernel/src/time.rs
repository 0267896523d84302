//! Time and timers (Linux: `kernel/time/`).
//!
//! All times are nanoseconds. The monotonic clock is the `time` register, which starts with the machine
//! and never stops, so the vDSO reads the same clock. A timer fires in an interrupt of the hart that
//! armed it. There is no periodic tick but while a hart is busy (see [`crate::sched`]).

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use rux_machine::{Hot, HotExt, Hw, IrqGuard};
use rux_mm::sync::{IrqSpinLock, Rank};

use crate::heap::{Heap, Node};
use crate::{dt, hart, sbi};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// How long [`nap`] is, in nanoseconds.
const NAP: u64 = 20_000;

/// Nanoseconds of one tick of `time`, as a fraction of 2^32: `timebase` is below 4 GHz.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// What CLOCK_REALTIME is ahead.
static REALTIME: AtomicU64 = AtomicU64::new(0);
/// Whether `stimecmp` exists.
static SSTC: AtomicU32 = AtomicU32::new(0);

/// The `time` register.
#[inline]
pub fn ticks() -> u64 {
    riscv::register::time::read64()
}

/// Ticks of the `time` register a second (`timebase-frequency`).
pub fn timebase() -> u64 {
    dt::platform().timebase
}

/// Nanoseconds since boot (CLOCK_MONOTONIC and CLOCK_BOOTTIME, as nothing suspends).
#[inline]
pub fn now() -> u64 {
    ticks_to_nanos(ticks())
}

/// Nanoseconds of one tick of `time`, as a fraction of 2^32: the vDSO counts as [`now`] does.
pub fn nanos_per_tick() -> u64 {
    NANOS_PER_TICK.load(Relaxed)
}

/// The time of `ticks`.
#[inline]
pub fn ticks_to_nanos(ticks: u64) -> u64 {
    // Keeps 96 bits, so it is exact for 2^64 ns if the fraction is.
    ((u128::from(ticks) * u128::from(NANOS_PER_TICK.load(Relaxed))) >> 32) as u64
}

fn nanos_to_ticks(nanos: u64) -> u64 {
    // Rounded up, so that a timer never fires before its deadline.
    let ticks = (u128::from(nanos) << 32).div_ceil(u128::from(NANOS_PER_TICK.load(Relaxed).max(1)));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970 (CLOCK_REALTIME).
pub fn realtime() -> u64 {
    now().wrapping_add(realtime_offset())
}

/// What [`realtime`] is ahead of [`now`].
pub fn realtime_offset() -> u64 {
    REALTIME.load(Relaxed)
}

/// Sets the clock of [`realtime`] (`clock_settime`).
pub fn set_realtime(realtime: u64) {
    REALTIME.store(realtime.wrapping_sub(now()), Relaxed);
}

/// Sets the scale. Once, at boot, before [`now`] means anything.
pub(crate) fn init(platform: &dt::Platform) {
    NANOS_PER_TICK.store((SECOND << 32) / platform.timebase.max(1), Relaxed);
    SSTC.store(platform.isa.sstc.into(), Relaxed);
}

/// The timers that one hart armed.
pub(crate) struct TimerQueue {
    heap: IrqSpinLock<Heap>,
    /// The timer whose callback runs now.
    running: AtomicPtr<Timer>,
    /// What the hardware is set to.
    programmed: AtomicU64,
    /// When the scheduler wants its tick, or `u64::MAX`.
    tick: AtomicU64,
}

impl TimerQueue {
    pub(crate) const fn new() -> Self {
        Self {
            heap: IrqSpinLock::new(Rank::Timer, Heap::new()),
            running: AtomicPtr::new(null_mut()),
            programmed: AtomicU64::new(u64::MAX),
            tick: AtomicU64::new(u64::MAX),
        }
    }

    /// Sets the hardware of this hart to the next event. Interrupts are off.
    fn program(&self, first: Option<u64>) {
        let next = first.unwrap_or(u64::MAX).min(self.tick.load(Relaxed));
        if next == self.programmed.load(Relaxed) {
            return;
        }
        self.programmed.store(next, Relaxed);
        let at = if next == u64::MAX { u64::MAX } else { nanos_to_ticks(next) };
        if SSTC.load(Relaxed) != 0 {
            set_stimecmp(at);
        } else {
            sbi::set_timer(at);
        }
    }
}

/// A function to call at a time. Lives in what it serves, and is not moved while it is armed.
pub struct Timer {
    node: UnsafeCell<Node>,
    /// The queue that it is in, plus 1; 0 when it never was armed.
    hart: AtomicU32,
    callback: fn(&Timer),
    /// For the callback.
    data: AtomicU64,
}

// SAFETY: `node` is touched only under the lock of the queue that `hart` names.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    /// Not armed. `callback` runs in an interrupt, with interrupts off; it may arm the timer again.
    pub const fn new(callback: fn(&Timer), data: u64) -> Self {
        Self {
            node: UnsafeCell::new(Node::new()),
            hart: AtomicU32::new(0),
            callback,
            data: AtomicU64::new(data),
        }
    }

    /// What [`Timer::set_data`] or [`Timer::new`] set.
    pub fn data(&self) -> u64 {
        self.data.load(Relaxed)
    }

    /// A number for the callback.
    pub fn set_data(&self, data: u64) {
        self.data.store(data, Relaxed);
    }

    /// Has the callback run at `deadline`, or at once if that has passed; replaces an earlier deadline. Calls of
    /// `arm` and `cancel` on one timer are for its owner to keep apart, but for those in the callback.
    ///
    /// # Safety
    /// The timer stays where it is, and alive, until the callback has run or [`Timer::cancel`] has returned.
    pub unsafe fn arm(&self, deadline: u64) {
        self.dequeue();
        let guard = IrqGuard::new();
        let queue = &hart::this().timers;
        let mut heap = queue.heap.lock();
        self.hart.store(guard.hart() as u32 + 1, SeqCst);
        // SAFETY: `dequeue` saw to it that the node is in no heap; the caller vouches for the rest.
        unsafe { heap.insert(self.node.get(), deadline) };
        queue.program(heap.first_key());
    }

    /// Takes it out of its queue; says whether it was there.
    fn dequeue(&self) -> bool {
        loop {
            let hart = self.hart.load(SeqCst);
            if hart == 0 {
                return false;
            }
            let mut heap = hart::hart(hart as usize - 1).timers.heap.lock();
            if self.hart.load(SeqCst) != hart {
                continue;
            }
            // SAFETY: the lock of the queue that the node is in, if it is in one, is held.
            let queued = unsafe { (*self.node.get()).is_queued() };
            if queued {
                // SAFETY: it is in this heap, as `hart` says.
                unsafe { heap.remove(self.node.get()) };
            }
            return queued;
        }
    }

    /// Sees to it that the callback does not run any more; waits for it if it runs now on another hart. Says
    /// whether it was still to come.
    pub fn cancel(&self) -> bool {
        let mut cancelled = false;
        loop {
            cancelled |= self.dequeue();
            let hart = self.hart.load(SeqCst);
            if hart == 0 {
                return cancelled;
            }
            let queue = &hart::hart(hart as usize - 1).timers;
            let here = hart as usize - 1 == Hw::hart() && !Hw::irqs_on();
            if queue.running.load(SeqCst) != core::ptr::from_ref(self).cast_mut() || here {
                return cancelled;
            }
            Hw::relax();
        }
    }

    /// Whether the callback is still to come.
    pub fn is_armed(&self) -> bool {
        let hart = self.hart.load(SeqCst);
        if hart == 0 {
            return false;
        }
        let _heap = hart::hart(hart as usize - 1).timers.heap.lock();
        // SAFETY: the queue's lock is held; a timer that moved to another queue meanwhile was armed again.
        self.hart.load(SeqCst) != hart || unsafe { (*self.node.get()).is_queued() }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("armed", &self.is_armed()).finish_non_exhaustive()
    }
}

/// Sets when the scheduler's tick comes on this hart, `u64::MAX` for never. Interrupts are off.
pub(crate) fn set_tick(deadline: u64) {
    let queue = &hart::this().timers;
    queue.tick.store(deadline, Relaxed);
    let heap = queue.heap.lock();
    queue.program(heap.first_key());
}

/// See [`rux_machine::cold::Cold::nap`]. The wait is cut short by any interrupt, which is served.
pub(crate) fn nap() {
    if SSTC.load(Relaxed) == 0 || !Hw::irqs_on() {
        return Hw::relax();
    }
    let _irqs = IrqGuard::new();
    let programmed = hart::this().timers.programmed.load(Relaxed);
    let until = now() + NAP;
    if programmed <= until {
        return Hw::relax();
    }
    set_stimecmp(nanos_to_ticks(until));
    // Goes on at any interrupt, masked as they are.
    riscv::asm::wfi();
    set_stimecmp(if programmed == u64::MAX { u64::MAX } else { nanos_to_ticks(programmed) });
}

/// Says when the next timer interrupt comes.
fn set_stimecmp(ticks: u64) {
    // SAFETY: `stimecmp` (0x14d) exists, as Sstc is there; it only says when an interrupt comes.
    unsafe { core::arch::asm!("csrw 0x14d, {}", in(reg) ticks, options(nomem, nostack)) };
}

/// The tick that [`set_tick`] set last, on this hart.
pub(crate) fn tick() -> u64 {
    hart::this().timers.tick.load(Relaxed)
}

/// The timer interrupt: runs what is due; says whether the scheduler's tick is. Interrupts are off.
pub(crate) fn interrupt() -> bool {
    let queue = &hart::this().timers;
    // The interrupt stays pending until the hardware is set anew, even to the same time.
    queue.programmed.store(u64::MAX - 1, Relaxed);
    let mut heap = queue.heap.lock();
    loop {
        let first = heap.first();
        // SAFETY: a queued node is alive, and the lock is held.
        if first.is_null() || unsafe { (*first).key() } > now() {
            break;
        }
        // SAFETY: it is the first of this heap.
        unsafe { heap.remove(first) };
        let timer = first.cast::<u8>().wrapping_sub(offset_of!(Timer, node)).cast::<Timer>();
        queue.running.store(timer, SeqCst);
        drop(heap);
        // SAFETY: the timer is alive until its callback has run, as `running` makes `cancel` wait.
        unsafe { ((*timer).callback)(&*timer) };
        queue.running.store(null_mut(), SeqCst);
        heap = queue.heap.lock();
    }
    let due = queue.tick.load(Relaxed) <= now();
    if due {
        queue.tick.store(u64::MAX, Relaxed);
    }
    queue.program(heap.first_key());
    due
}

/// Reads the date from the machine's clock, if it has one (QEMU's `goldfish-rtc`: nanoseconds since 1970 in
/// two words, the low one first).
pub(crate) fn init_realtime(platform: &dt::Platform) {
    let Some(device) = platform.rtc else { return };
    match crate::boot::Registers::map(device.regs) {
        Ok(regs) => {
            let low = u64::from(regs.read32(0));
            set_realtime(u64::from(regs.read32(4)) << 32 | low);
        }
        Err(error) => log::warn!("the clock is not to be had: {error}"),
    }
}
