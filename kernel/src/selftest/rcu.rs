//! Read-copy-update on harts that tick, switch, idle and stay where they are.

use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use rux_machine::{Hot, Hw, PreemptGuard};
use rux_mm::gfp::Gfp;
use rux_mm::rcu::{self, Head};
use rux_mm::slab::KBox;

use super::{MS, threads};
use crate::time;

const GOOD: u64 = 0x600d_600d;

#[repr(C)]
struct Thing {
    head: Head,
    state: AtomicU64,
}

static PLACE: AtomicPtr<Thing> = AtomicPtr::new(core::ptr::null_mut());
static END: AtomicU64 = AtomicU64::new(0);

/// Puts a new thing where readers find it; returns the one before.
fn publish() -> Option<NonNull<Thing>> {
    let new = KBox::new(Thing { head: Head::new(), state: AtomicU64::new(GOOD) }, Gfp::KERNEL);
    let new = KBox::into_raw(new.unwrap_or_else(|_| panic!("no memory for a test")));
    NonNull::new(PLACE.swap(new, Release))
}

/// Nobody finds it any more.
unsafe fn free(head: NonNull<Head>) {
    let thing = head.cast::<Thing>();
    // SAFETY: a thing whose grace period has passed.
    unsafe {
        thing.as_ref().state.store(0, Relaxed);
        drop(KBox::from_raw(thing.as_ptr()));
    }
}

pub(super) fn readers() {
    static READ: AtomicUsize = AtomicUsize::new(0);
    END.store(time::now() + 300 * MS, Relaxed);
    publish();
    threads(8, |index| {
        let mut round = 0;
        while time::now() < END.load(Relaxed) {
            round += 1;
            if index == 0 {
                if let Some(old) = publish() {
                    // SAFETY: no new reader finds it.
                    unsafe { rcu::call(old.cast(), free) };
                }
                continue;
            }
            let guard = rcu::read();
            // SAFETY: not freed while the guard lives.
            let thing = unsafe { &*PLACE.load(Acquire) };
            for _ in 0..(index * round) % 300 {
                assert_eq!(thing.state.load(Relaxed), GOOD, "freed under a reader");
                Hw::relax();
            }
            drop(guard);
            READ.fetch_add(1, Relaxed);
            if round % 50 == 0 {
                crate::sched::yield_now();
            }
        }
    });
    let last = NonNull::new(PLACE.swap(core::ptr::null_mut(), Release));
    if let Some(last) = last {
        // SAFETY: no new reader finds it.
        unsafe { rcu::call(last.cast(), free) };
    }
    rcu::barrier();
    assert!(READ.load(Relaxed) > 0);
}

/// One thread stays in the kernel without a switch, another with pre-emption off for a while; the period ends.
pub(super) fn periods() {
    END.store(time::now() + 200 * MS, Relaxed);
    threads(4, |index| {
        let busy_until = |end| {
            while time::now() < end {
                Hw::relax();
            }
        };
        match index {
            0 => busy_until(END.load(Relaxed)),
            1 => {
                let _guard = PreemptGuard::new();
                busy_until(time::now() + 30 * MS);
            }
            2 => rcu::synchronize(),
            _ => rcu::synchronize_expedited(),
        }
    });
    let start = time::now();
    (0..10).for_each(|_| rcu::synchronize_expedited());
    let quick = (time::now() - start) / 10;
    log::info!("selftest: an expedited grace period takes {} us", quick / 1000);
}
