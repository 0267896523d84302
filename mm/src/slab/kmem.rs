//! A cache of equal objects: its slabs, and the way between them and the harts' sheaves
//! (Linux: `struct kmem_cache`, `mm/slub.c`).
//!
//! Objects are in use, on a hart's sheaf, or free in their slab. Slabs with free objects are on the
//! cache's list; a slab that is full is on none, and one that is empty stays on the list while it is
//! short, and goes back to the page allocator otherwise.

use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize};

use rux_machine::{IrqGuard, cold};

use super::debug::DebugFlags;
use super::freelist::{self, Links, Object, SlabWord};
use super::geometry::{Geometry, UNIT};
use super::list::SlabList;
use super::pages::slab_of;
use super::sheaf::SHEAF_MOST;
use super::state::{SheafOffset, sheaf};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page::{PagePtr, SlabArm};
use crate::sync::{IrqSpinGuard, IrqSpinLock, Rank};

/// The most objects that move between a sheaf and the slabs at once.
pub(super) const BATCH_MOST: usize = SHEAF_MOST / 2 + 1;
/// Empty slabs stay while the list has no more than this many pages.
const KEEP_PAGES: usize = 4;

/// What a cache is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// In `/proc/slabinfo`.
    pub(super) name: &'static str,
    /// Bytes of an object.
    pub(super) size: usize,
    /// Its alignment.
    pub(super) align: usize,
    /// Whether a shrinker can free objects: accounted apart.
    pub(super) reclaimable: bool,
}

/// A cache of equal objects.
#[derive(Debug)]
pub(super) struct KmemCache {
    pub(super) shape: Shape,
    /// See [`KmemCache::watch`].
    geometry: UnsafeCell<Geometry>,
    /// Where the harts' sheaves are.
    pub(super) offset: SheafOffset,
    pub(super) lists: IrqSpinLock<Lists>,
    /// All slabs.
    pub(super) slabs: AtomicUsize,
    /// Objects of all slabs.
    pub(super) objects: AtomicUsize,
    /// Whether it was destroyed, and not used again since.
    pub(super) retired: AtomicBool,
}

// SAFETY: the geometry changes only before others know the cache; see `watch`.
unsafe impl Sync for KmemCache {}

/// The lists of a cache's slabs.
#[derive(Debug)]
pub(super) struct Lists {
    /// Slabs with free objects.
    pub(super) partial: SlabList,
    /// Slabs without; kept only where objects are watched.
    pub(super) full: SlabList,
}

/// The objects of a slab, by where it starts.
#[derive(Clone, Copy)]
pub(super) struct Objects {
    base: *mut u8,
    stride: usize,
    start: usize,
    link: usize,
}

impl Objects {
    pub(super) fn of(cache: &KmemCache, slab: PagePtr) -> Self {
        let &Geometry { stride, start, link, .. } = cache.geometry();
        Self { base: slab.pfn().as_ptr(), stride, start, link }
    }

    pub(super) fn pointer(self, object: Object) -> *mut u8 {
        self.base.wrapping_add((object as usize - 1) * UNIT)
    }

    /// `object` is of this slab.
    pub(super) fn of_pointer(self, object: *mut u8) -> Object {
        ((object.addr() - self.base.addr()) / UNIT + 1) as Object
    }
}

impl Links for Objects {
    #[inline(always)]
    fn next(&self, object: Object) -> Object {
        // SAFETY: a free object of the slab, where `set_next` wrote.
        unsafe { self.pointer(object).wrapping_add(self.link).cast::<Object>().read() }
    }

    #[inline(always)]
    fn set_next(&self, object: Object, next: Object) {
        // SAFETY: an object that the caller gives back and still owns; aligned to 8 bytes, and as large.
        unsafe { self.pointer(object).wrapping_add(self.link).cast::<Object>().write(next) }
    }

    #[inline(always)]
    fn nth(&self, index: u16) -> Object {
        ((index as usize * self.stride + self.start) / UNIT + 1) as Object
    }
}

impl KmemCache {
    pub(super) const fn new(shape: Shape, offset: SheafOffset) -> Self {
        Self {
            geometry: UnsafeCell::new(Geometry::new(shape.size, shape.align, DebugFlags::empty())),
            shape,
            offset,
            lists: IrqSpinLock::new(Rank::Slab, Lists { partial: SlabList::new(), full: SlabList::new() }),
            slabs: AtomicUsize::new(0),
            objects: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// How its objects lie.
    #[inline(always)]
    pub(super) fn geometry(&self) -> &Geometry {
        // SAFETY: changed by `watch` only, before anybody asks.
        unsafe { &*self.geometry.get() }
    }

    /// Watches its objects.
    ///
    /// # Safety
    /// Nobody else knows the cache yet.
    pub(super) unsafe fn watch(&self, debug: DebugFlags) {
        let geometry = Geometry::new(self.shape.size, self.shape.align, debug);
        // SAFETY: nobody else looks, as the caller vouches.
        unsafe { self.geometry.get().write(geometry) };
    }

    /// Whether all operations go by way of `debug`.
    pub(super) fn is_watched(&self) -> bool {
        !self.geometry().debug.is_empty()
    }

    /// An object from the slabs for a request of `size` bytes, for a hart whose sheaf has none; fills the
    /// sheaf by half, too.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(&'static self, gfp: Gfp, size: usize) -> Result<NonNull<u8>, AllocError> {
        if self.is_watched() {
            return self.alloc_watched(gfp, size);
        }
        let mut batch = [null_mut(); BATCH_MOST];
        let batch = &mut batch[..self.geometry().batch()];
        let got = self.take_or_grow(gfp, batch)?;
        // A new slab has an object; under the lock nobody else took it.
        let (object, rest) = batch[..got].split_last().ok_or(AllocError)?;
        self.fill_sheaf(rest);
        NonNull::new(*object).ok_or(AllocError)
    }

    fn fill_sheaf(&'static self, objects: &[*mut u8]) {
        let mut left = objects;
        {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            if sheaf.is_idle() {
                sheaf.start(self.geometry().capacity);
            }
            sheaf.count_refill();
            while let Some((&object, rest)) = left.split_last() {
                if !NonNull::new(object).is_some_and(|object| sheaf.push(object)) {
                    break;
                }
                left = rest;
            }
        }
        // The thread may have come to another hart, or an interrupt freed some.
        self.give(left);
    }

    /// Takes an object back, for a hart whose sheaf is full; empties the sheaf by half, too.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slow(&'static self, object: NonNull<u8>) {
        if self.is_watched() {
            return self.free_watched(object);
        }
        let mut batch = [null_mut(); BATCH_MOST];
        let mut count = 0;
        {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            if sheaf.is_idle() {
                sheaf.start(self.geometry().capacity);
            }
            if !sheaf.push(object) {
                count = sheaf.take_oldest(&mut batch[..self.geometry().batch()]);
                sheaf.count_flush();
                sheaf.push(object);
            }
        }
        self.give(&batch[..count]);
    }

    /// Takes the objects off all harts' sheaves and gives back empty slabs; says how many pages. Waits for
    /// the other harts.
    pub(super) fn drain_all(&'static self) -> usize {
        let drain = |cache: *mut ()| {
            // SAFETY: a cache, which stays.
            let cache: &'static KmemCache = unsafe { &*cache.cast() };
            cache.drain_sheaf();
        };
        cold::run_on(cold::online(), drain, core::ptr::from_ref(self).cast_mut().cast());
        self.drain_sheaf();
        self.shrink(usize::MAX)
    }

    /// Takes all objects off this hart's sheaf.
    pub(super) fn drain_sheaf(&'static self) {
        let mut batch = [null_mut(); SHEAF_MOST];
        let count = {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            let count = if sheaf.is_idle() { 0 } else { sheaf.take_oldest(&mut batch) };
            if count > 0 {
                sheaf.count_flush();
            }
            count
        };
        self.give(&batch[..count]);
    }

    /// Fills `out` with objects from the slabs, from a new one if there is none; says how many.
    pub(super) fn take_or_grow(&'static self, gfp: Gfp, out: &mut [*mut u8]) -> Result<usize, AllocError> {
        let got = self.take(&mut self.lists.lock().partial, out);
        if got > 0 {
            return Ok(got);
        }
        let slab = self.new_slab(gfp)?;
        let mut lists = self.lists.lock();
        lists.partial.push(slab);
        Ok(self.take(&mut lists.partial, out))
    }

    /// Fills `out` with objects from the slabs of the list; says how many there were.
    fn take(&self, partial: &mut SlabList, out: &mut [*mut u8]) -> usize {
        let mut got = 0;
        while got < out.len()
            && let Some(slab) = partial.first()
        {
            let objects = Objects::of(self, slab);
            let most = (out.len() - got) as u16;
            let after = freelist::take(&slab.arm::<SlabArm>().freelist, &objects, most, |object| {
                out[got] = objects.pointer(object);
                got += 1;
            });
            if after.is_full() {
                partial.remove(slab);
            }
        }
        got
    }

    /// Gives objects back to their slabs; those of one slab that lie side by side at once.
    pub(super) fn give(&'static self, objects: &[*mut u8]) {
        let mut left = objects;
        while let [first, rest @ ..] = left {
            let slab = slab_of(*first);
            let links = Objects::of(self, slab);
            let head = links.of_pointer(*first);
            let (mut last, mut count) = (head, 1);
            left = rest;
            while let [next, rest @ ..] = left
                && slab_of(*next) == slab
            {
                let next = links.of_pointer(*next);
                links.set_next(last, next);
                (last, count, left) = (next, count + 1, rest);
            }
            self.give_chain(slab, &links, (head, last, count));
        }
    }

    fn give_chain(&'static self, slab: PagePtr, links: &Objects, chain: (Object, Object, u16)) {
        let word = &slab.arm::<SlabArm>().freelist;
        let pushed = freelist::push(word, links, chain, || self.lists.lock());
        if let Some(lists) = pushed.lock {
            self.place(slab, lists, pushed.before, pushed.after);
        }
    }

    /// Puts a slab where it belongs after objects came back to it.
    fn place(
        &'static self,
        slab: PagePtr,
        mut lists: IrqSpinGuard<'_, Lists>,
        before: SlabWord,
        after: SlabWord,
    ) {
        if after.is_empty() && self.keeps_enough(&lists.partial) {
            if !before.is_full() {
                lists.partial.remove(slab);
            }
            drop(lists);
            self.free_slab(slab);
        } else if before.is_full() {
            lists.partial.push(slab);
        }
    }

    /// Whether the slabs on the list are enough, so that an empty one can go.
    pub(super) fn keeps_enough(&self, partial: &SlabList) -> bool {
        partial.len() << self.geometry().order.get() >= KEEP_PAGES
    }
}
