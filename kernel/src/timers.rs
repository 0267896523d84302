//! A process' interval timer, `setitimer(ITIMER_REAL)` and `alarm` (Linux: `kernel/time/itimer.c`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::sync::{IrqSpinLock, Rank};

use crate::process::{Process, pid};
use crate::signal::{self, SigInfo, Signal};
use crate::time::{self, Timer};

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

impl ProcessTimers {
    /// None set.
    pub const fn new() -> Self {
        Self {
            real: Timer::new(fire, 0),
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

    /// Ends all timers, before the process is gone.
    pub fn cancel_all(&self) {
        self.deadline.store(0, Relaxed);
        self.interval.store(0, Relaxed);
        self.real.cancel();
    }
}

/// How the interval timer of `process` stands.
pub fn get(process: &Process) -> Interval {
    let _setting = process.timers.setting.lock();
    process.timers.read()
}

/// Sets the interval timer of the running process; returns how it stood.
pub fn set(process: &Process, new: Interval) -> Interval {
    let timers = &process.timers;
    // Before the lock, as the callback takes it. What fires between is as if it had fired before.
    timers.real.cancel();
    let _setting = timers.setting.lock();
    let old = timers.read();
    timers.real.set_data(process.pid().into());
    timers.interval.store(new.interval, Relaxed);
    if new.value == 0 {
        timers.deadline.store(0, Relaxed);
        return old;
    }
    let deadline = time::now().saturating_add(new.value);
    timers.deadline.store(deadline, Relaxed);
    // SAFETY: the timer is in the process, which does not move; `cancel_all` runs before it is gone.
    unsafe { timers.real.arm(deadline) };
    old
}

/// It fires, in an interrupt.
fn fire(timer: &Timer) {
    let Some(process) = pid::find_process(timer.data() as u32) else { return };
    let timers = &process.timers;
    {
        let _setting = timers.setting.lock();
        match (timers.deadline.load(Relaxed), timers.interval.load(Relaxed)) {
            (0, _) => return,
            (_, 0) => timers.deadline.store(0, Relaxed),
            (deadline, interval) => {
                // Times that were missed are not made up for.
                let late = time::now().saturating_sub(deadline) / interval;
                let next = deadline.saturating_add((late + 1).saturating_mul(interval));
                timers.deadline.store(next, Relaxed);
                // SAFETY: as in `set`.
                unsafe { timer.arm(next) };
            }
        }
    }
    // An ordinary signal is marked even when its information finds no room.
    let _marked = signal::send_process(&process, SigInfo::from_kernel(Signal::ALRM));
}
