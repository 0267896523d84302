//! The lock-free parts under loom, which tries all interleavings that the memory model allows:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p rux-mm --test loom --release --target-dir target/loom
//! ```
//!
//! The files under test are the very ones that the kernel compiles; only what they stand on is loom's.

#![cfg(loom)]
#![allow(dead_code)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

#[path = "../src/slab/freelist.rs"]
mod freelist;
#[path = "../src/sync/raw.rs"]
mod raw;
#[path = "../src/pcp/seat.rs"]
mod seat;
#[path = "../src/slab/sheaf.rs"]
mod sheaf;

mod shim {
    pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
    use loom::sync::{Arc, Mutex, atomic::AtomicBool};
    use loom::thread::{self, Thread};
    use std::cell::Cell;

    pub(super) const SPINS: u32 = 0;

    pub(super) use loom::sync::MutexGuard;
    pub(super) type QueueGuard<'a> = MutexGuard<'a, ()>;

    /// What guards the queue of a sleeping lock.
    #[derive(Default, Debug)]
    pub(super) struct QueueLock(Mutex<()>);

    impl QueueLock {
        pub(super) fn lock(&self) -> QueueGuard<'_> {
            self.0.lock().unwrap()
        }
    }

    type Sleepers = Mutex<Vec<(usize, Thread, Arc<AtomicBool>)>>;

    loom::lazy_static! {
        /// Who sleeps where, in the order of coming: the contract of `cold::park`.
        static ref SLEEPERS: Sleepers = Mutex::new(Vec::new());
    }

    thread_local! {
        /// Whether the running thread has a fatal signal.
        pub(super) static KILLED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn fatal_signal() -> bool {
        KILLED.get()
    }

    pub(super) fn relax() {
        thread::yield_now();
    }

    pub(super) fn park(word: &AtomicU32, expected: u32) {
        let woken = Arc::new(AtomicBool::new(false));
        {
            let mut sleepers = SLEEPERS.lock().unwrap();
            if word.load(Ordering::Relaxed) != expected {
                return;
            }
            sleepers.push((core::ptr::from_ref(word).addr(), thread::current(), woken.clone()));
        }
        while !woken.load(Ordering::Acquire) {
            thread::park();
        }
    }

    pub(super) fn unpark(word: &AtomicU32, count: u32) {
        let mut sleepers = SLEEPERS.lock().unwrap();
        for _ in 0..count {
            let addr = core::ptr::from_ref(word).addr();
            let Some(at) = sleepers.iter().position(|sleeper| sleeper.0 == addr) else { return };
            let (_, thread, woken) = sleepers.remove(at);
            woken.store(true, Ordering::Release);
            thread.unpark();
        }
    }
}

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

/// Runs the bodies as threads of a model, the last one on the model's own, under a bound on forced
/// switches that keeps the time in minutes.
fn model<L: Default + 'static>(bodies: &'static [fn(&Guarded<L>)], check: fn(&Guarded<L>)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(move || {
        let shared = Guarded::<L>::new();
        let (last, others) = bodies.split_last().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|body| {
                let shared = shared.clone();
                thread::spawn(move || body(&shared))
            })
            .collect();
        last(&shared);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        check(&shared);
    });
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

/// A slab of four objects, and the lock of its cache's list.
struct Slab {
    word: shim::AtomicU64,
    next: [UnsafeCell<u16>; 4],
    /// How often the slab was put on the list, less how often it was taken off.
    list: loom::sync::Mutex<i32>,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Slab {}
// SAFETY: as above.
unsafe impl Send for Slab {}

impl freelist::Links for Slab {
    fn next(&self, object: u16) -> u16 {
        // SAFETY: loom checks.
        self.next[object as usize - 1].with(|next| unsafe { *next })
    }

    fn set_next(&self, object: u16, next: u16) {
        // SAFETY: loom checks.
        self.next[object as usize - 1].with_mut(|at| unsafe { *at = next });
    }

    fn nth(&self, index: u16) -> u16 {
        index + 1
    }
}

impl Slab {
    fn take(&self, most: u16) -> Vec<u16> {
        let mut list = self.list.lock().unwrap();
        if *list == 0 {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let after = freelist::take(&self.word, self, most, |object| taken.push(object));
        if after.is_full() {
            *list -= 1;
        }
        // An object belongs to who took it: writes to it race with nobody.
        taken.iter().for_each(|object| freelist::Links::set_next(self, *object, 0));
        taken
    }

    fn give(&self, objects: &[u16]) {
        for object in objects {
            let pushed =
                freelist::push(&self.word, self, (*object, *object, 1), || self.list.lock().unwrap());
            if let Some(mut list) = pushed.lock
                && pushed.before.is_full()
            {
                *list += 1;
            }
        }
    }
}

#[test]
fn objects_come_back_from_other_harts() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let word = freelist::SlabWord::new().with_objects(4);
        let slab = Arc::new(Slab {
            word: shim::AtomicU64::new(word.into_bits()),
            next: core::array::from_fn(|_| UnsafeCell::new(0)),
            list: loom::sync::Mutex::new(1),
        });
        // All taken, so that the slab goes onto the list and off it.
        let all = slab.take(4);
        assert_eq!(all.len(), 4);
        let threads: Vec<_> = all
            .chunks(2)
            .map(|mine| {
                let (slab, mine) = (slab.clone(), mine.to_vec());
                thread::spawn(move || slab.give(&mine))
            })
            .collect();
        let taken = slab.take(2);
        slab.give(&taken);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let word = freelist::SlabWord::from_bits(slab.word.load(shim::Ordering::Relaxed));
        assert!(word.is_empty());
        assert_eq!(*slab.list.lock().unwrap(), 1);
        let mut all = slab.take(4);
        all.sort();
        assert_eq!(all, [1, 2, 3, 4]);
    });
}

/// A hart's lists, as a number of pages that only who may touch them touches, and the zone.
struct Hart {
    seat: seat::Seat,
    pages: UnsafeCell<u32>,
    zone: loom::sync::atomic::AtomicU32,
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Hart {}
// SAFETY: as above.
unsafe impl Send for Hart {}

impl Hart {
    fn new() -> Arc<Self> {
        let hart = Self {
            seat: seat::Seat::new(shim::AtomicU32::new(0)),
            pages: UnsafeCell::new(0),
            zone: loom::sync::atomic::AtomicU32::new(0),
        };
        Arc::new(hart)
    }

    fn free_one(&self) {
        // SAFETY: the hart is there; loom checks.
        self.pages.with_mut(|pages| unsafe { *pages += 1 });
    }

    fn drain(&self) {
        // SAFETY: the hart's own doing or in its place; loom checks.
        let pages = self.pages.with_mut(|pages| unsafe { core::mem::take(&mut *pages) });
        self.zone.fetch_add(pages, shim::Ordering::Relaxed);
    }

    /// As `drain_all` does it. Says whether the request is served; then all that was in the lists is in the zone. A
    /// look, no wait: loom does not give a spinning thread's others the processor fast enough.
    fn ask(&self) -> bool {
        match self.seat.ask(|| self.drain()) {
            seat::Asked::Done => true,
            seat::Asked::Hart => !self.seat.is_wanted(),
            seat::Asked::Other => false,
        }
    }

    /// As a hart goes away.
    fn go(&self) {
        self.drain();
        self.seat.leave();
    }
}

fn hart_model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(body);
}

#[test]
fn a_hart_drains_when_it_is_asked() {
    hart_model(|| {
        let hart = Hart::new();
        hart.seat.arrive();
        hart.free_one();
        hart.free_one();
        let other = hart.clone();
        let asks = thread::spawn(move || {
            if other.ask() {
                assert!(other.zone.load(shim::Ordering::Relaxed) >= 2);
            }
        });
        hart.free_one();
        hart.seat.serve(|| hart.drain());
        hart.free_one();
        hart.go();
        asks.join().unwrap();
        assert!(hart.ask());
        assert_eq!(hart.zone.load(shim::Ordering::Relaxed), 4);
    });
}

#[test]
fn a_hart_that_comes_back_waits_for_who_drains() {
    hart_model(|| {
        let hart = Hart::new();
        hart.seat.arrive();
        hart.free_one();
        hart.seat.leave();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let hart = hart.clone();
                thread::spawn(move || hart.ask())
            })
            .collect();
        hart.seat.arrive();
        hart.free_one();
        hart.seat.serve(|| hart.drain());
        hart.free_one();
        hart.seat.leave();
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        // It went with its pages.
        assert!(hart.ask());
        assert_eq!(hart.zone.load(shim::Ordering::Relaxed), 3);
    });
}

#[test]
fn who_asks_a_hart_that_was_never_there_finds_nothing() {
    hart_model(|| {
        let hart = Hart::new();
        let other = hart.clone();
        let asks = thread::spawn(move || other.ask());
        hart.seat.arrive();
        hart.free_one();
        hart.drain();
        hart.seat.leave();
        asks.join().unwrap();
        assert_eq!(hart.zone.load(shim::Ordering::Relaxed), 1);
    });
}

/// A cache as two harts have it: a slab, and a sheaf of the first hart. What runs on that hart runs with
/// interrupts off, so in turn: its threads, and the drain that another hart asks for by an interrupt.
struct Cache {
    slab: Slab,
    sheaf: sheaf::Sheaf,
    /// Who holds it runs on the first hart, interrupts off.
    hart: loom::sync::Mutex<()>,
    /// The objects' bytes: an object belongs to one at a time, so nobody else touches them.
    bytes: [UnsafeCell<u32>; 4],
}

// SAFETY: loom checks the accesses.
unsafe impl Sync for Cache {}
// SAFETY: as above.
unsafe impl Send for Cache {}

fn pointer(object: u16) -> core::ptr::NonNull<u8> {
    core::ptr::NonNull::without_provenance(core::num::NonZero::new(object as usize * 8).unwrap())
}

fn object(pointer: *mut u8) -> u16 {
    (pointer.addr() / 8) as u16
}

impl Cache {
    fn new() -> Arc<Self> {
        let word = freelist::SlabWord::new().with_objects(4);
        let cache = Self {
            slab: Slab {
                word: shim::AtomicU64::new(word.into_bits()),
                next: core::array::from_fn(|_| UnsafeCell::new(0)),
                list: loom::sync::Mutex::new(1),
            },
            sheaf: sheaf::Sheaf::new(),
            hart: loom::sync::Mutex::new(()),
            bytes: core::array::from_fn(|_| UnsafeCell::new(0)),
        };
        let cache = Arc::new(cache);
        cache.sheaf.reset();
        cache.sheaf.start(2);
        cache
    }

    /// As `KmemCache::alloc_slow` and what is before it, on the first hart.
    fn alloc(&self) -> Option<u16> {
        let popped = {
            let _irqs_off = self.hart.lock().unwrap();
            self.sheaf.pop()
        };
        if let Some(popped) = popped {
            return Some(object(popped.as_ptr()));
        }
        let taken = self.slab.take(2);
        let (first, rest) = taken.split_first()?;
        let mut left = rest;
        {
            let _irqs_off = self.hart.lock().unwrap();
            while let [next, rest @ ..] = left
                && self.sheaf.push(pointer(*next))
            {
                left = rest;
            }
        }
        self.slab.give(left);
        Some(*first)
    }

    /// As `KmemCache::free_slow` and what is before it, on the first hart.
    fn free(&self, object_: u16) {
        let mut batch = [core::ptr::null_mut(); 2];
        let count = {
            let _irqs_off = self.hart.lock().unwrap();
            if self.sheaf.push(pointer(object_)) {
                return;
            }
            let count = self.sheaf.take_oldest(&mut batch);
            self.sheaf.push(pointer(object_));
            count
        };
        self.slab.give(&batch[..count].iter().map(|at| object(*at)).collect::<Vec<_>>());
    }

    /// As `KmemCache::drain_sheaf`, in the interrupt that another hart asked for.
    fn drain(&self) {
        let mut batch = [core::ptr::null_mut(); 4];
        let count = {
            let _irqs_off = self.hart.lock().unwrap();
            self.sheaf.take_oldest(&mut batch)
        };
        self.slab.give(&batch[..count].iter().map(|at| object(*at)).collect::<Vec<_>>());
    }

    fn write(&self, object: u16) {
        // SAFETY: the object is this thread's; loom checks.
        self.bytes[object as usize - 1].with_mut(|byte| unsafe { *byte += 1 });
    }

    /// That no object is lost, and none is there twice.
    fn check(&self) {
        self.drain();
        let word = freelist::SlabWord::from_bits(self.slab.word.load(shim::Ordering::Relaxed));
        assert!(word.is_empty(), "{word:?}");
        let mut all = self.slab.take(4);
        all.sort();
        assert_eq!(all, [1, 2, 3, 4]);
    }
}

fn cache_model(bodies: &'static [fn(&Cache)]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(move || {
        let cache = Cache::new();
        let (last, others) = bodies.split_last().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|body| {
                let cache = cache.clone();
                thread::spawn(move || body(&cache))
            })
            .collect();
        last(&cache);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        cache.check();
    });
}

/// A thread of the first hart.
fn allocate_and_free(cache: &Cache) {
    if let Some(object) = cache.alloc() {
        cache.write(object);
        cache.free(object);
    }
}

/// A thread of the first hart, with more than the sheaf has room for.
fn allocate_three(cache: &Cache) {
    let objects: Vec<_> = (0..3).filter_map(|_| cache.alloc()).collect();
    for object in objects {
        cache.write(object);
        cache.free(object);
    }
}

/// Another hart, which has no sheaf here: it takes from the slab and gives back to it.
fn allocate_elsewhere(cache: &Cache) {
    let taken = cache.slab.take(2);
    taken.iter().for_each(|object| cache.write(*object));
    cache.slab.give(&taken);
}

/// Another hart, which counts what the first one keeps.
fn look(cache: &Cache) {
    assert!(cache.sheaf.objects().len() <= 2);
}

#[test]
fn the_fast_path_against_a_drain() {
    cache_model(&[Cache::drain, allocate_and_free, allocate_elsewhere]);
}

#[test]
fn a_full_sheaf_against_a_drain() {
    cache_model(&[Cache::drain, allocate_three]);
}

#[test]
fn two_threads_of_a_hart_and_another_hart() {
    cache_model(&[allocate_and_free, allocate_and_free, allocate_elsewhere]);
}

#[test]
fn a_look_from_another_hart() {
    cache_model(&[look, allocate_three]);
}
