//! Looking for pages while others take them out.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::Barrier;
use std::thread;

use super::*;
use crate::host::HostMachine;
use crate::inject::{Then, fail_after};
use crate::rcu;

const PAGE: u64 = PAGE_SIZE as u64;

fn file(pages: u64) -> KArc<Mapping> {
    Mapping::new_memory(pages * PAGE, None).unwrap()
}

/// Ends the readers' loops, also when the writer fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What is found without the lock is the file's, or was until a moment ago; never what another made of the frame.
#[test]
fn a_page_that_is_found_is_none_of_another_file() {
    const PAGES: u64 = 70;
    let machine = HostMachine::new(8 << 20, 4);
    let (one, other) = (file(PAGES), file(PAGES));
    let (done, found, now) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicU64::new(0));
    let start = Barrier::new(4);
    let this = MappingWord::File((&raw const *one).addr());
    let check = |folio: &Folio, index| {
        let mapping = folio.mapping();
        assert!(mapping == MappingWord::None || mapping == this, "{folio:?} as page {index}");
        assert_eq!(folio.index(), index);
    };
    thread::scope(|scope| {
        for hart in 1..4 {
            let (machine, one, done, found, now, start, check) =
                (&machine, &one, &done, &found, &now, &start, &check);
            scope.spawn(move || {
                machine.enter(hart);
                start.wait();
                let mut turn = 0;
                while !done.load(Relaxed) {
                    turn += 1;
                    let index = if turn % 2 == 0 { 0 } else { now.load(Relaxed) };
                    if let Some(folio) = one.find(index) {
                        check(&folio, index);
                        found.fetch_add(1, Relaxed);
                    }
                    one.for_each_uptodate(index, 16, |index, folio| check(&folio, index));
                }
            });
        }
        let _done = Done(&done);
        start.wait();
        let rounds = if cfg!(miri) { 4 } else { 30_000 };
        // Longer where the readers get no processor meanwhile.
        for round in (0..rounds * 100).take_while(|&round| round < rounds || found.load(Relaxed) == 0) {
            let page = round * 7 % PAGES;
            now.store(page, Relaxed);
            // Now a page of this file and now of the other, in the same few frames.
            one.write(page * PAGE, &[1]).unwrap();
            one.write(0, &[1]).unwrap();
            if round % 256 == 1 {
                thread::yield_now();
            }
            one.punch_hole(page * PAGE, (page + 1) * PAGE).unwrap();
            other.write((PAGES - 1 - page) * PAGE, &[2]).unwrap();
            one.punch_hole(0, PAGE).unwrap();
            other.punch_hole(0, PAGES * PAGE).unwrap();
            // Nodes wait for readers, who may be pre-empted; memory is small.
            if round % 256 == 0 {
                rcu::barrier();
            }
        }
    });
    assert!(found.load(Relaxed) > 0);
    assert_eq!((one.pages(), other.pages()), (0, 0));
}

/// Each allocation of a write fails once: the file has what it had, and its pages are counted right.
#[test]
fn a_write_without_memory_leaves_the_index_whole() {
    let _machine = HostMachine::new(8 << 20, 1);
    let quota = KArc::new(PageQuota::new(100), Gfp::KERNEL).unwrap();
    let file = Mapping::new_memory(0, Some(quota.clone())).unwrap();
    let mut failures = 0;
    for (count, page) in [0, 1, 63, 64, 5000, 1 << 18, 1 << 30].into_iter().enumerate() {
        let mut passed = 0;
        loop {
            let injection = fail_after(passed, Then::Fail);
            let done = file.write(page * PAGE, &[7]);
            let failed = injection.failed();
            drop(injection);
            file.index.lock().validate();
            assert_eq!(file.pages(), quota.used());
            if failed == 0 {
                assert_eq!((done, file.pages()), (Ok(1), count as u64 + 1));
                break;
            }
            assert_eq!((done, file.pages()), (Err(FileError::NoMemory), count as u64));
            passed += 1;
        }
        failures += passed;
    }
    assert!(failures > 10, "only {failures} failed");
    assert_eq!(file.index.lock().validate(), (7, 7));
    file.set_size(0).unwrap();
    assert!(file.index.is_empty() && quota.used() == 0);
}

/// What was only allocated goes again when there is no more space, but for what somebody has found meanwhile.
#[test]
fn an_allocation_in_vain_leaves_what_another_has() {
    let _machine = HostMachine::new(8 << 20, 1);
    let quota = KArc::new(PageQuota::new(3), Gfp::KERNEL).unwrap();
    let file = Mapping::new_memory(10 * PAGE, Some(quota.clone())).unwrap();
    file.allocate(0, PAGE).unwrap();
    let found = file.find(0).unwrap();
    file.remove_unused(0, &found.clone());
    assert_eq!(file.pages(), 1, "it has one more owner");
    assert_eq!(file.allocate(0, 4 * PAGE), Err(FileError::NoSpace));
    assert_eq!((file.pages(), quota.used()), (1, 1));
    file.remove_unused(0, &found);
    assert_eq!((file.pages(), quota.used(), found.refcount()), (0, 0, 1));
    assert_eq!(found.mapping(), MappingWord::None);
}
