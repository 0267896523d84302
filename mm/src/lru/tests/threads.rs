//! Harts that add, use, lock and free at once, each other's pages too.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::page_alloc::put_all;

const HARTS: usize = 4;

/// Every thread adds pages, passes them on, and frees, uses and locks what it was passed; others empty all batches
/// meanwhile. In the end everything is free and every counter 0.
#[test]
fn pages_are_added_here_and_freed_there() {
    let machine = HostMachine::new(RAM, HARTS);
    let before = free_pages_count();
    let rounds = if cfg!(miri) { 60 } else { 20_000 };
    let passed: [Mutex<Vec<FolioRef>>; HARTS] = Default::default();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for hart in 0..HARTS {
            let (machine, passed, done) = (&machine, &passed, &done);
            scope.spawn(move || {
                machine.enter(hart);
                for round in 0..rounds {
                    let folio = if round % 3 == 0 { file() } else { anon() };
                    add(&folio);
                    if round % 7 == 0 {
                        mark_accessed(&folio);
                        mark_accessed(&folio);
                    }
                    let mut next = passed[(hart + round) % HARTS].lock().unwrap();
                    // One that does not run takes none.
                    if next.len() < 50 {
                        next.push(folio);
                    }
                    drop(next);
                    if round % 64 == 63 {
                        drain_all();
                    }
                    if round % 5 == 0 {
                        let mut mine = std::mem::take(&mut *passed[hart].lock().unwrap());
                        for (at, folio) in mine.iter().enumerate() {
                            match (round + at) % 6 {
                                0 => mlock(folio),
                                1 => activate(folio),
                                2 => mark_accessed(folio),
                                3 => {
                                    mlock(folio);
                                    munlock(folio);
                                }
                                _ => {}
                            }
                        }
                        if round % 10 == 0 {
                            let many: Vec<_> = mine.drain(..).map(core::mem::MaybeUninit::new).collect();
                            // SAFETY: the references are the vector's, which drops none.
                            unsafe { put_all(&many) };
                        }
                    }
                }
                done.fetch_add(1, Ordering::Release);
                while done.load(Ordering::Acquire) < HARTS {
                    std::thread::yield_now();
                }
                passed[hart].lock().unwrap().clear();
            });
        }
    });
    assert_eq!((all_pages(), stat::read(Item::Mlock)), ([0; 5], 0));
    assert_eq!(free_pages_count(), before);
    check();
}
