//! A hart's own objects, which it has and gives back without a lock, against drains, other threads of the hart and
//! other harts.

use loom::cell::UnsafeCell;
use loom::sync::Arc;

use super::objects::Slab;
use super::{run, sheaf};

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
        let cache = Self {
            slab: Slab::new(),
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
        self.slab.check();
    }
}

fn model(bodies: &'static [fn(&Cache)]) {
    run(Cache::new, bodies, Cache::check);
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
    model(&[Cache::drain, allocate_and_free, allocate_elsewhere]);
}

#[test]
fn a_full_sheaf_against_a_drain() {
    model(&[Cache::drain, allocate_three]);
}

#[test]
fn two_threads_of_a_hart_and_another_hart() {
    model(&[allocate_and_free, allocate_and_free, allocate_elsewhere]);
}

#[test]
fn a_look_from_another_hart() {
    model(&[look, allocate_three]);
}
