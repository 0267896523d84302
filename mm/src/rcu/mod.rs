//! Read-copy-update: readers that take no lock, and owners that free a thing once no reader can have it still
//! (Linux: `Documentation/RCU/whatisRCU.rst`).
//!
//! A reader holds [`read`]'s guard, which is pre-emption off: on a hart that switched threads, was interrupted where
//! pre-emption was on, or is idle, no guard is left. The kernel says so by [`quiescent`], [`go_idle`] and
//! [`leave_idle`]. Who took something out frees it by [`call`], which never fails and needs no memory, or
//! waits by [`synchronize`].
//!
//! What is to be freed waits on its hart's stack. A thread takes the stacks of all harts, numbers a grace period, waits
//! until all harts have passed it and frees. It is woken from the tick, not by who calls, so that freeing costs
//! a few instructions; a hart that goes idle wakes it too. A hart that does not pass by itself within two ticks, as one
//! does that stays in a program and has no other thread to run, gets an interrupt. When memory is short or much waits,
//! [`expedite`] sends those at once.
//!
//! On the host a thread is a hart, and there are no ticks: a hart outside of guards counts as away, and [`call`]
//! itself looks whether something can be freed.

mod grace;
#[cfg(test)]
mod tests;

use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use rux_machine::{HartMask, Hot, Hw, IrqGuard, PreemptGuard, cold};

use crate::memory::{memory, this_hart};
use crate::sync::{IrqSpinLock, Rank, might_sleep};
pub use grace::Head;
use grace::{Calls, Chain, Passed, Periods};

/// What the algorithm in [`grace`] stands on; loom's in `mm/tests/loom_rcu.rs`.
mod shim {
    pub(super) use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
}

/// How long the thread waits for harts to pass by themselves, in nanoseconds; and how long until it looks again.
const TICK: u64 = 4_000_000;
/// So many ticks it waits before it sends interrupts.
const PATIENCE: u32 = 2;
/// As many waiting calls of one hart as make it hurry (Linux: `qhimark`).
const MANY: usize = 10_000;

/// What a machine has.
#[derive(Debug)]
pub(crate) struct State {
    periods: Periods,
    /// No interrupt comes while it is held: the tick wakes the thread, which takes locks of its own.
    batch: IrqSpinLock<Batch>,
    /// How many batches were begun and done. They wrap.
    begun: AtomicU32,
    done: AtomicU32,
    /// 0 while nobody wants a batch; the thread sleeps on it.
    wanted: AtomicU32,
    /// Not 0 once somebody wants the batch done as soon as can be; the thread sleeps on it while one is open.
    hurried: AtomicU32,
    /// Whether the thread is there.
    driven: AtomicBool,
}

/// What waits for one grace period.
#[derive(Debug)]
struct Batch {
    chain: Chain,
    number: u64,
    phase: Phase,
}

/// What is done with a batch. The next does not begin before all of one has been called, so that the count of those
/// that are done says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// There is none.
    Idle,
    /// Its grace period passes.
    Waiting,
    /// Its heads are called, by who made it so.
    Calling,
}

/// What a hart has.
#[derive(Debug)]
pub(crate) struct HartState {
    passed: Passed,
    calls: Calls,
    /// How many calls wait, about.
    waiting: AtomicUsize,
    /// How many guards are held; on the host alone.
    #[cfg(not(target_os = "none"))]
    readers: AtomicU32,
}

impl State {
    pub(crate) const fn new() -> Self {
        Self {
            periods: Periods::new(AtomicU64::new(0)),
            batch: IrqSpinLock::new(
                Rank::Rcu,
                Batch { chain: Chain::empty(), number: 0, phase: Phase::Idle },
            ),
            begun: AtomicU32::new(0),
            done: AtomicU32::new(0),
            wanted: AtomicU32::new(0),
            hurried: AtomicU32::new(0),
            driven: AtomicBool::new(false),
        }
    }
}

impl HartState {
    pub(crate) const fn new() -> Self {
        Self {
            passed: Passed::new(AtomicU64::new(0)),
            calls: Calls::new(AtomicPtr::new(core::ptr::null_mut())),
            waiting: AtomicUsize::new(0),
            #[cfg(not(target_os = "none"))]
            readers: AtomicU32::new(0),
        }
    }
}

/// While it lives, nothing goes that the thread finds (Linux: `rcu_read_lock`). The thread does not sleep.
#[must_use = "what was found may go once the guard is dropped"]
#[derive(Debug)]
pub struct ReadGuard {
    #[cfg(not(target_os = "none"))]
    _reader: Reader,
    _preempt: PreemptGuard,
}

/// Starts to read. Not in an interrupt.
#[inline(always)]
pub fn read() -> ReadGuard {
    let preempt = PreemptGuard::new();
    debug_assert!(cfg!(not(target_os = "none")) || !this_hart().rcu.passed.is_away(), "an idle hart reads");
    ReadGuard {
        #[cfg(not(target_os = "none"))]
        _reader: Reader::new(),
        _preempt: preempt,
    }
}

/// Of the host: the thread's hart, which is away while no guard is held.
#[cfg(not(target_os = "none"))]
#[derive(Debug)]
struct Reader(&'static HartState);

#[cfg(not(target_os = "none"))]
impl Reader {
    fn new() -> Self {
        let hart = &this_hart().rcu;
        if hart.readers.fetch_add(1, Relaxed) == 0 {
            hart.passed.come_back(&memory().rcu.periods);
        }
        Self(hart)
    }
}

#[cfg(not(target_os = "none"))]
impl Drop for Reader {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Relaxed) == 1 {
            self.0.passed.go_away();
        }
    }
}

/// This hart holds no guard: called where threads are switched, and in interrupts that came while pre-emption was on.
/// Interrupts are off. An idle hart stays away.
#[inline(always)]
pub fn quiescent() {
    let hart = &this_hart().rcu;
    if !hart.passed.is_away() {
        hart.passed.pass(&memory().rcu.periods);
    }
}

/// This hart goes idle: it holds no guard, and takes none until [`leave_idle`]. Interrupts are off until then.
pub fn go_idle() {
    this_hart().rcu.passed.go_away();
}

/// This hart starts to run threads: at boot, and when it is not idle any more. Interrupts are off.
pub fn leave_idle() {
    this_hart().rcu.passed.come_back(&memory().rcu.periods);
}

/// What waits on this hart is seen to. At each tick, and where the hart looks for work before it goes idle.
pub fn tick() {
    if !this_hart().rcu.calls.is_empty() {
        memory().rcu.wake();
    }
}

/// Calls `then(head)` once every reader who could have found the object that `head` is in is done (Linux: `call_rcu`).
/// It is called by a thread that may sleep, or on the host by whoever calls next. Any context.
///
/// # Safety
/// The object can be found by no new reader; the head is valid, and nobody else touches it, until `then` is called, and
/// `then` may be called with it by any thread.
pub unsafe fn call(head: NonNull<Head>, then: unsafe fn(NonNull<Head>)) {
    // The hart's own tick looks at its stack, and none comes to a hart that went idle meanwhile.
    let preempt = PreemptGuard::new();
    let hart = &this_hart().rcu;
    // SAFETY: as the caller vouches.
    unsafe { hart.calls.push(head, then) };
    let waiting = hart.waiting.load(Relaxed) + 1;
    let is_many = waiting > MANY;
    hart.waiting.store(if is_many { 0 } else { waiting }, Relaxed);
    drop(preempt);
    if is_many {
        expedite();
    }
    #[cfg(not(target_os = "none"))]
    {
        memory().rcu.wake();
        memory().rcu.poll();
    }
}

/// Has what waits freed as soon as can be, if something waits: memory is short. Does not wait for it. Any context.
pub fn expedite() {
    let state = &memory().rcu;
    if state.begun.load(Relaxed) != state.done.load(Relaxed)
        || memory().each_hart().any(|hart| !hart.rcu.calls.is_empty())
    {
        state.hurry();
    }
}

/// Returns once every reader is done who read when it was called (Linux: `synchronize_rcu`). May sleep.
pub fn synchronize() {
    memory().rcu.wait();
}

/// As [`synchronize`], with an interrupt to each hart at once (Linux: `synchronize_rcu_expedited`).
pub fn synchronize_expedited() {
    memory().rcu.hurry();
    memory().rcu.wait();
}

/// Returns once all that was given to [`call`] before has been called (Linux: `rcu_barrier`). May sleep.
pub fn barrier() {
    memory().rcu.wait();
}

/// Starts the thread that waits for grace periods; `false` when there is no memory for it. Called once, when threads
/// can be started.
#[must_use]
pub fn start() -> bool {
    let state = &memory().rcu;
    state.driven.store(cold::spawn("rcu", |_| memory().rcu.drive(), 0), Relaxed);
    state.driven.load(Relaxed)
}

impl State {
    /// Has a batch begun soon.
    fn wake(&self) {
        if self.wanted.load(Relaxed) == 0 && self.wanted.swap(1, SeqCst) == 0 {
            cold::unpark(&self.wanted, 1);
        }
    }

    /// Has the batch that is open, or else the next, done as soon as can be.
    fn hurry(&self) {
        if self.hurried.swap(1, SeqCst) == 0 {
            cold::unpark(&self.hurried, 1);
        }
        self.wake();
    }

    /// Waits for a batch that begins after now. What was pushed before now is in it at the latest, since each takes
    /// the stacks of all harts.
    fn wait(&self) {
        might_sleep();
        let goal = self.begun.load(SeqCst).wrapping_add(1);
        let is_before = |count: u32| goal.wrapping_sub(count) as i32 > 0;
        loop {
            let done = self.done.load(Acquire);
            if !is_before(done) {
                return;
            }
            if is_before(self.begun.load(SeqCst)) {
                self.wake();
            }
            if self.driven.load(Relaxed) {
                cold::park(&self.done, done, None);
            } else {
                self.poll();
                Hw::relax();
            }
        }
    }

    /// Begins a batch if one is wanted, and ends it if its grace period has passed; says whether one is open after
    /// that. Where there is no thread for it, whoever comes does this; one that finds another at it leaves it to
    /// that.
    fn poll(&self) -> bool {
        let Some(mut batch) = self.batch.try_lock() else { return true };
        if batch.phase == Phase::Idle && self.wanted.swap(0, SeqCst) != 0 {
            self.begun.fetch_add(1, SeqCst);
            for hart in memory().each_hart() {
                hart.rcu.waiting.store(0, Relaxed);
                batch.chain.append(hart.rcu.calls.take());
            }
            batch.number = self.periods.start();
            batch.phase = Phase::Waiting;
        }
        match batch.phase {
            Phase::Idle => return false,
            Phase::Waiting if self.holdouts(batch.number).is_empty() => batch.phase = Phase::Calling,
            Phase::Waiting | Phase::Calling => return true,
        }
        let over = core::mem::replace(&mut batch.chain, Chain::empty());
        // Not under the lock: who frees may take others, and give things to `call` again.
        drop(batch);
        over.run();
        self.batch.lock().phase = Phase::Idle;
        self.done.fetch_add(1, Release);
        cold::unpark(&self.done, u32::MAX);
        false
    }

    /// The harts that have not passed.
    fn holdouts(&self, number: u64) -> HartMask {
        let harts = memory().each_hart().zip(0..);
        harts
            .filter(|(hart, _)| !hart.rcu.passed.is_past(number))
            .fold(HartMask::EMPTY, |mask, (_, index)| mask.with(index))
    }

    /// The thread.
    fn drive(&self) -> ! {
        loop {
            while self.wanted.load(SeqCst) == 0 {
                cold::park(&self.wanted, 0, None);
            }
            let (mut ticks, mut hurry) = (0, false);
            loop {
                // The thread itself reads nothing.
                {
                    let _irqs = IrqGuard::new();
                    quiescent();
                }
                if !self.poll() {
                    break;
                }
                hurry |= self.hurried.swap(0, SeqCst) != 0 || ticks >= PATIENCE;
                if hurry {
                    let number = self.batch.lock().number;
                    cold::run_on(self.holdouts(number), |_| make_room(), core::ptr::null_mut());
                    cold::nap();
                } else {
                    cold::park(&self.hurried, 0, Some(cold::now() + TICK));
                    ticks += 1;
                }
            }
        }
    }
}

/// In an interrupt that found pre-emption off: the hart passes as soon as that is over.
fn make_room() {
    Hw::thread().need_resched.store(1, Relaxed);
}
