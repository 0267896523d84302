//! What the kernel's files stand on, made of loom's parts: each of them says `super::shim` for what its room gives it
//! in the kernel.

pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex, atomic::AtomicBool};
use loom::thread::{self, Thread};
use std::cell::Cell;

pub(super) const SPINS: u32 = 0;

pub(super) use loom::sync::MutexGuard;
pub(super) type QueueGuard<'a> = MutexGuard<'a, ()>;

/// What guards the queue of a sleeping lock.
#[derive(Default, Debug)]
pub(super) struct QueueLock(Mutex<()>);

impl QueueLock {
    pub(super) fn lock(&self) -> QueueGuard<'_> {
        self.0.lock().unwrap()
    }
}

type Sleepers = Mutex<Vec<(usize, Thread, Arc<AtomicBool>)>>;

loom::lazy_static! {
    /// Who sleeps where, in the order of coming: the contract of `cold::park`.
    static ref SLEEPERS: Sleepers = Mutex::new(Vec::new());
}

thread_local! {
    /// Whether the running thread has a fatal signal.
    pub(super) static KILLED: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn fatal_signal() -> bool {
    KILLED.get()
}

pub(super) fn relax() {
    thread::yield_now();
}

pub(super) fn park(word: &AtomicU32, expected: u32) {
    let woken = Arc::new(AtomicBool::new(false));
    {
        let mut sleepers = SLEEPERS.lock().unwrap();
        if word.load(Ordering::Relaxed) != expected {
            return;
        }
        sleepers.push((core::ptr::from_ref(word).addr(), thread::current(), woken.clone()));
    }
    while !woken.load(Ordering::Acquire) {
        thread::park();
    }
}

pub(super) fn unpark(word: &AtomicU32, count: u32) {
    let mut sleepers = SLEEPERS.lock().unwrap();
    for _ in 0..count {
        let addr = core::ptr::from_ref(word).addr();
        let Some(at) = sleepers.iter().position(|sleeper| sleeper.0 == addr) else { return };
        let (_, thread, woken) = sleepers.remove(at);
        woken.store(true, Ordering::Release);
        thread.unpark();
    }
}
