//! The policy that a thread is scheduled by (Linux: `SCHED_NORMAL`, `SCHED_BATCH`, `SCHED_IDLE` of
//! `kernel/sched/fair.c`): all share time. A batch thread takes it from nobody when it wakes, an idle one has a
//! weight below that of every nice value, too.

use core::sync::atomic::Ordering::Relaxed;

use super::Task;

/// `SCHED_RESET_ON_FORK`.
const RESET_ON_FORK: u32 = linux_raw_sys::general::SCHED_RESET_ON_FORK;

/// How a thread is scheduled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Policy {
    /// By its nice value.
    Normal = linux_raw_sys::general::SCHED_NORMAL,
    /// As `Normal`, but it does not pre-empt.
    Batch = linux_raw_sys::general::SCHED_BATCH,
    /// When hardly anybody else wants to run.
    Idle = linux_raw_sys::general::SCHED_IDLE,
}

impl Task {
    /// Its policy.
    pub fn policy(&self) -> Policy {
        match self.sched.policy.load(Relaxed) & !RESET_ON_FORK {
            linux_raw_sys::general::SCHED_BATCH => Policy::Batch,
            linux_raw_sys::general::SCHED_IDLE => Policy::Idle,
            _ => Policy::Normal,
        }
    }

    /// Whether its children start without its advantages (`SCHED_RESET_ON_FORK`).
    pub fn resets_on_fork(&self) -> bool {
        self.sched.policy.load(Relaxed) & RESET_ON_FORK != 0
    }

    /// Sets both.
    pub fn set_policy(&self, policy: Policy, reset_on_fork: bool) {
        let reset = if reset_on_fork { RESET_ON_FORK } else { 0 };
        self.sched.policy.store(policy as u32 | reset, Relaxed);
        self.weigh();
    }

    /// Takes policy and nice value of `parent`, as far as that passes them on (Linux: `sched_fork`).
    pub(super) fn inherit_policy(&self, parent: &Self) {
        let nice = parent.nice();
        self.set_nice(if parent.resets_on_fork() { nice.max(0) } else { nice });
        self.set_policy(parent.policy(), false);
    }
}
