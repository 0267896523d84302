//! Objects of a slab that come back from other harts while the cache takes from it.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::{explore, freelist, shim};

/// A slab of four objects, and the lock of its cache's list.
pub(super) struct Slab {
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
    /// With all four objects free, on the list.
    pub(super) fn new() -> Self {
        let word = freelist::SlabWord::new().with_objects(4);
        Self {
            word: shim::AtomicU64::new(word.into_bits()),
            next: core::array::from_fn(|_| UnsafeCell::new(0)),
            list: loom::sync::Mutex::new(1),
        }
    }

    pub(super) fn take(&self, most: u16) -> Vec<u16> {
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

    pub(super) fn give(&self, objects: &[u16]) {
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
    /// That no object is lost, and none is there twice.
    pub(super) fn check(&self) {
        let word = freelist::SlabWord::from_bits(self.word.load(shim::Ordering::Relaxed));
        assert!(word.is_empty(), "{word:?}");
        assert_eq!(*self.list.lock().unwrap(), 1);
        let mut all = self.take(4);
        all.sort();
        assert_eq!(all, [1, 2, 3, 4]);
    }
}

#[test]
fn objects_come_back_from_other_harts() {
    explore(|| {
        let slab = Arc::new(Slab::new());
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
        slab.check();
    });
}
