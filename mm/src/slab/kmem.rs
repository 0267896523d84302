//! A cache of equal objects: its slabs, and the way between them and the harts' sheaves
//! (Linux: `struct kmem_cache`, `mm/slub.c`).
//!
//! Objects are in use, on a hart's sheaf, or free in their slab. Slabs with free objects are on the
//! cache's list; a slab that is full is on none, and one that is empty stays on the list while it is
//! short, and goes back to the page allocator otherwise.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rux_machine::IrqGuard;

use super::freelist::{self, Links, Object, SlabWord};
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
/// The unit of offsets in a slab, and the least size and alignment of objects.
const UNIT: usize = 8;
/// The largest order of a slab that holds more than one object. Orders up to it are had soon.
const ORDER_COSTLY: usize = 3;
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
    /// Bytes from one object of a slab to the next.
    pub(super) stride: usize,
    /// Where the harts' sheaves are.
    pub(super) offset: SheafOffset,
    /// log2 of the pages of a slab, when memory is plenty.
    pub(super) order: Order,
    /// The least that an object fits in.
    min_order: Order,
    /// Objects of a sheaf.
    capacity: usize,
    /// Slabs with free objects.
    pub(super) partial: IrqSpinLock<SlabList>,
    /// All slabs.
    pub(super) slabs: AtomicUsize,
    /// Objects of all slabs.
    pub(super) objects: AtomicUsize,
}

/// A list of slabs through their descriptors; last in, last out.
#[derive(Debug)]
pub(super) struct SlabList {
    first: Option<PagePtr>,
    last: Option<PagePtr>,
    len: usize,
}

impl SlabList {
    const fn new() -> Self {
        Self { first: None, last: None, len: 0 }
    }

    fn push(&mut self, slab: PagePtr) {
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

    fn remove(&mut self, slab: PagePtr) {
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

fn raw(page: Option<PagePtr>) -> *mut crate::page::Page {
    page.map_or(null_mut(), PagePtr::as_ptr)
}

fn link(word: &core::sync::atomic::AtomicPtr<crate::page::Page>) -> Option<PagePtr> {
    // SAFETY: the list's links come from `PagePtr`s.
    unsafe { PagePtr::from_ptr(word.load(Relaxed)) }
}

/// The objects of a slab, by where it starts.
#[derive(Clone, Copy)]
pub(super) struct Objects {
    base: *mut u8,
    stride: usize,
}

impl Objects {
    pub(super) fn of(cache: &KmemCache, slab: PagePtr) -> Self {
        Self { base: slab.pfn().as_ptr(), stride: cache.stride }
    }

    pub(super) fn pointer(self, object: Object) -> *mut u8 {
        self.base.wrapping_add((object as usize - 1) * UNIT)
    }

    /// `object` is of this slab.
    fn of_pointer(self, object: *mut u8) -> Object {
        ((object.addr() - self.base.addr()) / UNIT + 1) as Object
    }
}

impl Links for Objects {
    #[inline(always)]
    fn next(&self, object: Object) -> Object {
        // SAFETY: a free object of the slab, in whose first bytes `set_next` wrote.
        unsafe { self.pointer(object).cast::<Object>().read() }
    }

    #[inline(always)]
    fn set_next(&self, object: Object, next: Object) {
        // SAFETY: an object that the caller gives back and still owns; aligned to 8 bytes, and as large.
        unsafe { self.pointer(object).cast::<Object>().write(next) }
    }

    #[inline(always)]
    fn nth(&self, index: u16) -> Object {
        (index as usize * self.stride / UNIT + 1) as Object
    }
}

impl KmemCache {
    pub(super) const fn new(shape: Shape, offset: SheafOffset) -> Self {
        let align = if shape.align > UNIT { shape.align } else { UNIT };
        let size = if shape.size > UNIT { shape.size } else { UNIT };
        let stride = size.next_multiple_of(align);
        Self {
            shape,
            stride,
            offset,
            order: slab_order(stride),
            min_order: match Order::of_bytes(stride) {
                Some(order) => order,
                None => Order::MAX,
            },
            capacity: sheaf_capacity(stride),
            partial: IrqSpinLock::new(Rank::Slab, SlabList::new()),
            slabs: AtomicUsize::new(0),
            objects: AtomicUsize::new(0),
        }
    }

    fn batch(&self) -> usize {
        self.capacity / 2 + 1
    }

    /// An object from the slabs, for a hart whose sheaf has none; fills the sheaf by half, too.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(&'static self, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
        let mut batch = [null_mut(); BATCH_MOST];
        let batch = &mut batch[..self.batch()];
        let mut got = self.take(&mut self.partial.lock(), batch);
        if got == 0 {
            let slab = self.new_slab(gfp)?;
            let mut partial = self.partial.lock();
            partial.push(slab);
            got = self.take(&mut partial, batch);
        }
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
                sheaf.start(self.capacity);
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
        let mut batch = [null_mut(); BATCH_MOST];
        let mut count = 0;
        {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            if sheaf.is_idle() {
                sheaf.start(self.capacity);
            }
            if !sheaf.push(object) {
                count = sheaf.take_oldest(&mut batch[..self.batch()]);
                sheaf.count_flush();
                sheaf.push(object);
            }
        }
        self.give(&batch[..count]);
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

    /// Fills `out` with objects from the slabs of the list; says how many there were.
    fn take(&self, partial: &mut SlabList, out: &mut [*mut u8]) -> usize {
        let mut got = 0;
        while got < out.len()
            && let Some(slab) = partial.first
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
        let pushed = freelist::push(word, links, chain, || self.partial.lock());
        if let Some(partial) = pushed.lock {
            self.place(slab, partial, pushed.before, pushed.after);
        }
    }

    /// Puts a slab where it belongs after objects came back to it.
    fn place(
        &'static self,
        slab: PagePtr,
        mut partial: IrqSpinGuard<'_, SlabList>,
        before: SlabWord,
        after: SlabWord,
    ) {
        if after.is_empty() && (partial.len() << self.order.get()) >= KEEP_PAGES {
            if !before.is_full() {
                partial.remove(slab);
            }
            drop(partial);
            self.free_slab(slab);
        } else if before.is_full() {
            partial.push(slab);
        }
    }

    /// Gives the empty slabs of the list back to the page allocator; says how many pages.
    pub(super) fn shrink(&'static self) -> usize {
        let mut pages = 0;
        loop {
            let mut partial = self.partial.lock();
            // Nobody can give an object back to an empty slab, nor take one without the lock.
            let Some(slab) = partial.iter().find(|slab| slab_word(*slab).is_empty()) else { return pages };
            partial.remove(slab);
            drop(partial);
            pages += slab_order_of(slab).pages();
            self.free_slab(slab);
        }
    }

    fn item(&self) -> Item {
        if self.shape.reclaimable { Item::SlabReclaimable } else { Item::SlabUnreclaimable }
    }

    /// A slab with all objects free, on no list.
    fn new_slab(&'static self, gfp: Gfp) -> Result<PagePtr, AllocError> {
        let mut gfp = gfp & !(Gfp::ZERO | Gfp::MOVABLE | Gfp::HIGHMEM | Gfp::COMP);
        if self.shape.reclaimable {
            gfp |= Gfp::RECLAIMABLE;
        }
        let block = if self.order > self.min_order {
            // Many objects are worth a larger block, but not reclaim for it.
            let modest = (gfp | Gfp::NORETRY | Gfp::NOWARN) & !(Gfp::DIRECT_RECLAIM | Gfp::NOFAIL);
            alloc_pages(modest, self.order).or_else(|_| alloc_pages(gfp, self.min_order))
        } else {
            alloc_pages(gfp, self.order)
        }?;
        let order = block.order();
        let objects = block.bytes() / self.stride;
        let slab = block.page();
        let _ = block.into_raw();
        for index in 0..order.pages() {
            let page = slab.nth(index);
            page.count().set_type(PageType::Slab);
            let arm = page.arm::<SlabArm>();
            arm.cache.store(core::ptr::from_ref(self).expose_provenance(), Relaxed);
            arm.extra.store(index as u64 | (order.get() as u64) << 32, Relaxed);
        }
        let word = SlabWord::new().with_objects(objects as u16);
        slab.arm::<SlabArm>().freelist.store(word.into_bits(), Relaxed);
        self.slabs.fetch_add(1, Relaxed);
        self.objects.fetch_add(objects, Relaxed);
        stat::add(self.item(), order.pages() as i64);
        Ok(slab)
    }

    /// `slab` is empty and on no list.
    fn free_slab(&'static self, slab: PagePtr) {
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
    Order::new((slab.arm::<SlabArm>().extra.load(Relaxed) >> 32) as usize).unwrap_or(Order::ZERO)
}

/// The first page of the slab that an object is in.
#[inline(always)]
pub(super) fn slab_of(object: *mut u8) -> PagePtr {
    let page = virt_to_page(object);
    let index = page.arm::<SlabArm>().extra.load(Relaxed) as u32 as usize;
    page.nth(index.wrapping_neg())
}

/// The least order at which little is wasted and a fair number of objects fits (Linux:
/// `calculate_order`).
const fn slab_order(stride: usize) -> Order {
    let mut order = 0;
    while let Some(candidate) = Order::new(order)
        && order < ORDER_COSTLY
    {
        let objects = candidate.bytes() / stride;
        if objects >= 4 && candidate.bytes() % stride <= candidate.bytes() / 8 {
            return candidate;
        }
        order += 1;
    }
    let least = match Order::of_bytes(stride) {
        Some(order) => order,
        None => Order::MAX,
    };
    match Order::new(ORDER_COSTLY) {
        Some(costly) if costly.get() > least.get() => costly,
        _ => least,
    }
}

/// How many objects a hart keeps: few of those that are large, since each may keep a slab from being free.
const fn sheaf_capacity(stride: usize) -> usize {
    match stride {
        0..=256 => SHEAF_MOST,
        257..=1024 => 6,
        _ => 2,
    }
}
