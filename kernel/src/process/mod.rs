//! Processes and their threads (Linux: `kernel/fork.c`, `kernel/exit.c`).

pub mod cred;
pub mod rlimit;
mod user;

pub use cred::{Caps, Cred};
pub use rlimit::{Resource, Rlimit, Rlimits};
pub use user::User;

/// What a user thread has beyond its [`Task`](crate::task::Task): its process, its signals.
#[derive(Debug)]
pub struct Thread {}

/// Starts PID 1. Called once, in a kernel thread, when everything else is up.
pub fn start_init() {
    unimplemented!()
}
