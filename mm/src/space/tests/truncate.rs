//! Truncation while others fault and fork: what a private mapping copied beyond the new end goes, too.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Barrier;

use super::*;

/// More than the file has below, so that it is a while until all are copied.
const PAGES: u64 = 32;

/// Cuts a file of [`PAGES`] off at the start while hart 1 does `other` in a space with a private mapping of it,
/// `rounds` times; `other` may return another space. No page of the file may be left in any.
fn truncate_against(
    rounds: usize,
    written_before: bool,
    other: impl Fn(&KArc<Space>, VirtAddr) -> Option<KArc<Space>> + Sync,
) {
    let machine = HostMachine::new(32 << 20, 2);
    let (mapping, file) = new_file(&[], true);
    let (start, end) = (Barrier::new(2), Barrier::new(2));
    let began = AtomicUsize::new(0);
    // A child gets the memory of this one, at a lower address than its parent.
    let before = new_space();
    let space = new_space();
    drop(before);
    let addr = map_file(&space, &file, 0, PAGES, RW, abi::MAP_PRIVATE, 0).unwrap();
    let left = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            machine.enter(1);
            let mut left = 0;
            for round in 1..=rounds {
                start.wait();
                began.store(round, SeqCst);
                let made = other(&space, addr);
                end.wait();
                left += space.stat().rss.total() + made.map_or(0, |made| made.stat().rss.total());
                end.wait();
            }
            left
        });
        for round in 1..=rounds {
            mapping.set_size(PAGES * PAGE).unwrap();
            for page in 0..PAGES {
                mapping.write(page * PAGE, &[1]).unwrap();
                if written_before {
                    store(&space, addr + page * PAGE, 2).unwrap();
                }
            }
            start.wait();
            while began.load(SeqCst) < round {
                core::hint::spin_loop();
            }
            // At another moment each time.
            for _ in 0..round % 64 * 4 {
                core::hint::spin_loop();
            }
            mapping.set_size(0).unwrap();
            end.wait();
            // Both sides are looked at.
            end.wait();
        }
        other.join().unwrap()
    });
    assert_eq!(left, 0, "pages beyond the end of the file");
    space.validate();
}

#[test]
fn a_copy_that_a_fault_makes_meanwhile() {
    truncate_against(if cfg!(miri) { 5 } else { 4000 }, false, |space, addr| {
        for page in 0..PAGES {
            let _ = store(space, addr + page * PAGE, 3);
        }
        None
    });
}

#[test]
fn a_copy_that_a_fork_hands_on_meanwhile() {
    truncate_against(if cfg!(miri) { 5 } else { 4000 }, true, |space, _| Some(space.fork().unwrap()));
}
