//! The scheduler: who runs where, and when another does (Linux: `kernel/sched/core.c`).
//!
//! A thread that sleeps sets its state, looks at what it waits for, and calls [`schedule`]; who wakes it
//! takes the lock of the queue where it last ran, under which a thread also leaves that queue. So
//! a wake-up is never lost. No lock is held across a switch: `on_hart` says until when a thread's stack
//! and registers are still in use, and nobody but its own hart runs it before that.

mod dead;
mod idle;
mod kick;
mod load;
mod queue;
mod switch;

use core::ptr;
use core::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst};

use rux_machine::{HartMask, Hot, Hw, IrqGuard};
use rux_mm::error::AllocError;
use rux_mm::rcu;

pub(crate) use dead::{announce, settle};
#[cfg(debug_assertions)]
pub(crate) use idle::is_quiet;
pub(crate) use idle::run_idle;
pub(crate) use kick::Kicks;
pub use load::load;
use queue::Queued;
pub(crate) use queue::RunQueue;
pub(crate) use switch::{Context, kthread_start, user_start};

use crate::hart::{self, Hart};
use crate::task::{Policy, State, Task, current};
use crate::wait::Interrupted;
use crate::{fpu, time};

/// How long a thread runs before another that had less may, in nanoseconds.
pub const SLICE: u64 = 4_000_000;

/// Gives the hart to the next runnable thread, if there is one.
pub fn yield_now() {
    let task = current();
    let irqs = IrqGuard::new();
    let queue = &hart::hart(irqs.hart()).queue;
    if let Some(first) = queue.lock().first_key() {
        task.sched.runtime_weighted.fetch_max(first, Relaxed);
    }
    switch_away(true);
}

/// Sleeps, unless the running thread's state is [`State::Running`]. Called with interrupts on and nothing held.
pub(crate) fn schedule() {
    rux_mm::sync::might_sleep();
    let _irqs = IrqGuard::new();
    switch_away(false);
}

/// Lets another run if one should: [`rux_machine::cold::Cold::reschedule`], and the end of an interrupt.
pub(crate) fn preempt() {
    if Hw::irqs_on() {
        let _irqs = IrqGuard::new();
        switch_away(true);
    }
}

/// As [`preempt`], at the end of an interrupt: interrupts are off.
pub(crate) fn preempt_from_interrupt() {
    switch_away(true);
}

/// Whether somebody asked that this thread make room.
#[inline(always)]
pub(crate) fn need_resched() -> bool {
    Hw::thread().need_resched.load(Relaxed) != 0
}

/// Switches to the next thread. Interrupts are off, pre-emption is on. `keep`: the running thread stays runnable
/// whatever its state says, as it has not called [`schedule`] yet.
fn switch_away(keep: bool) {
    let hart = hart::this();
    let prev = current();
    prev.info().need_resched.store(0, Relaxed);
    rcu::quiescent();
    let now = time::now();
    account(hart, prev, now, prev.sched.in_user.load(Relaxed));
    let next = {
        let mut queue = hart.queue.lock();
        if !prev.sched.is_idle.load(Relaxed) {
            if keep || prev.state() == State::Running {
                queue.push(prev);
            } else {
                prev.sched.queued.store(false, Relaxed);
            }
        }
        // SAFETY: a thread that was queued is alive.
        let next = queue.pop().map_or(hart.idle(), |next| unsafe { next.as_ref() });
        // Under the lock, so that what `enqueue` reads is alive.
        hart.running.store(ptr::from_ref(next).cast_mut(), Relaxed);
        next
    };
    next.sched.started.store(now, Relaxed);
    set_tick(next, now);
    if ptr::eq(prev, next) {
        return;
    }
    hart.switches.store(hart.switches.load(Relaxed) + 1, Relaxed);
    prev.count_switch(keep);
    next.sched.on_hart.store(true, Relaxed);
    fpu::switch(prev, next);
    next.activate_space(hart);
    prev.check_stack();
    // SAFETY: interrupts are off; `prev` runs, `next` does not, and both are alive.
    let last = unsafe {
        switch::_switch(prev.as_ptr(), next.as_ptr(), prev.sched.context.get(), next.sched.context.get())
    };
    // SAFETY: what ran before, on the hart that this thread runs on now.
    unsafe { finish(last.cast()) };
}

/// Lets others have the thread that ran before; buries it if it is dead. Interrupts are off.
///
/// # Safety
/// `last` is the thread that this hart switched from.
unsafe fn finish(last: *const Task) {
    // SAFETY: a thread is alive until here, at least.
    let dead = unsafe {
        let dead = (*last).state() == State::Dead;
        (*last).sched.on_hart.store(false, Release);
        dead
    };
    if dead {
        // SAFETY: it is dead and off the hart: nobody will run it any more.
        unsafe { dead::bury(last) };
    }
}

/// The first thing that a new thread does. Interrupts are off.
///
/// # Safety
/// As [`finish`]: called by the entry code alone.
unsafe extern "C" fn start_finish(last: *const ()) {
    // SAFETY: passed on.
    unsafe { finish(last.cast()) };
}

/// The body of a kernel thread.
extern "C" fn run_kthread(arg: usize, body: *const ()) -> ! {
    // SAFETY: `Task::new_kernel` put a function of this type there.
    let body = unsafe { core::mem::transmute::<*const (), fn(usize)>(body) };
    Hw::irq_enable();
    body(arg);
    exit_current()
}

/// Adds the time since the last call to `task`'s and to the hart's.
fn account(hart: &Hart, task: &Task, now: u64, user: bool) {
    let ran = now.saturating_sub(task.sched.started.load(Relaxed));
    task.sched.started.store(now, Relaxed);
    let kind = if task.sched.is_idle.load(Relaxed) { 2 } else { usize::from(!user) };
    hart.times[kind].store(hart.times[kind].load(Relaxed) + ran, Relaxed);
    if kind < 2 {
        task.add_runtime(ran, user);
    }
}

/// While anything but the idle thread runs, a tick comes each slice.
fn set_tick(next: &Task, now: u64) {
    let wanted = !next.sched.is_idle.load(Relaxed);
    let set = time::tick() != u64::MAX;
    if wanted != set {
        time::set_tick(if wanted { now + SLICE } else { u64::MAX });
    }
}

/// The scheduler's tick, in the timer interrupt; `user`: it came from user mode.
pub(crate) fn tick(user: bool) {
    let (hart, task, now) = (hart::this(), current(), time::now());
    task.sched.in_user.store(user, Relaxed);
    account(hart, task, now, user);
    load::sample(now);
    if task.sched.is_idle.load(Relaxed) {
        return;
    }
    time::set_tick(now + SLICE);
    idle::kick_idle(hart.index());
    if now >= hart.trim.load(Relaxed) {
        hart.trim.store(now + time::SECOND, Relaxed);
        rux_mm::page_alloc::tick();
    }
    rcu::tick();
    let first = hart.queue.lock().first_key();
    if first.is_some_and(|first| first <= task.sched.runtime_weighted.load(Relaxed)) {
        task.info().need_resched.store(1, Relaxed);
    }
}

/// Wakes `task` if its state is in `states`; says whether it was. Any context.
pub(crate) fn wake(task: &Task, states: &[State]) -> bool {
    wake_into(task, states, &mut Kicks::new())
}

/// As [`wake`], for who holds locks: the harts that are to notice are told when `kicks` goes, which is after the locks.
pub(crate) fn wake_into(task: &Task, states: &[State], kicks: &mut Kicks) -> bool {
    // Pairs with the sleeper's store of its state before it looks at its condition.
    core::sync::atomic::fence(SeqCst);
    loop {
        let from = task.hart();
        let queue = &hart::hart(from).queue;
        let queued = queue.lock();
        if task.hart() != from {
            continue;
        }
        if !states.contains(&task.state()) {
            return false;
        }
        task.set_state(State::Running);
        if task.sched.queued.load(Relaxed) {
            // It has not left its hart yet, and will see its state.
            return true;
        }
        task.sched.queued.store(true, Relaxed);
        let to = if task.sched.on_hart.load(Acquire) { from } else { idle::choose(task, from) };
        let from_floor = queue.floor();
        if to == from {
            queued.place(task, from_floor);
            enqueue(queued, task, from, kicks);
        } else {
            task.info().set_hart(to);
            drop(queued);
            let queued = hart::hart(to).queue.lock();
            queued.place(task, from_floor);
            enqueue(queued, task, to, kicks);
        }
        return true;
    }
}

/// Queues `task` on `to`, whose lock is given, and sees to it that the hart notices.
fn enqueue(mut queued: rux_mm::sync::IrqSpinGuard<'_, Queued>, task: &Task, to: usize, kicks: &mut Kicks) {
    queued.push(task);
    let hart = hart::hart(to);
    // SAFETY: the lock keeps what runs there from leaving, and so from being freed.
    let running = unsafe { hart.running.load(Relaxed).as_ref() };
    let waking = task.sched.runtime_weighted.load(Relaxed);
    let Some(running) = running else { return };
    let may_preempt = task.policy() == Policy::Normal;
    if running.sched.is_idle.load(Relaxed)
        || may_preempt && running.policy() == Policy::Idle
        || may_preempt && Queued::preempts(waking, running.sched.runtime_weighted.load(Relaxed))
    {
        running.info().need_resched.store(1, Relaxed);
        kicks.add(to);
    }
}

/// Lets a new thread run. The scheduler keeps the reference that it is given until the thread is dead.
pub(crate) fn start(task: rux_mm::slab::KArc<Task>) {
    let mut kicks = Kicks::new();
    let irqs = IrqGuard::new();
    let from = irqs.hart();
    let level = current().sched.runtime_weighted.load(Relaxed).max(hart::hart(from).queue.floor());
    // The share that `dead::bury` gives back.
    // SAFETY: the pointer of an arc that is not given back is good.
    let task = unsafe { &*rux_mm::slab::KArc::into_raw(task) };
    task.sched.runtime_weighted.store(level, Relaxed);
    let to = idle::choose(task, from);
    task.info().set_hart(to);
    task.sched.queued.store(true, Relaxed);
    let queued = hart::hart(to).queue.lock();
    queued.place(task, level);
    enqueue(queued, task, to, &mut kicks);
}

/// Sleeps until `deadline` (see [`crate::time::now`]) or until a signal comes.
pub fn sleep_until(deadline: u64) -> Result<(), Interrupted> {
    use crate::wait::{WaitError, WaitQueue};
    match WaitQueue::new().wait_deadline(Some(deadline), || false) {
        Err(WaitError::Interrupted) => Err(Interrupted),
        Ok(()) | Err(WaitError::TimedOut) => Ok(()),
    }
}

/// Starts a kernel thread; it ends when `body` returns.
///
/// # Errors
/// No memory for it.
pub fn spawn_kthread(name: &str, body: fn(usize), arg: usize) -> Result<(), AllocError> {
    start(Task::new_kernel(name, body, arg)?);
    Ok(())
}

/// Ends the running thread; its stack goes at once, its task when nobody holds it any more. What a user thread
/// keeps beyond the core (files, space, parents) is given up before.
pub fn exit_current() -> ! {
    let task = current();
    task.drop_space();
    let _irqs = IrqGuard::new();
    task.set_state(State::Dead);
    switch_away(false);
    unreachable!("a dead thread runs")
}

/// Harts that may run `task`.
fn allowed(task: &Task) -> HartMask {
    let mask = task.affinity().and(hart::online());
    if mask.is_empty() { hart::online() } else { mask }
}
