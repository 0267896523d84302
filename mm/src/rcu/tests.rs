use core::ptr::NonNull;
use std::sync::Barrier;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::*;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::page_alloc::{drain_pcp, free_pages_count};
use crate::slab::{self, KBox};

const GOOD: usize = 0x600d;
const GONE: usize = 0xdead;

/// Something that readers find through a pointer.
#[repr(C)]
struct Thing {
    head: Head,
    state: AtomicUsize,
}

impl Thing {
    fn new() -> NonNull<Self> {
        let thing = KBox::new(Self { head: Head::new(), state: AtomicUsize::new(GOOD) }, Gfp::KERNEL);
        NonNull::new(KBox::into_raw(thing.unwrap())).unwrap()
    }

    /// Frees it when no reader has it.
    ///
    /// # Safety
    /// It is nobody's, and no reader finds it any more.
    unsafe fn retire(this: NonNull<Self>) {
        // SAFETY: as the caller vouches; the head comes first.
        unsafe { call(this.cast(), Self::free) }
    }

    unsafe fn free(head: NonNull<Head>) {
        let this = head.cast::<Self>();
        // SAFETY: a thing that nobody finds any more, as `retire` was told.
        unsafe {
            this.as_ref().state.store(GONE, Relaxed);
            drop(KBox::from_raw(this.as_ptr()));
        }
    }
}

/// How often a loop runs: less where every step is interpreted.
fn rounds(natively: usize) -> usize {
    if cfg!(miri) { natively / 500 } else { natively }
}

#[test]
fn what_a_reader_has_stays() {
    let machine = HostMachine::new(4 << 20, 2);
    let thing = Thing::new();
    // SAFETY: freed at the end, not before.
    let state = || unsafe { (&raw const (*thing.as_ptr()).state).read().into_inner() };
    let (holds, retired) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            machine.enter(1);
            let outer = read();
            drop(read());
            holds.wait();
            retired.wait();
            drop(outer);
        });
        holds.wait();
        // SAFETY: nobody finds it any more.
        unsafe { Thing::retire(thing) };
        for _ in 0..100 {
            memory().rcu.poll();
        }
        assert_eq!(state(), GOOD);
        retired.wait();
        barrier();
        assert_eq!(memory().rcu.holdouts(u64::MAX), HartMask::EMPTY);
    });
}

#[test]
fn readers_find_nothing_that_is_gone() {
    const READERS: usize = 4;
    let machine = HostMachine::new(8 << 20, READERS + 1);
    slab::drain();
    drain_pcp();
    let before = free_pages_count();
    let place = AtomicPtr::new(Thing::new().as_ptr());
    let (found, end) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 1..=READERS {
            let (machine, place, found, end) = (&machine, &place, &found, &end);
            scope.spawn(move || {
                machine.enter(reader);
                while !end.load(Relaxed) {
                    let _guard = read();
                    // SAFETY: not freed before the guard goes.
                    let thing = unsafe { &*place.load(Acquire) };
                    for _ in 0..10 {
                        assert_eq!(thing.state.load(Relaxed), GOOD);
                        std::hint::spin_loop();
                    }
                    found.fetch_add(1, Relaxed);
                }
            });
        }
        while found.load(Relaxed) == 0 {
            std::thread::yield_now();
        }
        for round in 0..rounds(6_000) {
            let old = NonNull::new(place.swap(Thing::new().as_ptr(), Release)).unwrap();
            if round % 256 == 0 {
                synchronize();
                // SAFETY: no reader finds it, and those that did are done.
                unsafe { Thing::free(old.cast()) };
            } else {
                // SAFETY: no new reader finds it.
                unsafe { Thing::retire(old) };
            }
        }
        end.store(true, Relaxed);
    });
    // SAFETY: nobody is left who could find it.
    unsafe { Thing::retire(NonNull::new(place.into_inner()).unwrap()) };
    barrier();
    for hart in 0..=READERS {
        machine.enter(hart);
        slab::drain();
        drain_pcp();
    }
    machine.enter(0);
    drain_pcp();
    assert_eq!(free_pages_count(), before);
}

#[test]
fn a_barrier_waits_for_the_calls_of_all_harts() {
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    let machine = HostMachine::new(4 << 20, 3);
    let mut heads = [const { Head::new() }; 6];
    let outer = read();
    for (index, head) in heads.iter_mut().enumerate() {
        machine.enter(index % 3);
        // SAFETY: the heads live until the barrier is done.
        unsafe {
            call(NonNull::from(head), |_| {
                CALLED.fetch_add(1, Relaxed);
            });
        }
    }
    assert_eq!(CALLED.load(Relaxed), 0);
    machine.enter(0);
    drop(outer);
    barrier();
    assert_eq!(CALLED.load(Relaxed), 6);
    synchronize_expedited();
}

#[test]
fn a_barrier_waits_for_a_call_that_takes_its_time() {
    static CALLED: AtomicUsize = AtomicUsize::new(0);
    /// Of the slow head: called, and let go.
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static RELEASED: AtomicBool = AtomicBool::new(false);
    let machine = HostMachine::new(4 << 20, 3);
    let (mut slow, mut quick) = (Head::new(), [const { Head::new() }; 8]);
    let back = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let slow = &mut slow;
        scope.spawn(|| {
            machine.enter(1);
            // SAFETY: it lives until all threads have ended.
            unsafe {
                call(NonNull::from(slow), |_| {
                    ENTERED.store(true, Release);
                    while !RELEASED.load(Acquire) {
                        std::thread::yield_now();
                    }
                    CALLED.fetch_add(0x100, Relaxed);
                });
            }
        });
        while !ENTERED.load(Acquire) {
            std::thread::yield_now();
        }
        scope.spawn(|| {
            machine.enter(2);
            barrier();
            assert_ne!(CALLED.load(Relaxed) & 0x100, 0, "a barrier that came before the call was done");
            back.store(true, Release);
        });
        // Batches after the slow one would be counted in its stead.
        for head in &mut quick {
            // SAFETY: as above.
            unsafe { call(NonNull::from(head), |_| _ = CALLED.fetch_add(1, Relaxed)) };
            for _ in 0..rounds(1000) {
                std::thread::yield_now();
            }
        }
        assert!(!back.load(Acquire), "a barrier that came before the call was done");
        RELEASED.store(true, Release);
    });
    barrier();
    assert_eq!(CALLED.load(Relaxed), 0x108);
}
