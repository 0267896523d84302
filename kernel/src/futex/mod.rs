//! Futexes: sleeping on a word of user memory (Linux: `kernel/futex/`).
//!
//! A waiter puts itself into the bucket of its word's key, then looks at the word, both under the bucket's
//! lock; who wakes changed the word before and takes the same lock. So none is lost. Waiters live on their
//! own stacks: they leave the bucket, or find that they were taken out of it, under its lock, so whoever holds
//! the lock may touch all waiters in it.

mod op;
mod robust;

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rux_mm::addr::VirtAddr;
use rux_mm::sync::{IrqSpinGuard, IrqSpinLock, Rank};
use rux_mm::vma::VmFlags;

pub use op::wake_op;
pub use robust::exit_robust_list;

use crate::errno::{Errno, Result};
use crate::task;
use crate::uaccess::{self, Access};
use crate::wait::{WaitError, WaitQueue};

const BUCKETS: usize = 256;

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
