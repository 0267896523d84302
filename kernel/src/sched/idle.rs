//! What a hart does without work, and who finds work for it (Linux: `kernel/sched/idle.c`).

use core::sync::atomic::Ordering::Acquire;

use arrayvec::ArrayVec;
use rux_machine::{AtomicHartMask, HartMask, Hot, HotExt, Hw};
use rux_mm::rcu;

use super::{allowed, need_resched, switch_away};
use crate::task::{Task, leave_space};
use crate::{hart, ipi};

/// How many threads of a queue are looked at for one that may be moved.
const CANDIDATES: usize = 4;

/// Harts that wait for work.
static IDLE: AtomicHartMask = AtomicHartMask::new();

/// The hart that `task`, which last ran on `last`, is to run on: that one if it is idle or no other is.
pub(super) fn choose(task: &Task, last: usize) -> usize {
    let allowed = allowed(task);
    let idle = IDLE.load().and(allowed);
    if allowed.contains(last) && (idle.is_empty() || idle.contains(last)) {
        return last;
    }
    idle.iter()
        .next()
        .or_else(|| allowed.iter().min_by_key(|&hart| hart::hart(hart).queue.waiting()))
        .unwrap_or(last)
}

/// At a busy hart's tick: if threads wait here, an idle hart is told to look for work (Linux: `kick_ilb`). One that
/// found nothing to move when it became idle looks again.
pub(super) fn kick_idle(here: usize) {
    if hart::hart(here).queue.waiting() != 0
        && let Some(idle) = IDLE.load().without(here).iter().next()
    {
        ipi::send_reschedule(HartMask::one(idle));
    }
}

/// The idle thread: runs what comes, takes from others, waits for interrupts. Interrupts are on.
pub(crate) fn run_idle() -> ! {
    loop {
        Hw::irq_disable();
        let index = Hw::hart();
        // Set before the queue is looked at: who queues after that sends an interrupt, and `wfi` sees it.
        IDLE.set(index);
        rcu::tick();
        if need_resched() || hart::this().queue.waiting() != 0 || steal() {
            IDLE.clear(index);
            switch_away(true);
        } else {
            leave_space(hart::this());
            rcu::go_idle();
            riscv::asm::wfi();
            rcu::leave_idle();
            IDLE.clear(index);
        }
        Hw::irq_enable();
    }
}

/// Whether no thread runs or waits to, on any hart, but the one that asks. Steady while the other harts are stopped.
#[cfg(debug_assertions)]
pub(crate) fn is_quiet() -> bool {
    let here = Hw::hart();
    let mut harts = hart::online().iter().map(|index| (index, hart::hart(index)));
    harts.all(|(index, hart)| hart.queue.waiting() == 0 && (index == here || hart.is_idle()))
}

/// Moves one thread from the hart where most wait to this one. Interrupts are off.
fn steal() -> bool {
    let here = Hw::hart();
    let busiest = hart::online()
        .without(here)
        .iter()
        .map(|index| (hart::hart(index).queue.waiting(), index))
        .max()
        .filter(|&(waiting, _)| waiting > 0);
    let Some((_, from)) = busiest else { return false };
    let queue = &hart::hart(from).queue;
    let mut queued = queue.lock();
    let mut passed_by: ArrayVec<&Task, CANDIDATES> = ArrayVec::new();
    let mut found = None;
    while !passed_by.is_full()
        && let Some(task) = queued.pop()
    {
        // SAFETY: a thread that was queued is alive.
        let task = unsafe { task.as_ref() };
        // One that is about to leave its hart still uses its stack.
        if !task.sched.on_hart.load(Acquire) && allowed(task).contains(here) {
            found = Some(task);
            break;
        }
        passed_by.push(task);
    }
    for task in passed_by {
        queued.push(task);
    }
    let Some(task) = found else { return false };
    let floor = queue.floor();
    task.info().set_hart(here);
    drop(queued);
    let mut queued = hart::this().queue.lock();
    queued.place(task, floor);
    queued.push(task);
    true
}
