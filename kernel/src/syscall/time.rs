//! Clocks, sleeping, interval timers.

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::usage::{self, Usage, clock_ticks};
use crate::process::{self, Caps, pid};
use crate::signal::Restart;
use crate::time::{self, SECOND};
use crate::timers::{self, Interval};
use crate::uaccess::{self, Plain};
use crate::{sched, task, vdso};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_nanosleep, nanosleep),
    (linux::__NR_clock_nanosleep, clock_nanosleep),
    (linux::__NR_clock_gettime, clock_gettime),
    (linux::__NR_clock_settime, clock_settime),
    (linux::__NR_clock_getres, clock_getres),
    (linux::__NR_gettimeofday, gettimeofday),
    (linux::__NR_settimeofday, settimeofday),
    (linux::__NR_getitimer, getitimer),
    (linux::__NR_setitimer, setitimer),
    (linux::__NR_times, times),
    (linux::__NR_restart_syscall, restart_syscall),
];

/// `struct timespec`, and, with microseconds, `struct timeval`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// The rest, in nanoseconds.
    pub nsec: i64,
}

// SAFETY: two words.
unsafe impl Plain for Timespec {}

impl Timespec {
    /// Reads one of the program's.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read(at: VirtAddr) -> Result<Self> {
        Ok(uaccess::read_user(at)?)
    }

    /// The span or time in nanoseconds; what is beyond 584 years is that.
    ///
    /// # Errors
    /// `EINVAL` when it is negative, or the rest is a second or more.
    pub fn nanos(self) -> Result<u64> {
        let (Ok(sec), Ok(nsec)) = (u64::try_from(self.sec), u64::try_from(self.nsec)) else {
            return Err(Errno::EINVAL);
        };
        if nsec >= SECOND {
            return Err(Errno::EINVAL);
        }
        Ok(sec.saturating_mul(SECOND).saturating_add(nsec))
    }

    /// So many nanoseconds.
    pub const fn of(nanos: u64) -> Self {
        Self { sec: (nanos / SECOND) as i64, nsec: (nanos % SECOND) as i64 }
    }
}

/// What a clock counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Realtime,
    /// Since boot, in its several names.
    Monotonic,
    /// One of the two coarse ones, as programs that only want it cheap use.
    Coarse {
        realtime: bool,
    },
    /// The running time of a process; 0 for the caller's.
    Process(u32),
    /// The running time of a thread; 0 for the caller.
    Thread(u32),
}

/// A tick of the coarse clocks, as Linux's default of 250 a second.
const COARSE: u64 = SECOND / 250;

impl Clock {
    fn new(id: i32) -> Result<Self> {
        if id < 0 {
            // The number of a process or thread, inverted, above three bits of kind.
            let number = !(id >> 3) as u32;
            return match (id & 3, id & 4) {
                (0..=2, 0) => Ok(Self::Process(number)),
                (0..=2, _) => Ok(Self::Thread(number)),
                _ => Err(Errno::EINVAL),
            };
        }
        match id as u32 {
            linux::CLOCK_REALTIME | linux::CLOCK_TAI | linux::CLOCK_REALTIME_ALARM => Ok(Self::Realtime),
            linux::CLOCK_MONOTONIC
            | linux::CLOCK_MONOTONIC_RAW
            | linux::CLOCK_BOOTTIME
            | linux::CLOCK_BOOTTIME_ALARM => Ok(Self::Monotonic),
            linux::CLOCK_REALTIME_COARSE => Ok(Self::Coarse { realtime: true }),
            linux::CLOCK_MONOTONIC_COARSE => Ok(Self::Coarse { realtime: false }),
            linux::CLOCK_PROCESS_CPUTIME_ID => Ok(Self::Process(0)),
            linux::CLOCK_THREAD_CPUTIME_ID => Ok(Self::Thread(0)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn now(self) -> Result<u64> {
        Ok(match self {
            Self::Realtime | Self::Coarse { realtime: true } => time::realtime(),
            Self::Monotonic | Self::Coarse { realtime: false } => time::now(),
            Self::Process(0) => {
                let (user, system) = usage::of_process(process::current()?.process());
                user + system
            }
            Self::Process(number) => {
                let process = pid::find_process(number).ok_or(Errno::EINVAL)?;
                let (user, system) = usage::of_process(&process);
                user + system
            }
            Self::Thread(number) => {
                let (user, system) = match number {
                    0 => task::current().cpu_times(),
                    _ => pid::find_task(number).ok_or(Errno::EINVAL)?.cpu_times(),
                };
                user + system
            }
        })
    }

    const fn resolution(self) -> u64 {
        match self {
            Self::Coarse { .. } => COARSE,
            _ => 1,
        }
    }
}

fn clock_gettime(args: &Args) -> Result<usize> {
    let now = Clock::new(args.int(0))?.now()?;
    uaccess::write_user(args.addr(1), Timespec::of(now))?;
    Ok(0)
}

fn clock_getres(args: &Args) -> Result<usize> {
    let clock = Clock::new(args.int(0))?;
    if let Some(to) = args.optional(1) {
        uaccess::write_user(to, Timespec::of(clock.resolution()))?;
    }
    Ok(0)
}

fn set_realtime(now: u64) -> Result<usize> {
    process::current()?.cred().require(Caps::SYS_TIME)?;
    // Linux does not let the time since boot be negative either.
    if now < time::now() {
        return Err(Errno::EINVAL);
    }
    time::set_realtime(now);
    vdso::update_realtime();
    Ok(0)
}

fn clock_settime(args: &Args) -> Result<usize> {
    if args.int(0) != linux::CLOCK_REALTIME as i32 {
        return Err(Errno::EINVAL);
    }
    let new = Timespec::read(args.addr(1))?.nanos()?;
    set_realtime(new)
}

fn gettimeofday(args: &Args) -> Result<usize> {
    if let Some(to) = args.optional(0) {
        let now = Timespec::of(time::realtime());
        uaccess::write_user(to, Timespec { nsec: now.nsec / 1000, ..now })?;
    }
    if let Some(zone) = args.optional(1) {
        // Greenwich, without daylight saving: what nobody set.
        uaccess::write_user(zone, [0i32; 2])?;
    }
    Ok(0)
}

/// A `struct timeval` in nanoseconds.
fn read_timeval(at: VirtAddr) -> Result<u64> {
    let time = Timespec::read(at)?;
    if !(0..1_000_000).contains(&time.nsec) {
        return Err(Errno::EINVAL);
    }
    Timespec { nsec: time.nsec * 1000, ..time }.nanos()
}

fn settimeofday(args: &Args) -> Result<usize> {
    let new = match args.optional(0) {
        Some(at) => Some(read_timeval(at)?),
        None => None,
    };
    if let Some(zone) = args.optional(1) {
        let _: [i32; 2] = uaccess::read_user(zone)?;
        process::current()?.cred().require(Caps::SYS_TIME)?;
    }
    new.map_or(Ok(0), set_realtime)
}

/// Sleeps until `deadline`, since boot. When a signal comes first, the rest can be slept by `restart_syscall`;
/// how much that is goes to `remaining`.
fn sleep(deadline: u64, remaining: Option<VirtAddr>) -> Result<usize> {
    if sched::sleep_until(deadline).is_ok() {
        return Ok(0);
    }
    if let Some(to) = remaining {
        let left = deadline.saturating_sub(time::now());
        uaccess::write_user(to, Timespec::of(left))?;
    }
    *process::current()?.signals.restart.lock() = Restart::Sleep { deadline, remaining };
    Err(Errno::ERESTART_RESTARTBLOCK)
}

fn nanosleep(args: &Args) -> Result<usize> {
    let span = Timespec::read(args.addr(0))?.nanos()?;
    sleep(time::now().saturating_add(span), args.optional(1))
}

fn clock_nanosleep(args: &Args) -> Result<usize> {
    let clock = Clock::new(args.int(0))?;
    let absolute = args.uint(1) & linux::TIMER_ABSTIME != 0;
    let wanted = Timespec::read(args.addr(2))?.nanos()?;
    match clock {
        Clock::Realtime | Clock::Monotonic => {}
        // Linux cannot sleep by these either; by another's running time it could.
        Clock::Coarse { .. } => return Err(Errno::EOPNOTSUPP),
        Clock::Thread(_) => return Err(Errno::EINVAL),
        Clock::Process(_) => return sleep_by_cpu_time(clock, wanted, absolute),
    }
    if !absolute {
        return sleep(time::now().saturating_add(wanted), args.optional(3));
    }
    let deadline = match clock {
        Clock::Realtime => wanted.saturating_sub(time::realtime_offset()),
        _ => wanted,
    };
    sched::sleep_until(deadline).map_err(|_| Errno::ERESTARTNOHAND)?;
    Ok(0)
}

/// Sleeps until the process has run so long; looks as often as that could have happened.
fn sleep_by_cpu_time(clock: Clock, wanted: u64, absolute: bool) -> Result<usize> {
    let target = if absolute { wanted } else { clock.now()?.saturating_add(wanted) };
    loop {
        let left = target.saturating_sub(clock.now()?);
        if left == 0 {
            return Ok(0);
        }
        let step = left.max(COARSE);
        sched::sleep_until(time::now().saturating_add(step)).map_err(|_| Errno::ERESTARTNOHAND)?;
    }
}

fn restart_syscall(_: &Args) -> Result<usize> {
    let restart = core::mem::replace(&mut *process::current()?.signals.restart.lock(), Restart::None);
    match restart {
        Restart::None => Err(Errno::EINTR),
        Restart::Sleep { deadline, remaining } => sleep(deadline, remaining),
        Restart::Futex { addr, value, bits, deadline, sharing } => {
            super::sched::futex_wait(addr, value, bits, deadline, sharing, false)
        }
    }
}

/// `struct itimerval`: the interval, then the value, in seconds and microseconds.
fn write_interval(to: VirtAddr, interval: Interval) -> Result<()> {
    let micros = |nanos: u64| {
        // A timer that still runs is never shown as one that does not.
        let nanos = if nanos == 0 { 0 } else { nanos.max(1000) };
        let time = Timespec::of(nanos);
        [time.sec, time.nsec / 1000]
    };
    let ([a, b], [c, d]) = (micros(interval.interval), micros(interval.value));
    Ok(uaccess::write_user(to, [a, b, c, d])?)
}

/// Only the timer that counts real time is there.
fn check_timer(which: u32) -> Result<()> {
    match which {
        linux::ITIMER_REAL => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn getitimer(args: &Args) -> Result<usize> {
    check_timer(args.uint(0))?;
    write_interval(args.addr(1), timers::get(process::current()?.process()))?;
    Ok(0)
}

fn setitimer(args: &Args) -> Result<usize> {
    let new = match args.optional(1) {
        Some(at) => Interval {
            interval: read_timeval(at)?,
            value: read_timeval(at.checked_add(16).ok_or(Errno::EFAULT)?)?,
        },
        None => Interval::default(),
    };
    check_timer(args.uint(0))?;
    let old = timers::set(process::current()?.process(), new);
    if let Some(to) = args.optional(2) {
        write_interval(to, old)?;
    }
    Ok(0)
}

fn times(args: &Args) -> Result<usize> {
    if let Some(to) = args.optional(0) {
        let process = process::current()?.process();
        let (utime, stime) = usage::of_process(process);
        let Usage { utime: cutime, stime: cstime, .. } = process.usage.children();
        uaccess::write_user(to, [utime, stime, cutime, cstime].map(clock_ticks))?;
    }
    Ok(clock_ticks(time::now()) as usize)
}
