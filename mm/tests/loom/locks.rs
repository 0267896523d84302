//! The sleeping locks: nobody is let in beside a writer, nobody sleeps on for ever, and who is killed while it waits
//! leaves no trace.

use loom::cell::UnsafeCell;
use loom::sync::Arc;

use super::{raw, run, shim};

/// A lock and what it guards; loom reports two accesses at once.
struct Guarded<L> {
    lock: L,
    value: UnsafeCell<u32>,
}

impl<L: Default> Guarded<L> {
    fn new() -> Arc<Self> {
        Arc::new(Self { lock: L::default(), value: UnsafeCell::new(0) })
    }

    fn get(&self) -> u32 {
        // SAFETY: the lock is held; loom checks.
        self.value.with(|value| unsafe { *value })
    }

    fn add(&self) {
        // SAFETY: the lock is held; loom checks.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }
}

// SAFETY: loom checks the accesses.
unsafe impl<L> Sync for Guarded<L> {}
// SAFETY: as above.
unsafe impl<L> Send for Guarded<L> {}

/// Runs the bodies at the same time on one lock, and then looks at it.
fn model<L: Default + 'static>(bodies: &'static [fn(&Guarded<L>)], check: fn(&Guarded<L>)) {
    run(Guarded::new, bodies, check);
}

type Mutex = Guarded<raw::RawMutex>;
type RwSem = Guarded<raw::RawRwSem>;

fn mutex_add(mutex: &Mutex) {
    mutex.lock.lock();
    mutex.add();
    mutex.lock.unlock();
}

fn mutex_add_killed(mutex: &Mutex) {
    shim::KILLED.set(true);
    if mutex.lock.lock_killable() {
        mutex.add();
        mutex.lock.unlock();
    }
    shim::KILLED.set(false);
}

fn read(sem: &RwSem) {
    sem.lock.read();
    sem.get();
    sem.lock.unlock_read();
}

fn read_killed(sem: &RwSem) {
    shim::KILLED.set(true);
    if sem.lock.read_killable() {
        sem.get();
        sem.lock.unlock_read();
    }
    shim::KILLED.set(false);
}

fn write(sem: &RwSem) {
    sem.lock.write();
    sem.add();
    sem.lock.unlock_write();
}

fn write_killed(sem: &RwSem) {
    shim::KILLED.set(true);
    if sem.lock.write_killable() {
        sem.add();
        sem.lock.unlock_write();
    }
    shim::KILLED.set(false);
}

fn write_downgrade(sem: &RwSem) {
    sem.lock.write();
    sem.add();
    sem.lock.downgrade();
    sem.get();
    sem.lock.unlock_read();
}

fn is_free(sem: &RwSem) {
    assert!(sem.lock.try_write(), "{:?}", sem.lock);
}

#[test]
fn mutex() {
    model::<raw::RawMutex>(&[mutex_add, mutex_add, mutex_add], |mutex| assert_eq!(mutex.get(), 3));
}

#[test]
fn mutex_with_one_killed() {
    model::<raw::RawMutex>(&[mutex_add_killed, mutex_add, mutex_add], |mutex| assert!(mutex.lock.try_lock()));
}

#[test]
fn rwsem_two_writers_and_a_reader() {
    model::<raw::RawRwSem>(&[write, write, read], is_free);
}

#[test]
fn rwsem_two_readers_and_a_writer() {
    model::<raw::RawRwSem>(&[read, write, read], is_free);
}

#[test]
fn rwsem_downgrade() {
    model::<raw::RawRwSem>(&[write_downgrade, read, write], is_free);
}

#[test]
fn rwsem_with_a_reader_killed() {
    model::<raw::RawRwSem>(&[read_killed, write, write], is_free);
    model::<raw::RawRwSem>(&[read_killed, write, read], is_free);
}

#[test]
fn rwsem_with_a_writer_killed() {
    model::<raw::RawRwSem>(&[write_killed, read, read], is_free);
    model::<raw::RawRwSem>(&[write_killed, write, read], is_free);
}
