//! `FUTEX_WAKE_OP`: a word is changed and two are woken at in one go (Linux: `futex_wake_op`).

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;

use super::{Key, Sharing, lock_two};
use crate::errno::{Errno, Result};
use crate::uaccess::{self, Access};

/// Changes the word at `second` as `operation` says, wakes at most `count` waiters of `first`, and, if the old
/// word compares as `operation` says, at most `more` of `second` (`FUTEX_WAKE_OP`).
///
/// # Errors
/// `EFAULT`, `EINVAL`, `ENOSYS` for an unknown operation.
pub fn wake_op(
    first: VirtAddr,
    second: VirtAddr,
    count: u32,
    more: u32,
    operation: u32,
    sharing: Sharing,
) -> Result<u32> {
    let (key, other_key) = (Key::of(first, sharing)?, Key::of(second, sharing)?);
    let operation = Operation::decode(operation)?;
    loop {
        let (mut bucket, mut other) = lock_two(key.bucket(), other_key.bucket());
        let changed = uaccess::read_user_nofault::<u32>(second).and_then(|old| {
            uaccess::cmpxchg_user_nofault(second, old, operation.apply(old)).map(|was| (was == old, old))
        });
        match changed {
            Ok((true, old)) => {
                let mut woken = bucket.wake(key, count, u32::MAX);
                if operation.compares(old) {
                    let there = other.as_deref_mut().unwrap_or(&mut bucket);
                    woken += there.wake(other_key, more, u32::MAX);
                }
                return Ok(woken);
            }
            Ok((false, _)) => {}
            Err(_) => {
                drop((bucket, other));
                uaccess::fault_in(second, Access::Write)?;
            }
        }
    }
}

/// The operation of `FUTEX_WAKE_OP`.
struct Operation {
    operator: u32,
    operand: i32,
    comparison: u32,
    compared: i32,
}

impl Operation {
    fn decode(word: u32) -> Result<Self> {
        let signed = |value: u32| ((value << 20) as i32) >> 20;
        let operator = word >> 28;
        let operand = signed(word >> 12 & 0xfff);
        let shifted = operator & linux::FUTEX_OP_OPARG_SHIFT != 0;
        let operand = if shifted { 1i32 << (operand & 31) } else { operand };
        let this = Self {
            operator: operator & 7,
            operand,
            comparison: word >> 24 & 15,
            compared: signed(word & 0xfff),
        };
        let known = this.operator <= linux::FUTEX_OP_XOR && this.comparison <= linux::FUTEX_OP_CMP_GE;
        if known { Ok(this) } else { Err(Errno::ENOSYS) }
    }

    fn apply(&self, old: u32) -> u32 {
        let operand = self.operand as u32;
        match self.operator {
            linux::FUTEX_OP_SET => operand,
            linux::FUTEX_OP_ADD => old.wrapping_add(operand),
            linux::FUTEX_OP_OR => old | operand,
            linux::FUTEX_OP_ANDN => old & !operand,
            _ => old ^ operand,
        }
    }

    fn compares(&self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            linux::FUTEX_OP_CMP_EQ => old == self.compared,
            linux::FUTEX_OP_CMP_NE => old != self.compared,
            linux::FUTEX_OP_CMP_LT => old < self.compared,
            linux::FUTEX_OP_CMP_LE => old <= self.compared,
            linux::FUTEX_OP_CMP_GT => old > self.compared,
            _ => old >= self.compared,
        }
    }
}
