//! Queues of sleeping threads (Linux: `kernel/sched/wait.c`).
//!
//! A waiter queues itself, looks at its condition, and sleeps unless a wake-up has come since it queued
//! itself; who makes the condition true does so before the wake-up. So none is lost. Wake-ups may come from
//! interrupts. Conditions are called in the waiting thread, with nothing locked, and may sleep.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomPinned;
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KBox, KVec};
use rux_mm::sync::{IrqSpinLock, Rank};

use crate::sched::{self, Kicks};
use crate::task::{State, Task, current};
use crate::time::{self, Timer};

/// A signal came before the condition (`EINTR`, or a restart).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;

/// How a wait ended without its condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitError {
    /// A signal came.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// What a waiter's thread and its wakers share.
struct Wakeup {
    task: *const Task,
    woken: AtomicBool,
}

// SAFETY: the task is the waiter's own, which waits for its wakers (they hold the queue's lock).
unsafe impl Sync for Wakeup {}

impl Wakeup {
    fn new() -> Self {
        Self { task: ptr::from_ref(current()), woken: AtomicBool::new(false) }
    }

    /// Marks it and wakes the thread. The queue's lock keeps the waiter from leaving.
    fn fire(&self, kicks: &mut Kicks) {
        self.woken.store(true, SeqCst);
        // SAFETY: the thread has not left the queue, so it is alive.
        let task = unsafe { &*self.task };
        sched::wake_into(task, &[State::Interruptible, State::Killable, State::Uninterruptible], kicks);
    }

    /// Sleeps until [`Wakeup::fire`], a signal that `state` lets through, or `deadline`.
    fn sleep(&self, state: State, deadline: Option<u64>) -> Result<(), WaitError> {
        let task = current();
        let timer = Timer::new(
            |timer| {
                // SAFETY: the thread waits for `cancel`, so it is alive.
                let task = unsafe { &*(timer.data() as usize as *const Task) };
                sched::wake(task, &[State::Interruptible, State::Killable, State::Uninterruptible]);
            },
            ptr::from_ref(task) as u64,
        );
        let passed = || deadline.is_some_and(|deadline| time::now() >= deadline);
        if let Some(deadline) = deadline
            && deadline != u64::MAX
        {
            // SAFETY: cancelled below, before it goes.
            unsafe { timer.arm(deadline) };
        }
        let result = loop {
            task.set_state(state);
            if self.woken.load(SeqCst) {
                break Ok(());
            }
            if state == State::Interruptible && task.signal_pending()
                || state == State::Killable && task.fatal_pending()
            {
                break Err(WaitError::Interrupted);
            }
            if passed() {
                break Err(WaitError::TimedOut);
            }
            sched::schedule();
        };
        task.set_state(State::Running);
        if deadline.is_some() {
            timer.cancel();
        }
        result
    }
}

/// A place in a queue; on the waiter's stack, or in a box of a [`PollWait`].
struct Waiter {
    links: UnsafeCell<Links>,
    wakeup: *const Wakeup,
    /// Whether [`WaitQueue::wake_one`] counts it.
    exclusive: bool,
    _pin: PhantomPinned,
}

struct Links {
    next: *mut Waiter,
    prev: *mut Waiter,
    queued: bool,
}

/// The waiters, longest first. Guarded by the lock around it.
struct List {
    first: *mut Waiter,
    last: *mut Waiter,
}

// SAFETY: the list is only reached under its lock.
unsafe impl Send for List {}

impl List {
    /// # Safety
    /// `waiter` is in no list, and stays where it is until it is out again.
    unsafe fn push(&mut self, waiter: *mut Waiter) {
        // SAFETY: the caller vouches for `waiter`; the last is queued, so alive.
        unsafe {
            *(*waiter).links.get() = Links { next: null_mut(), prev: self.last, queued: true };
            if self.last.is_null() {
                self.first = waiter;
            } else {
                (*(*self.last).links.get()).next = waiter;
            }
        }
        self.last = waiter;
    }

    /// # Safety
    /// `waiter` is alive; if it is queued, it is in this list.
    unsafe fn remove(&mut self, waiter: *mut Waiter) -> bool {
        // SAFETY: the caller vouches for `waiter`; its neighbours are queued, so alive.
        unsafe {
            let links = (*waiter).links.get();
            if !(*links).queued {
                return false;
            }
            let (next, prev) = ((*links).next, (*links).prev);
            if prev.is_null() {
                self.first = next;
            } else {
                (*(*prev).links.get()).next = next;
            }
            if next.is_null() {
                self.last = prev;
            } else {
                (*(*next).links.get()).prev = prev;
            }
            (*links).queued = false;
        }
        true
    }
}

/// A queue of threads that wait for something.
pub struct WaitQueue {
    list: IrqSpinLock<List>,
}

impl WaitQueue {
    /// A queue without waiters.
    pub const fn new() -> Self {
        Self { list: IrqSpinLock::new(Rank::WaitQueue, List { first: null_mut(), last: null_mut() }) }
    }

    /// Sleeps until `condition` holds or a signal comes.
    ///
    /// # Errors
    /// A signal waits for the thread.
    pub fn wait_event(&self, condition: impl FnMut() -> bool) -> Result<(), Interrupted> {
        self.wait(State::Interruptible, None, condition).map_err(|_| Interrupted)
    }

    /// Sleeps until `condition` holds or a signal comes that ends the process.
    ///
    /// # Errors
    /// The process is to end.
    pub fn wait_killable(&self, condition: impl FnMut() -> bool) -> Result<(), Interrupted> {
        self.wait(State::Killable, None, condition).map_err(|_| Interrupted)
    }

    /// Sleeps until `condition` holds.
    pub fn wait_uninterruptible(&self, condition: impl FnMut() -> bool) {
        // Neither a signal nor a time ends it.
        let _ = self.wait(State::Uninterruptible, None, condition);
    }

    /// As [`WaitQueue::wait_event`], until `deadline` (see [`crate::time::now`]) at most.
    ///
    /// # Errors
    /// A signal waits for the thread, or the deadline passed.
    pub fn wait_deadline(
        &self,
        deadline: Option<u64>,
        condition: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        self.wait(State::Interruptible, deadline, condition)
    }

    fn wait(
        &self,
        state: State,
        deadline: Option<u64>,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        if condition() {
            return Ok(());
        }
        let wakeup = Wakeup::new();
        let waiter = Waiter::new(&wakeup, true);
        let at = (&raw const waiter).cast_mut();
        let result = loop {
            wakeup.woken.store(false, SeqCst);
            // SAFETY: the waiter is taken out below, before it goes.
            unsafe {
                let mut list = self.list.lock();
                if !list.holds(at) {
                    list.push(at);
                }
            }
            if condition() {
                break Ok(());
            }
            if let Err(error) = wakeup.sleep(state, deadline) {
                // What was waited for counts more than a signal that tells of it, as with a child's end.
                break if condition() { Ok(()) } else { Err(error) };
            }
        };
        // SAFETY: the waiter is alive, and was put into this list alone.
        let queued = unsafe { self.list.lock().remove(at) };
        // Who was woken alone but leaves for another reason passes it on.
        if !queued && result.is_err() {
            self.wake_one();
        }
        result
    }

    /// Wakes the longest waiter (and all of [`PollWait`]); says whether there was one.
    pub fn wake_one(&self) -> bool {
        self.wake(1)
    }

    /// Wakes all waiters.
    pub fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    fn wake(&self, mut count: usize) -> bool {
        let mut kicks = Kicks::new();
        let mut list = self.list.lock();
        let mut any = false;
        let mut at = list.first;
        while !at.is_null() && count > 0 {
            // SAFETY: queued waiters are alive, and so are what they name.
            unsafe {
                let next = (*(*at).links.get()).next;
                if (*at).exclusive {
                    list.remove(at);
                    count -= 1;
                    any = true;
                }
                (*(*at).wakeup).fire(&mut kicks);
                at = next;
            }
        }
        any
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.list.lock().first.is_null()
    }
}

impl List {
    /// # Safety
    /// `waiter` is alive.
    unsafe fn holds(&self, waiter: *mut Waiter) -> bool {
        // SAFETY: the caller vouches for it; the lock is held.
        unsafe { (*(*waiter).links.get()).queued }
    }
}

impl Waiter {
    fn new(wakeup: *const Wakeup, exclusive: bool) -> Self {
        let links = Links { next: null_mut(), prev: null_mut(), queued: false };
        Self { links: UnsafeCell::new(links), wakeup, exclusive, _pin: PhantomPinned }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").field("empty", &self.is_empty()).finish()
    }
}

/// One thread's place on several queues at once, which `poll` needs: [`PollWait::join`] each queue that the
/// files name, look at the files, then [`PollWait::sleep`]. Dropping it leaves all queues.
pub struct PollWait {
    wakeup: KBox<Wakeup>,
    places: KVec<(KBox<Waiter>, *const WaitQueue)>,
}

impl PollWait {
    /// On no queue yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, AllocError> {
        Ok(Self { wakeup: KBox::new(Wakeup::new(), Gfp::KERNEL)?, places: KVec::new() })
    }

    /// Joins `queue`, which must live as long as `self` does.
    ///
    /// # Errors
    /// No memory.
    ///
    /// # Safety
    /// `queue` outlives `self`: the caller holds the file that the queue is in.
    pub unsafe fn join(&mut self, queue: &WaitQueue) -> Result<(), AllocError> {
        let waiter = KBox::new(Waiter::new(KBox::as_ptr(&self.wakeup), false), Gfp::KERNEL)?;
        let at = KBox::as_ptr(&waiter);
        self.places.push((waiter, ptr::from_ref(queue)), Gfp::KERNEL)?;
        // SAFETY: the waiter is in a box, and taken out when `self` is dropped.
        unsafe { queue.list.lock().push(at) };
        Ok(())
    }

    /// Sleeps until one of the queues is woken after it was joined and after the last `sleep`, or the deadline.
    ///
    /// # Errors
    /// A signal waits for the thread, or the deadline passed.
    pub fn sleep(&mut self, deadline: Option<u64>) -> Result<(), WaitError> {
        let result = self.wakeup.sleep(State::Interruptible, deadline);
        self.wakeup.woken.store(false, SeqCst);
        result
    }
}

impl Drop for PollWait {
    fn drop(&mut self) {
        for (waiter, queue) in self.places.iter() {
            // SAFETY: who joined the queue said that it lives; the waiter is in no other list.
            unsafe { (**queue).list.lock().remove(KBox::as_ptr(waiter)) };
        }
    }
}

impl fmt::Debug for PollWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollWait").field("queues", &self.places.len()).finish()
    }
}
