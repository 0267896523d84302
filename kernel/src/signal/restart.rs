//! System calls that go on after a stop: `restart_syscall` (Linux: `struct restart_block`).
//!
//! A call whose argument says for how long cannot simply start again; it leaves here until when.

use rux_mm::addr::VirtAddr;

/// What `restart_syscall` is to do.
#[derive(Clone, Copy, Debug)]
pub enum Restart {
    /// Nothing: `EINTR`.
    None,
    /// Sleep on.
    Sleep {
        /// Until when, in nanoseconds since boot.
        deadline: u64,
        /// Where the time left goes if that is interrupted, too.
        remaining: Option<VirtAddr>,
    },
    /// Wait on for a futex.
    Futex {
        /// The word.
        addr: VirtAddr,
        /// What it should be.
        value: u32,
        /// Which wake-ups count.
        bits: u32,
        /// Until when, in nanoseconds since boot.
        deadline: Option<u64>,
        /// Whether other processes may wake it.
        sharing: crate::futex::Sharing,
    },
}
