//! How long a thread has run, and how much that weighs (Linux: `kernel/sched/cputime.c`, `core.c`).

use core::sync::atomic::Ordering::Relaxed;

use super::{Policy, Task};

/// The weight of nice value 0.
pub(super) const WEIGHT_OF_NICE_0: u32 = 1024;

/// The weight of [`Policy::Idle`].
const WEIGHT_OF_IDLE: u32 = 3;

/// Each step of the nice value is a quarter more or less: 1024 at 0, from -20 to 19.
const WEIGHTS: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121,
    2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29,
    23, 18, 15,
];

impl Task {
    /// Adds nanoseconds of run time. By the scheduler, on the thread's hart.
    pub(crate) fn add_runtime(&self, ran: u64, user: bool) {
        let total = if user { &self.sched.user_ns } else { &self.sched.system_ns };
        total.store(total.load(Relaxed) + ran, Relaxed);
        let weight = u64::from(self.sched.weight.load(Relaxed).max(1));
        let weighted = ran.saturating_mul(WEIGHT_OF_NICE_0.into()) / weight;
        self.sched.runtime_weighted.store(self.sched.runtime_weighted.load(Relaxed) + weighted, Relaxed);
    }

    /// Time spent in user mode and in the kernel, in nanoseconds, without the slice that runs. The sum is exact;
    /// which of the two a slice belongs to is decided where a tick found it, as on Linux without
    /// precise accounting.
    pub fn cpu_times(&self) -> (u64, u64) {
        (self.sched.user_ns.load(Relaxed), self.sched.system_ns.load(Relaxed))
    }

    /// Counts that the thread left its hart: pre-empted, if `kept` runnable, or to sleep.
    pub(crate) fn count_switch(&self, kept: bool) {
        let count = &self.sched.switches[usize::from(kept)];
        count.store(count.load(Relaxed) + 1, Relaxed);
    }

    /// How often it went to sleep, and how often it was pre-empted (`voluntary_ctxt_switches`,
    /// `nonvoluntary_ctxt_switches`).
    pub fn switches(&self) -> (u64, u64) {
        (self.sched.switches[0].load(Relaxed), self.sched.switches[1].load(Relaxed))
    }

    /// The nice value, -20 to 19.
    pub fn nice(&self) -> i32 {
        self.sched.nice.load(Relaxed)
    }

    /// Sets the nice value, clamped to -20 to 19.
    pub fn set_nice(&self, nice: i32) {
        let nice = nice.clamp(-20, 19);
        self.sched.nice.store(nice, Relaxed);
        self.weigh();
    }

    /// Sets the weight that its policy and nice value make (Linux: `set_load_weight`).
    pub(super) fn weigh(&self) {
        let weight = match self.policy() {
            Policy::Idle => WEIGHT_OF_IDLE,
            Policy::Normal | Policy::Batch => WEIGHTS[(self.nice() + 20).clamp(0, 39) as usize],
        };
        self.sched.weight.store(weight, Relaxed);
    }
}
