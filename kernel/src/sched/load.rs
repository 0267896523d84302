//! The load averages of /proc/loadavg (Linux: `kernel/sched/loadavg.c`).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::hart;
use crate::time::{self, SECOND};

/// How often a sample is taken: 5 s.
const PERIOD: u64 = 5 * SECOND;
/// 2^11 times e to the power of -5 s over 1, 5 and 15 minutes.
const DECAY: [u64; 3] = [1884, 2014, 2037];
const ONE: u64 = 1 << 11;

static NEXT: AtomicU64 = AtomicU64::new(PERIOD);
static AVERAGES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn running() -> usize {
    hart::online()
        .iter()
        .map(|index| {
            let hart = hart::hart(index);
            let busy = !hart.is_idle();
            hart.queue.waiting() + usize::from(busy)
        })
        .sum()
}

/// Takes the samples that are due by `now`.
pub(super) fn sample(now: u64) {
    let next = NEXT.load(Relaxed);
    if now < next || NEXT.compare_exchange(next, now + PERIOD, Relaxed, Relaxed).is_err() {
        return;
    }
    // An idle machine takes none; what was missed is nothing that ran.
    let missed = ((now - next) / PERIOD).min(1000);
    let active = running() as u64 * ONE;
    for (average, decay) in AVERAGES.iter().zip(DECAY) {
        let mut value = average.load(Relaxed);
        for _ in 0..missed {
            value = value * decay / ONE;
        }
        value = (value * decay + active * (ONE - decay) + if active >= value { ONE - 1 } else { 0 }) / ONE;
        average.store(value, Relaxed);
    }
}

/// Threads that run or could run, over all harts, and the load averages times 2^11 (`/proc/loadavg`).
pub fn load() -> (usize, [u64; 3]) {
    sample(time::now());
    (running(), [&AVERAGES[0], &AVERAGES[1], &AVERAGES[2]].map(|average| average.load(Relaxed)))
}
