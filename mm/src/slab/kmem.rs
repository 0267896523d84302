//! A cache of equal objects: its slabs, and the way between them and the harts' sheaves
//! (Linux: `struct kmem_cache`, `mm/slub.c`).
//!
//! Objects are in use, on a hart's sheaf, or free in their slab. Slabs with free objects are on the
//! cache's list; a slab that is full is on none, and one that is empty stays on the list while it is
//! short, and goes back to the page allocator otherwise.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rux_machine::{IrqGuard, cold};

use super::checks::{check_free, note_used};
use super::debug::DebugFlags;
use super::freelist::{self, Links, Object, SlabWord};
use super::geometry::{Geometry, UNIT};

use super::list::SlabList;
use super::sheaf::SHEAF_MOST;
use super::state::{SheafOffset, sheaf};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page::{PagePtr, PageType, SlabArm, virt_to_page};
use crate::page_alloc::{PageBlock, alloc_pages};
use crate::stat::{self, Item};
use crate::sync::{IrqSpinGuard, IrqSpinLock, Rank};

/// The most objects that move between a sheaf and the slabs at once.
const BATCH_MOST: usize = SHEAF_MOST / 2 + 1;
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

    /// Fills `out`, or nothing of it: from this hart's sheaf, and from the slabs.
    pub(super) fn alloc_bulk(
        &'static self,
        gfp: Gfp,
        size: usize,
        out: &mut [MaybeUninit<NonNull<u8>>],
    ) -> Result<(), AllocError> {
        let mut done = 0;
        if !self.is_watched() {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            while done < out.len()
                && let Some(object) = sheaf.pop()
            {
                out[done].write(object);
                done += 1;
            }
        }
        let mut batch = [null_mut(); BATCH_MOST];
        while done < out.len() {
            let most = batch.len().min(out.len() - done);
            let got = if self.is_watched() {
                self.alloc_watched(gfp, size).map(|object| {
                    batch[0] = object.as_ptr();
                    1
                })
            } else {
                self.take_or_grow(gfp, &mut batch[..most])
            };
            let Ok(got) = got else {
                // SAFETY: these were filled.
                let filled = out[..done].iter().map(|object| unsafe { object.assume_init() });
                filled.for_each(|object| self.free_one(object));
                return Err(AllocError);
            };
            for object in batch[..got].iter().copied().filter_map(NonNull::new) {
                out[done].write(object);
                done += 1;
            }
        }
        for object in out {
            // SAFETY: all are filled.
            note_used(|| Some(self), unsafe { object.assume_init() }, self.geometry().size);
        }
        Ok(())
    }

    /// Takes many objects back.
    pub(super) fn free_bulk(&'static self, objects: &[NonNull<u8>]) {
        let mut left = objects;
        if self.is_watched() {
            return left.iter().for_each(|object| self.free_watched(*object));
        }
        left.iter().for_each(|object| check_free(self, *object));
        {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            while let [object, rest @ ..] = left
                && sheaf.push(*object)
            {
                left = rest;
            }
        }
        let mut batch = [null_mut(); BATCH_MOST];
        for chunk in left.chunks(BATCH_MOST) {
            batch.iter_mut().zip(chunk).for_each(|(to, from)| *to = from.as_ptr());
            self.give(&batch[..chunk.len()]);
        }
    }

    fn free_one(&'static self, object: NonNull<u8>) {
        if self.is_watched() { self.free_watched(object) } else { self.give(&[object.as_ptr()]) }
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
    fn take_or_grow(&'static self, gfp: Gfp, out: &mut [*mut u8]) -> Result<usize, AllocError> {
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

    /// Gives empty slabs of the list back to the page allocator until that are `most` pages; says how many.
    pub(super) fn shrink(&'static self, most: usize) -> usize {
        let mut pages = 0;
        while pages < most {
            let mut lists = self.lists.lock();
            // Nobody can give an object back to an empty slab, nor take one without the lock.
            let Some(slab) = lists.partial.iter().find(|slab| slab_word(*slab).is_empty()) else { break };
            lists.partial.remove(slab);
            drop(lists);
            pages += slab_order_of(slab).pages();
            self.free_slab(slab);
        }
        pages
    }

    /// Pages of the empty slabs on the list.
    pub(super) fn empty_pages(&self) -> usize {
        let lists = self.lists.lock();
        let empty = lists.partial.iter().filter(|slab| slab_word(*slab).is_empty());
        empty.map(|slab| slab_order_of(slab).pages()).sum()
    }

    fn item(&self) -> Item {
        if self.shape.reclaimable { Item::SlabReclaimable } else { Item::SlabUnreclaimable }
    }

    /// A slab with all objects free, on no list.
    pub(super) fn new_slab(&'static self, gfp: Gfp) -> Result<PagePtr, AllocError> {
        let mut gfp = gfp & !(Gfp::ZERO | Gfp::MOVABLE | Gfp::HIGHMEM | Gfp::COMP | Gfp::RECLAIMABLE);
        let &Geometry { order, min_order, .. } = self.geometry();
        if self.shape.reclaimable {
            gfp |= Gfp::RECLAIMABLE;
        }
        let block = if order > min_order {
            // Many objects are worth a larger block, but not reclaim for it.
            let modest = (gfp | Gfp::NORETRY | Gfp::NOWARN) & !(Gfp::DIRECT_RECLAIM | Gfp::NOFAIL);
            alloc_pages(modest, order).or_else(|_| alloc_pages(gfp, min_order))
        } else {
            alloc_pages(gfp, order)
        }?;
        let order = block.order();
        let objects = self.geometry().objects_in(order);
        let slab = block.page();
        let _ = block.into_raw();
        for index in 0..order.pages() {
            let page = slab.nth(index);
            page.count().set_type(PageType::Slab);
            let arm = page.arm::<SlabArm>();
            arm.cache.store(core::ptr::from_ref(self).expose_provenance(), Relaxed);
            arm.index.store(index as u16, Relaxed);
            arm.order.store(order.get() as u16, Relaxed);
            arm.sheaf.store(self.offset.bytes() as u32, Relaxed);
        }
        let word = SlabWord::new().with_objects(objects as u16);
        slab.arm::<SlabArm>().freelist.store(word.into_bits(), Relaxed);
        if self.is_watched() {
            self.prepare_watched(slab);
        }
        self.slabs.fetch_add(1, Relaxed);
        self.objects.fetch_add(objects, Relaxed);
        stat::add(self.item(), order.pages() as i64);
        Ok(slab)
    }

    /// `slab` is empty and on no list.
    pub(super) fn free_slab(&'static self, slab: PagePtr) {
        if self.is_watched() {
            super::debug::check_slab(self, slab);
        }
        let order = slab_order_of(slab);
        let objects = slab_word(slab).objects() as usize;
        for index in 0..order.pages() {
            slab.nth(index).count().clear_type(PageType::Slab);
        }
        self.slabs.fetch_sub(1, Relaxed);
        self.objects.fetch_sub(objects, Relaxed);
        stat::add(self.item(), -(order.pages() as i64));
        // SAFETY: `new_slab` made it from a block of this order; no object of it is in use.
        drop(unsafe { PageBlock::from_raw(slab.pfn(), order) });
    }
}

/// The word of a slab at this moment.
pub(super) fn slab_word(slab: PagePtr) -> SlabWord {
    SlabWord::from_bits(slab.arm::<SlabArm>().freelist.load(Relaxed))
}

/// log2 of the pages of a slab.
pub(super) fn slab_order_of(slab: PagePtr) -> Order {
    Order::new(slab.arm::<SlabArm>().order.load(Relaxed) as usize).unwrap_or(Order::ZERO)
}

/// The first page of the slab that an object is in.
#[inline(always)]
pub(super) fn slab_of(object: *mut u8) -> PagePtr {
    let page = virt_to_page(object);
    let index = page.arm::<SlabArm>().index.load(Relaxed) as usize;
    page.nth(index.wrapping_neg())
}
