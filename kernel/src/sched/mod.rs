//! The scheduler: who runs where, and when another does (Linux: `kernel/sched/`).

use rux_mm::error::AllocError;

/// Gives the hart to the next runnable thread, if there is one.
pub fn yield_now() {
    unimplemented!()
}

/// Sleeps until `deadline` (see [`crate::time::now`]) or until a signal comes.
pub fn sleep_until(_deadline: u64) -> Result<(), crate::wait::Interrupted> {
    unimplemented!()
}

/// Starts a kernel thread; it ends when `body` returns.
pub fn spawn_kthread(_name: &'static str, _body: fn(usize), _arg: usize) -> Result<(), AllocError> {
    unimplemented!()
}

/// Ends the running thread; its stack and task go when nobody holds them any more. What a user thread
/// keeps beyond the core (files, space, parents) is given up before.
pub fn exit_current() -> ! {
    unimplemented!()
}

/// Threads that run or could run, over all harts, and the load averages times 2^11 (`/proc/loadavg`).
pub fn load() -> (usize, [u64; 3]) {
    unimplemented!()
}
