//! A process' interval timer, `setitimer(ITIMER_REAL)` and `alarm` (Linux: `kernel/time/itimer.c`).
//!
//! The interrupt only notes whose timer is due; a kernel thread does the rest, as sending a signal takes locks
//! that rank above what the interrupted thread may hold.

use core::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

use rux_mm::error::AllocError;
use rux_mm::sync::{IrqSpinLock, Rank};

use crate::process::{Process, pid};
use crate::sched;
use crate::signal::{self, SigInfo, Signal};
use crate::time::{self, Timer};
use crate::wait::WaitQueue;

/// What a process has of timers.
pub struct ProcessTimers {
    real: Timer,
    /// Those who set or read it.
    setting: IrqSpinLock<()>,
    /// When it fires next, in nanoseconds since boot; 0 for never.
    deadline: AtomicU64,
    /// And then again and again after so many; 0 for not.
    interval: AtomicU64,
}

impl ProcessTimers {
    /// None set.
    pub const fn new() -> Self {
        Self {
            real: Timer::new(note, 0),
            setting: IrqSpinLock::new(Rank::PosixTimer, ()),
            deadline: AtomicU64::new(0),
            interval: AtomicU64::new(0),
        }
    }

    fn read(&self) -> Interval {
        let value = match self.deadline.load(Relaxed) {
            0 => 0,
            // One that is due and has not fired yet is not over.
            deadline => deadline.saturating_sub(time::now()).max(1),
        };
        Interval { value, interval: self.interval.load(Relaxed) }
    }

    fn arm(&self, deadline: u64) {
        self.deadline.store(deadline, Relaxed);
        // SAFETY: the timer is in its process, which does not move; `cancel_all` runs before that is gone.
        unsafe { self.real.arm(deadline) };
    }

    /// Ends all timers, before the process is gone.
    pub fn cancel_all(&self) {
        {
            let _setting = self.setting.lock();
            self.deadline.store(0, Relaxed);
            self.interval.store(0, Relaxed);
        }
        self.real.cancel();
    }
}

impl Drop for ProcessTimers {
    fn drop(&mut self) {
        // The last thread has done so; a timer that is gone must be in no queue whatever happened.
        self.real.cancel();
    }
}

impl Default for ProcessTimers {
    fn default() -> Self {
        Self::new()
    }
}

/// How long until an interval timer fires, and how often then; in nanoseconds, 0 for never.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Interval {
    /// Until it fires.
    pub value: u64,
    /// From one time to the next.
    pub interval: u64,
}

/// How the interval timer of `process` stands.
pub fn get(process: &Process) -> Interval {
    let _setting = process.timers.setting.lock();
    process.timers.read()
}

/// Sets the interval timer of the running process; returns how it stood.
pub fn set(process: &Process, new: Interval) -> Interval {
    let timers = &process.timers;
    // The callback takes no lock, so it may be waited for with this one.
    let _setting = timers.setting.lock();
    timers.real.cancel();
    let old = timers.read();
    timers.real.set_data(process.pid().into());
    timers.interval.store(new.interval, Relaxed);
    match new.value {
        0 => timers.deadline.store(0, Relaxed),
        value => timers.arm(time::now().saturating_add(value)),
    }
    old
}

const WORDS: usize = pid::PID_MAX as usize / 64;

/// A bit for the number of each process whose timer is due.
static DUE: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// A bit for each eight words of [`DUE`] that are not all zero.
static SOME_DUE: AtomicU64 = AtomicU64::new(0);
const WORDS_PER_BIT: usize = WORDS / 64;
/// The kernel thread waits here.
static KEEPER: WaitQueue = WaitQueue::new();

/// A timer is due. In an interrupt, with interrupts off.
fn note(timer: &Timer) {
    let number = timer.data() as usize;
    if let Some(word) = DUE.get(number / 64) {
        word.fetch_or(1 << (number % 64), AcqRel);
        SOME_DUE.fetch_or(1 << (number / 64 / WORDS_PER_BIT), AcqRel);
        KEEPER.wake_one();
    }
}

/// Starts the kernel thread that sends the signals. Once, at boot.
///
/// # Errors
/// No memory for it.
pub(crate) fn start_keeper() -> Result<(), AllocError> {
    sched::spawn_kthread("timers", |_| keep(), 0)
}

fn keep() {
    loop {
        KEEPER.wait_uninterruptible(|| SOME_DUE.load(Acquire) != 0);
        let mut some = SOME_DUE.swap(0, AcqRel);
        while some != 0 {
            let first = some.trailing_zeros() as usize * WORDS_PER_BIT;
            some &= some - 1;
            for index in first..first + WORDS_PER_BIT {
                let mut due = DUE.get(index).map_or(0, |word| word.swap(0, AcqRel));
                while due != 0 {
                    let number = index * 64 + due.trailing_zeros() as usize;
                    due &= due - 1;
                    if let Some(process) = pid::find_process(number as u32) {
                        fire(&process);
                    }
                }
            }
        }
    }
}

/// The timer of `process` may be due: if so sends the signal, and arms it for the next time.
fn fire(process: &Process) {
    let timers = &process.timers;
    {
        let _setting = timers.setting.lock();
        let (deadline, interval) = (timers.deadline.load(Relaxed), timers.interval.load(Relaxed));
        let now = time::now();
        // It was set anew, or the number is another process' by now.
        if deadline == 0 || deadline > now {
            return;
        }
        match (now - deadline).checked_div(interval) {
            None => timers.deadline.store(0, Relaxed),
            // Times that were missed are not made up for.
            Some(late) => timers.arm(deadline.saturating_add((late + 1).saturating_mul(interval))),
        }
    }
    // An ordinary signal is marked even when its information finds no room.
    let _marked = signal::send_process(process, SigInfo::from_kernel(Signal::ALRM));
}
