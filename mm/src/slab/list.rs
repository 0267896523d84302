//! A list of slabs through their descriptors; last in, last out. Whoever has it has its lock.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::page::{Page, PagePtr, SlabArm};

/// See the head of the room.
#[derive(Debug)]
pub(super) struct SlabList {
    first: Option<PagePtr>,
    last: Option<PagePtr>,
    len: usize,
}

impl SlabList {
    pub(super) const fn new() -> Self {
        Self { first: None, last: None, len: 0 }
    }

    /// The slab that objects are taken from.
    pub(super) fn first(&self) -> Option<PagePtr> {
        self.first
    }

    pub(super) fn push(&mut self, slab: PagePtr) {
        let arm = slab.arm::<SlabArm>();
        arm.next.store(null_mut(), Relaxed);
        arm.prev.store(raw(self.last), Relaxed);
        match self.last {
            Some(last) => last.arm::<SlabArm>().next.store(slab.as_ptr(), Relaxed),
            None => self.first = Some(slab),
        }
        self.last = Some(slab);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, slab: PagePtr) {
        let (prev, next) = (link(&slab.arm::<SlabArm>().prev), link(&slab.arm::<SlabArm>().next));
        match prev {
            Some(prev) => prev.arm::<SlabArm>().next.store(raw(next), Relaxed),
            None => self.first = next,
        }
        match next {
            Some(next) => next.arm::<SlabArm>().prev.store(raw(prev), Relaxed),
            None => self.last = prev,
        }
        self.len -= 1;
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// From the first on.
    pub(super) fn iter(&self) -> impl Iterator<Item = PagePtr> + '_ {
        core::iter::successors(self.first, |slab| link(&slab.arm::<SlabArm>().next))
    }
}

fn raw(page: Option<PagePtr>) -> *mut Page {
    page.map_or(null_mut(), PagePtr::as_ptr)
}

fn link(word: &AtomicPtr<Page>) -> Option<PagePtr> {
    // SAFETY: the list's links come from `PagePtr`s.
    unsafe { PagePtr::from_ptr(word.load(Relaxed)) }
}
