//! The lock of a mapping: a reader that gets in has it beside no writer and sees all that the last one did; the
//! writer waits for readers and is woken; and once a mapping is detached nobody is in, or gets in.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::run;
use super::vma::{RawVmaLock, WriteTime};

struct Mapping {
    time: WriteTime,
    lock: RawVmaLock,
    /// Two words that a writer keeps equal, and which time it is.
    words: [UnsafeCell<u32>; 2],
    reads: AtomicU32,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Mapping {}
// SAFETY: as above.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new() -> Arc<Self> {
        let (time, lock) = (WriteTime::default(), RawVmaLock::default());
        lock.lock_new(&time);
        time.end();
        let words = [UnsafeCell::new(0), UnsafeCell::new(0)];
        Arc::new(Self { time, lock, words, reads: AtomicU32::new(0) })
    }
}

fn read(mapping: &Mapping) {
    if mapping.lock.try_read(&mapping.time) {
        // SAFETY: loom says if not.
        let [a, b] = [0, 1].map(|at: usize| mapping.words[at].with(|word| unsafe { *word }));
        assert_eq!(a, b);
        mapping.reads.fetch_add(1, Relaxed);
        mapping.lock.unlock_read();
    }
}

fn write(mapping: &Mapping) {
    mapping.lock.write(&mapping.time);
    // Again in the same time: nothing.
    mapping.lock.write(&mapping.time);
    for word in &mapping.words {
        // SAFETY: loom says if not.
        word.with_mut(|word| unsafe { *word += 1 });
    }
    mapping.time.end();
}

fn write_twice(mapping: &Mapping) {
    write(mapping);
    write(mapping);
}

/// Whoever comes now gets in.
fn is_free(mapping: &Mapping) {
    let before = mapping.reads.load(Relaxed);
    read(mapping);
    assert_eq!(mapping.reads.load(Relaxed), before + 1);
}

#[test]
fn a_reader_and_the_writer() {
    run(Mapping::new, &[read, write_twice], is_free);
}

#[test]
fn two_readers_and_the_writer() {
    run(Mapping::new, &[read, read, write], is_free);
}

#[test]
fn a_reader_that_comes_again() {
    fn read_twice(mapping: &Mapping) {
        read(mapping);
        read(mapping);
    }
    run(Mapping::new, &[read_twice, write], is_free);
}

/// What the writer does to a mapping that goes: it is dropped while readers may still try its lock.
fn take_out(mapping: &Mapping) {
    mapping.lock.detach();
    for word in &mapping.words {
        // SAFETY: loom says if not.
        word.with_mut(|word| unsafe { *word += 1 });
    }
    mapping.time.end();
    // The drop, without `mmap_lock`: readers would see one word changed.
    // SAFETY: as above.
    mapping.words[0].with_mut(|word| unsafe { *word += 1 });
}

/// Nobody gets in, and nobody is in.
fn is_gone(mapping: &Mapping) {
    assert!(mapping.lock.is_detached() && !mapping.lock.has_readers());
    assert!(!mapping.lock.try_read(&mapping.time));
}

#[test]
fn two_readers_and_a_mapping_that_goes() {
    run(Mapping::new, &[read, read, take_out], is_gone);
}

#[test]
fn a_mapping_that_is_changed_and_goes() {
    fn change_and_take_out(mapping: &Mapping) {
        mapping.lock.write(&mapping.time);
        for word in &mapping.words {
            // SAFETY: loom says if not.
            word.with_mut(|word| unsafe { *word += 1 });
        }
        take_out(mapping);
    }
    fn read_twice(mapping: &Mapping) {
        read(mapping);
        read(mapping);
    }
    run(Mapping::new, &[read_twice, change_and_take_out], is_gone);
}
