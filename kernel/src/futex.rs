//! Futexes: sleeping on a word of user memory (Linux: `kernel/futex/`).
//!
//! A waiter puts itself into the bucket of its word's key, then looks at the word, both under the bucket's
//! lock; who wakes changed the word before and takes the same lock. So none is lost. Waiters live on their
//! own stacks: they leave the bucket, or find that they were taken out of it, under its lock, so whoever holds
//! the lock may touch all waiters in it.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use linux_raw_sys::general as linux;
use rux_mm::addr::VirtAddr;
use rux_mm::sync::{IrqSpinGuard, IrqSpinLock, Rank};
use rux_mm::vma::VmFlags;

use crate::errno::{Errno, Result};
use crate::process::Thread;
use crate::task;
use crate::uaccess::{self, Access};
use crate::wait::{WaitError, WaitQueue};

const BUCKETS: usize = 256;
/// The longest list of held futexes that the kernel walks (Linux: `ROBUST_LIST_LIMIT`).
const ROBUST_LIMIT: usize = 2048;

/// Whether other processes may mean the same word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// `FUTEX_PRIVATE_FLAG`.
    Private,
    /// The word may be in a shared mapping.
    Shared,
}

/// What a word is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    /// The address space, and the address in it.
    Private(usize, u64),
    /// The file, and where in it.
    Shared { dev: (u32, u32), ino: u64, offset: u64 },
}

impl Key {
    fn of(addr: VirtAddr, sharing: Sharing) -> Result<Self> {
        if !addr.get().is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let space = task::current_space().ok_or(Errno::EFAULT)?;
        if addr >= space.task_size() {
            return Err(Errno::EFAULT);
        }
        let private = Self::Private(ptr::from_ref(&**space).addr(), addr.get());
        if sharing == Sharing::Private {
            return Ok(private);
        }
        let mut key = None;
        let looked = space.for_each_vma(addr, &mut |vma| {
            if vma.range.contains(addr) {
                let shared = vma.flags.contains(VmFlags::MAYSHARE) && vma.ino != 0;
                key = Some(if shared {
                    Self::Shared {
                        dev: vma.dev,
                        ino: vma.ino,
                        offset: vma.offset.wrapping_add(addr - vma.range.start),
                    }
                } else {
                    private
                });
            }
            core::ops::ControlFlow::Break(())
        });
        match looked {
            Ok(()) => key.ok_or(Errno::EFAULT),
            // The process is being killed, and wakes whom it can.
            Err(_) => Ok(private),
        }
    }

    fn bucket(self) -> usize {
        let (a, b) = match self {
            Self::Private(space, addr) => (space as u64, addr),
            Self::Shared { ino, offset, .. } => (ino, offset),
        };
        let hash = (a ^ (b >> 2)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 56) as usize % BUCKETS
    }
}

/// One thread that waits.
struct Waiter {
    next: Cell<*const Waiter>,
    prev: Cell<*const Waiter>,
    key: Cell<Key>,
    bits: u32,
    /// The bucket that it is in; a requeue changes it under both locks.
    bucket: AtomicUsize,
    woken: AtomicBool,
    queue: WaitQueue,
}

/// The waiters whose keys fall together, oldest first.
struct Bucket {
    head: *const Waiter,
    tail: *const Waiter,
}

// SAFETY: the pointers are to waiters that stay until they have taken themselves out under the lock.
unsafe impl Send for Bucket {}

static TABLE: [IrqSpinLock<Bucket>; BUCKETS] =
    [const { IrqSpinLock::new(Rank::Futex, Bucket { head: ptr::null(), tail: ptr::null() }) }; BUCKETS];

fn lock(bucket: usize) -> IrqSpinGuard<'static, Bucket> {
    TABLE[bucket % BUCKETS].lock()
}

impl Bucket {
    /// Puts `waiter` last.
    ///
    /// # Safety
    /// It is in no bucket, and stays where it is until it is in none again.
    unsafe fn push(&mut self, waiter: *const Waiter) {
        // SAFETY: the caller's waiter, and a neighbour that is in this bucket, both alive.
        unsafe {
            (*waiter).prev.set(self.tail);
            (*waiter).next.set(ptr::null());
            match self.tail.as_ref() {
                Some(tail) => tail.next.set(waiter),
                None => self.head = waiter,
            }
        }
        self.tail = waiter;
    }

    /// Takes `waiter` out.
    ///
    /// # Safety
    /// It is in this bucket.
    unsafe fn remove(&mut self, waiter: &Waiter) {
        let (prev, next) = (waiter.prev.get(), waiter.next.get());
        // SAFETY: the neighbours of a waiter in this bucket are in it, too, or null.
        unsafe {
            match prev.as_ref() {
                Some(prev) => prev.next.set(next),
                None => self.head = next,
            }
            match next.as_ref() {
                Some(next) => next.prev.set(prev),
                None => self.tail = prev,
            }
        }
    }

    /// Shows each waiter to `each`, which says what to do with it; until it says stop.
    fn sift(&mut self, mut each: impl FnMut(&Waiter) -> Fate, mut to: Option<(&mut Self, usize)>) {
        let mut at = self.head;
        // SAFETY: what is in the bucket is alive while its lock is held, as it is: `self` is borrowed from it.
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            match each(waiter) {
                Fate::Stay => {}
                Fate::Stop => return,
                Fate::Wake => {
                    // SAFETY: it is in this bucket.
                    unsafe { self.remove(waiter) };
                    // It may not return before it has taken the lock that is held.
                    waiter.woken.store(true, core::sync::atomic::Ordering::Release);
                    waiter.queue.wake_one();
                }
                Fate::Move(key) => {
                    // SAFETY: it is in this bucket.
                    unsafe { self.remove(waiter) };
                    waiter.key.set(key);
                    match &mut to {
                        Some((bucket, index)) => {
                            waiter.bucket.store(*index, Relaxed);
                            // SAFETY: it is in no bucket now, and leaves only under the lock of its new one.
                            unsafe { bucket.push(waiter) };
                        }
                        // SAFETY: as above; the new key falls into the same bucket.
                        None => unsafe { self.push(waiter) },
                    }
                }
            }
        }
    }

    fn wake(&mut self, key: Key, count: u32, bits: u32) -> u32 {
        let mut woken = 0;
        self.sift(
            |waiter| {
                if woken >= count {
                    Fate::Stop
                } else if waiter.key.get() == key && waiter.bits & bits != 0 {
                    woken += 1;
                    Fate::Wake
                } else {
                    Fate::Stay
                }
            },
            None,
        );
        woken
    }
}

/// What becomes of a waiter.
enum Fate {
    Stay,
    Wake,
    Move(Key),
    Stop,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// Somebody woke it.
    Woken,
    /// A signal came.
    Interrupted,
    /// The time is over.
    TimedOut,
}

/// Waits for a wake-up of the word at `addr` that has one of `bits`, if the word is `value`; until
/// `deadline`, in nanoseconds since boot.
///
/// # Errors
/// `EAGAIN` when the word is another, `EFAULT`, `EINVAL`.
pub fn wait(
    addr: VirtAddr,
    value: u32,
    bits: u32,
    deadline: Option<u64>,
    sharing: Sharing,
) -> Result<Waited> {
    let key = Key::of(addr, sharing)?;
    let index = key.bucket();
    let waiter = Waiter {
        next: Cell::new(ptr::null()),
        prev: Cell::new(ptr::null()),
        key: Cell::new(key),
        bits,
        bucket: AtomicUsize::new(index),
        woken: AtomicBool::new(false),
        queue: WaitQueue::new(),
    };
    loop {
        let mut bucket = lock(index);
        match uaccess::read_user_nofault::<u32>(addr) {
            Ok(word) if word != value => return Err(Errno::EAGAIN),
            Ok(_) => {
                // SAFETY: it is in no bucket, and `leave` below takes it out before it goes.
                unsafe { bucket.push(&raw const waiter) };
                break;
            }
            Err(_) => drop(bucket),
        }
        uaccess::fault_in(addr, Access::Read)?;
    }
    let is_woken = || waiter.woken.load(core::sync::atomic::Ordering::Acquire);
    let waited = waiter.queue.wait_deadline(deadline, is_woken);
    if leave(&waiter) {
        return Ok(match waited {
            Ok(()) => Waited::Woken,
            Err(WaitError::Interrupted) => Waited::Interrupted,
            Err(WaitError::TimedOut) => Waited::TimedOut,
        });
    }
    Ok(Waited::Woken)
}

/// Takes a waiter out of its bucket, unless it was woken and is in none; says whether it was in one.
fn leave(waiter: &Waiter) -> bool {
    loop {
        let index = waiter.bucket.load(Relaxed);
        let mut bucket = lock(index);
        if waiter.bucket.load(Relaxed) != index {
            continue;
        }
        if waiter.woken.load(Relaxed) {
            return false;
        }
        // SAFETY: not woken, so it is in the bucket that it names, whose lock is held.
        unsafe { bucket.remove(waiter) };
        return true;
    }
}

/// Wakes at most `count` of those who wait for the word at `addr` with one of `bits`; says how many.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub fn wake(addr: VirtAddr, count: u32, bits: u32, sharing: Sharing) -> Result<u32> {
    let key = Key::of(addr, sharing)?;
    Ok(lock(key.bucket()).wake(key, count, bits))
}

/// Locks two buckets, in the order of their addresses; the second is `None` when it is the first.
fn lock_two(a: usize, b: usize) -> (IrqSpinGuard<'static, Bucket>, Option<IrqSpinGuard<'static, Bucket>>) {
    if a == b {
        return (lock(a), None);
    }
    if a < b {
        let first = lock(a);
        (first, Some(TABLE[b % BUCKETS].lock_nested()))
    } else {
        let first = lock(b);
        (TABLE[a % BUCKETS].lock_nested(), Some(first))
    }
}

/// Wakes at most `count` waiters of `from`, and has at most `moved` others wait for `to` instead; with
/// `expected`, only if the word at `from` is that. Says how many were woken, and how many moved.
///
/// # Errors
/// `EAGAIN` when the word is another, `EFAULT`, `EINVAL`.
pub fn requeue(
    from: VirtAddr,
    to: VirtAddr,
    count: u32,
    moved: u32,
    expected: Option<u32>,
    sharing: Sharing,
) -> Result<(u32, u32)> {
    let (key, new_key) = (Key::of(from, sharing)?, Key::of(to, sharing)?);
    loop {
        let (mut bucket, mut other) = lock_two(key.bucket(), new_key.bucket());
        if let Some(expected) = expected {
            match uaccess::read_user_nofault::<u32>(from) {
                Ok(word) if word != expected => return Err(Errno::EAGAIN),
                Ok(_) => {}
                Err(_) => {
                    drop((bucket, other));
                    uaccess::fault_in(from, Access::Read)?;
                    continue;
                }
            }
        }
        let (mut woken, mut requeued) = (0, 0);
        let each = |waiter: &Waiter| {
            if waiter.key.get() != key || key == new_key && woken >= count {
                Fate::Stay
            } else if woken < count {
                woken += 1;
                Fate::Wake
            } else if requeued < moved {
                requeued += 1;
                Fate::Move(new_key)
            } else {
                Fate::Stop
            }
        };
        bucket.sift(each, other.as_deref_mut().map(|other| (other, new_key.bucket())));
        return Ok((woken, requeued));
    }
}

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
