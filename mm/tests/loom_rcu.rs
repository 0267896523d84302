//! Grace periods: nothing is freed under a reader, whether its hart passes, goes away or comes back; and no call is
//! lost. See `loom_maple.rs` for how it is run.

#![cfg(loom)]
#![allow(dead_code, unreachable_pub)]

use core::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use loom::thread;

#[path = "../src/rcu/grace.rs"]
mod grace;

mod shim {
    pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
}

use grace::{Calls, Head, Passed, Periods};

/// What readers find by `place`. loom tells when one looks at it while, or after, its owner frees it.
struct Machine {
    periods: Periods,
    harts: [Passed; 2],
    things: [UnsafeCell<bool>; 2],
    place: AtomicUsize,
}

impl Machine {
    fn new() -> Self {
        Self {
            periods: Periods::new(AtomicU64::new(0)),
            harts: [(); 2].map(|()| Passed::new(AtomicU64::new(0))),
            things: [UnsafeCell::new(true), UnsafeCell::new(true)],
            place: AtomicUsize::new(0),
        }
    }

    /// A look at what is there now.
    fn look(&self) {
        let at = self.place.load(Acquire);
        // SAFETY: loom says if not.
        self.things[at].with(|thing| assert!(unsafe { *thing }, "freed under a reader"));
    }

    /// Puts the other thing there, waits until both harts have passed, and frees the first.
    fn replace(&self) {
        self.place.store(1, Release);
        let number = self.periods.start();
        while !self.harts.iter().all(|hart| hart.is_past(number)) {
            thread::yield_now();
        }
        // SAFETY: loom says if not.
        self.things[0].with_mut(|thing| unsafe { *thing = false });
    }
}

fn model(readers: &'static [fn(&Machine, &Passed)]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let machine = Arc::new(Machine::new());
        for hart in &machine.harts[..readers.len()] {
            hart.come_back(&machine.periods);
        }
        let threads: Vec<_> = readers
            .iter()
            .enumerate()
            .map(|(index, body)| {
                let machine = machine.clone();
                thread::spawn(move || {
                    body(&machine, &machine.harts[index]);
                    machine.harts[index].go_away();
                })
            })
            .collect();
        machine.replace();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn looks_and_passes(machine: &Machine, hart: &Passed) {
    machine.look();
    hart.pass(&machine.periods);
    machine.look();
}

fn comes_back(machine: &Machine, hart: &Passed) {
    machine.look();
    hart.go_away();
    hart.come_back(&machine.periods);
    machine.look();
}

#[test]
fn a_reader_that_passes() {
    model(&[looks_and_passes]);
}

#[test]
fn a_reader_that_was_away() {
    model(&[comes_back]);
}

#[test]
fn a_reader_that_passes_and_one_that_was_away() {
    model(&[looks_and_passes, comes_back]);
}

/// A head, and what its owner did before the call.
#[repr(C)]
struct Called {
    head: core::cell::UnsafeCell<Head>,
    ready: UnsafeCell<bool>,
    count: AtomicUsize,
}

#[test]
fn every_call_is_made_once() {
    unsafe fn then(head: NonNull<Head>) {
        // SAFETY: the head is the first of a `Called`, which lives as long as the model.
        let called = unsafe { head.cast::<Called>().as_ref() };
        // SAFETY: loom says if the owner is still at it.
        called.ready.with(|ready| assert!(unsafe { *ready }));
        called.count.fetch_add(1, Relaxed);
    }

    loom::model(|| {
        let calls = Arc::new(Calls::new(AtomicPtr::new(core::ptr::null_mut())));
        let called: Arc<[Called; 3]> = Arc::new([(); 3].map(|()| Called {
            head: core::cell::UnsafeCell::new(Head::new()),
            ready: UnsafeCell::new(false),
            count: AtomicUsize::new(0),
        }));
        let push = |calls: &Calls, called: &Called| {
            // SAFETY: not pushed yet, so nobody else looks.
            called.ready.with_mut(|ready| unsafe { *ready = true });
            let head = NonNull::from(called).cast::<Head>();
            // SAFETY: lives as long as the model, and is pushed once.
            unsafe { calls.push(head, then) };
        };
        let pushers: Vec<_> = (0..2)
            .map(|index| {
                let (calls, called) = (calls.clone(), called.clone());
                thread::spawn(move || push(&calls, &called[index]))
            })
            .collect();
        let mut count = calls.take().run();
        push(&calls, &called[2]);
        pushers.into_iter().for_each(|thread| thread.join().unwrap());
        let mut rest = calls.take();
        rest.append(calls.take());
        count += rest.run();
        assert!(calls.is_empty() && count == 3);
        assert!(called.iter().all(|called| called.count.load(Relaxed) == 1));
    });
}
