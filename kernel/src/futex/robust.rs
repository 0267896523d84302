//! Futexes whose owner ends: the list that it kept of them is walked (Linux: `exit_robust_list`).

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;

use super::{Sharing, wake};
use crate::errno::{Errno, Result};
use crate::process::Thread;
use crate::uaccess::{self, Access};

/// The longest list of held futexes that the kernel walks (Linux: `ROBUST_LIST_LIMIT`).
const ROBUST_LIMIT: usize = 2048;

/// Marks the futexes that the running thread, which ends, holds, and wakes a waiter of each
/// (Linux: `exit_robust_list`). What the program wrote there is not trusted: a bad address ends the walk.
pub fn exit_robust_list(thread: &Thread) {
    let head = VirtAddr::new(thread.robust_list.swap(0, Relaxed));
    if head.get() != 0 {
        let _ended = walk_robust_list(thread, head);
    }
}

fn walk_robust_list(thread: &Thread, head: VirtAddr) -> Result<()> {
    // `struct robust_list_head`: the first entry, the distance from an entry to its futex, and an entry
    // that was being locked or unlocked. Bit 0 of an entry says that it inherits priorities.
    let [first, offset, pending]: [u64; 3] = uaccess::read_user(head)?;
    let futex_of = |entry: u64| VirtAddr::new((entry & !1).wrapping_add(offset));
    let mut entry = first;
    for _ in 0..ROBUST_LIMIT {
        if entry & !1 == head.get() {
            break;
        }
        // Before the futex is given up: its memory may be reused at once.
        let next: Result<u64> = uaccess::read_user(VirtAddr::new(entry & !1)).map_err(Errno::from);
        if entry != pending {
            abandon(thread, futex_of(entry), false)?;
        }
        entry = next?;
    }
    if pending != 0 {
        abandon(thread, futex_of(pending), true)?;
    }
    Ok(())
}

/// Marks one futex as left by a dead owner, if the thread is its owner (Linux: `handle_futex_death`).
fn abandon(thread: &Thread, addr: VirtAddr, pending: bool) -> Result<()> {
    if !addr.get().is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    loop {
        let word: u32 = uaccess::read_user(addr)?;
        if pending && word == 0 {
            let _woken = wake(addr, 1, u32::MAX, Sharing::Shared);
            return Ok(());
        }
        if word & linux::FUTEX_TID_MASK != thread.tid() {
            return Ok(());
        }
        let new = word & linux::FUTEX_WAITERS | linux::FUTEX_OWNER_DIED;
        match uaccess::cmpxchg_user_nofault(addr, word, new) {
            Ok(was) if was == word => {
                if word & linux::FUTEX_WAITERS != 0 {
                    let _woken = wake(addr, 1, u32::MAX, Sharing::Shared);
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(_) => uaccess::fault_in(addr, Access::Write)?,
        }
    }
}
