//! Folios: one page or a compound page, as one unit with one lock and one reference count.
//!
//! A `Folio` is its head page, seen as such; who holds a [`crate::FolioRef`] knows that it stays. Public
//! interfaces take folios, never tails (Linux: `struct folio`, `mm/filemap.c` for the lock).

use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use core::{fmt, mem};

use rux_machine::cold;

use super::arm::{FirstTailArm, FolioArm};
use super::{Page, PageFlags, PagePtr};
use crate::addr::{Order, PAGE_SIZE, Pfn, PhysAddr};
use crate::sync::{self, Nesting, Rank};

/// Whose memory a folio is: the word `mapping`, tagged in its low bits (Linux: `PAGE_MAPPING_FLAGS`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MappingWord {
    /// Nobody's, or truncated.
    None,
    /// A file's page cache: the address of its `filemap::Mapping`.
    File(usize),
    /// Anonymous memory: the address of its `anon_vma`.
    Anon(usize),
    /// Kernel memory that can be migrated: the address of its operations.
    Movable(usize),
}

impl MappingWord {
    const ANON: usize = 1;
    const MOVABLE: usize = 2;
    const TAGS: usize = 3;

    fn to_bits(self) -> usize {
        match self {
            Self::None => 0,
            Self::File(at) => at,
            Self::Anon(at) => at | Self::ANON,
            Self::Movable(at) => at | Self::MOVABLE,
        }
    }

    pub(crate) fn from_bits(bits: usize) -> Self {
        let at = bits & !Self::TAGS;
        match bits & Self::TAGS {
            _ if bits == 0 => Self::None,
            0 => Self::File(at),
            Self::ANON => Self::Anon(at),
            _ => Self::Movable(at),
        }
    }
}

/// The head view of a page or compound page.
#[repr(transparent)]
pub struct Folio(Page);

impl Folio {
    /// The folio whose head page this is.
    #[inline(always)]
    pub(crate) fn of<'a>(head: PagePtr) -> &'a Self {
        debug_assert!(!head.flags().contains(PageFlags::TAIL), "folio of a tail: {head:?}");
        // SAFETY: `repr(transparent)`; descriptors live as long as the machine.
        unsafe { &*head.as_ptr().cast::<Self>() }
    }

    /// The first page's descriptor.
    #[inline(always)]
    pub(crate) fn as_page(&self) -> &Page {
        &self.0
    }

    /// The first page.
    #[inline(always)]
    pub fn head(&self) -> PagePtr {
        self.0.ptr()
    }

    /// Page `index` of the folio, which is below [`Folio::pages`].
    #[inline(always)]
    pub fn page(&self, index: usize) -> PagePtr {
        debug_assert!(index < self.pages());
        self.head().nth(index)
    }

    /// The frame of the first page.
    #[inline(always)]
    pub fn pfn(&self) -> Pfn {
        self.0.pfn()
    }

    /// The physical address of the first byte.
    #[inline(always)]
    pub fn phys(&self) -> PhysAddr {
        self.pfn().phys()
    }

    /// The kernel's pointer to the first byte. The bytes are shared with whoever maps the folio.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut u8 {
        self.pfn().as_ptr()
    }

    /// log2 of the number of base pages.
    #[inline(always)]
    pub fn order(&self) -> Order {
        match self.first_tail() {
            None => Order::ZERO,
            Some(tail) => Order::new(tail.order.load(Relaxed) as usize).unwrap_or_default(),
        }
    }

    /// How many base pages.
    #[inline(always)]
    pub fn pages(&self) -> usize {
        self.order().pages()
    }

    /// How many bytes.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.pages() * PAGE_SIZE
    }

    /// Whether it has more than one page.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.0.flags().contains(PageFlags::HEAD)
    }

    #[inline(always)]
    fn first_tail(&self) -> Option<&FirstTailArm> {
        self.is_large().then(|| {
            let tail = self.head().nth(1).as_ptr();
            // SAFETY: a head's second page exists, and descriptors live as long as the machine.
            unsafe { (*tail).arm_unchecked::<FirstTailArm>() }
        })
    }

    #[inline(always)]
    pub(crate) fn arm(&self) -> &FolioArm {
        self.0.arm()
    }

    /// The state bits.
    #[inline(always)]
    pub fn flags(&self) -> PageFlags {
        self.0.flags()
    }

    /// See [`Page::has`].
    #[inline(always)]
    pub fn has(&self, bits: PageFlags) -> bool {
        self.0.has(bits)
    }

    /// See [`Page::set_flags`].
    #[inline(always)]
    pub fn set_flags(&self, bits: PageFlags) -> PageFlags {
        self.0.set_flags(bits)
    }

    /// See [`Page::clear_flags`].
    #[inline(always)]
    pub fn clear_flags(&self, bits: PageFlags) -> PageFlags {
        self.0.clear_flags(bits)
    }

    /// That a folio which was in a batch is on a list now.
    #[inline(always)]
    pub(crate) fn set_listed(&self) {
        let old = self.word().fetch_xor(PageFlags::LISTED.bits(), Relaxed);
        debug_assert!(old & PageFlags::LISTED.bits() == PageFlags::LRU_BATCH.bits());
    }

    /// References.
    #[inline(always)]
    pub fn refcount(&self) -> u32 {
        self.0.refcount()
    }

    /// See [`super::Count::freeze`].
    #[inline]
    #[must_use]
    pub fn freeze(&self, refs: u32) -> bool {
        self.0.count().freeze(refs)
    }

    /// See [`super::Count::unfreeze`].
    #[inline]
    pub fn unfreeze(&self, refs: u32) {
        self.0.count().unfreeze(refs)
    }

    /// Mappings in all: of any of its pages, or of all as one.
    #[inline]
    pub fn mapcount(&self) -> u32 {
        match self.first_tail() {
            None => self.0.mapcount(),
            Some(tail) => tail.large_mapcount.load(Relaxed),
        }
    }

    /// Whether anything maps it.
    #[inline]
    pub fn is_mapped(&self) -> bool {
        self.mapcount() != 0
    }

    /// Counts one more entry that maps page `index`; says how many mapped that page before. `None`: too
    /// many, nothing was counted (Linux: `folio_add_anon_rmap_pte`, `folio_add_file_rmap_pte`).
    #[inline]
    #[must_use]
    pub fn map_page(&self, index: usize) -> Option<u32> {
        match self.first_tail() {
            None => self.0.count().map(),
            Some(tail) => {
                let before = self.page(index).count().map()?;
                tail.large_mapcount.fetch_add(1, Relaxed);
                Some(before)
            }
        }
    }

    /// Counts one entry less that maps page `index`; says how many mappings that page has left.
    #[inline]
    pub fn unmap_page(&self, index: usize) -> u32 {
        match self.first_tail() {
            None => self.0.count().unmap(),
            Some(tail) => {
                let left = self.page(index).count().unmap();
                tail.large_mapcount.fetch_sub(1, Relaxed);
                left
            }
        }
    }

    /// Whose memory it is. Steady under the folio's lock.
    #[inline]
    pub fn mapping(&self) -> MappingWord {
        MappingWord::from_bits(self.arm().mapping.load(Acquire))
    }

    /// Says whose memory it is; the address in `mapping` is a multiple of 4.
    #[inline]
    pub fn set_mapping(&self, mapping: MappingWord) {
        self.arm().mapping.store(mapping.to_bits(), Release);
    }

    /// Whether it is anonymous memory.
    #[inline]
    pub fn is_anon(&self) -> bool {
        self.arm().mapping.load(Relaxed) & MappingWord::TAGS == MappingWord::ANON
    }

    /// Where in its mapping the first page is, in base pages.
    #[inline]
    pub fn index(&self) -> u64 {
        self.arm().index.load(Relaxed)
    }

    /// See [`Folio::index`].
    #[inline]
    pub fn set_index(&self, index: u64) {
        self.arm().index.store(index, Relaxed);
    }

    /// The owner's word.
    #[inline]
    pub fn private(&self) -> u64 {
        self.arm().private.load(Relaxed)
    }

    /// See [`Folio::private`].
    #[inline]
    pub fn set_private(&self, private: u64) {
        self.arm().private.store(private, Relaxed);
    }

    /// Whether its data can be read; then what was written to it before is seen.
    #[inline]
    pub fn is_uptodate(&self) -> bool {
        self.has(PageFlags::UPTODATE)
    }

    /// Takes the folio's lock, sleeping until it is free (Linux: `folio_lock`).
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> FolioGuard<'_> {
        sync::acquire(Rank::Folio, self.address(), Nesting::None);
        if !self.take_lock() {
            self.lock_slow();
        }
        FolioGuard(self)
    }

    /// Takes the folio's lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<FolioGuard<'_>> {
        if !self.take_lock() {
            return None;
        }
        sync::acquire_tried(Rank::Folio, self.address());
        // The guard is made only if the lock is had: dropping one unlocks.
        Some(FolioGuard(self))
    }

    #[inline(always)]
    fn take_lock(&self) -> bool {
        self.word().fetch_or(PageFlags::LOCKED.bits(), Acquire) & PageFlags::LOCKED.bits() == 0
    }

    #[cold]
    fn lock_slow(&self) {
        loop {
            self.wait_while(PageFlags::LOCKED);
            if self.take_lock() {
                return;
            }
        }
    }

    /// What the lock goes by in the check of the lock order.
    #[inline(always)]
    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Sleeps until none of `bits`, `LOCKED` or `WRITEBACK`, is set (Linux: `folio_wait_bit`).
    pub fn wait_while(&self, bits: PageFlags) {
        debug_assert!((PageFlags::LOCKED | PageFlags::WRITEBACK).contains(bits));
        sync::might_sleep();
        let word = self.word();
        loop {
            let seen = word.load(Acquire);
            if seen & bits.bits() == 0 {
                return;
            }
            let waiting = seen | PageFlags::WAITERS.bits();
            if seen == waiting || word.compare_exchange(seen, waiting, Relaxed, Relaxed).is_ok() {
                cold::park(word, waiting, None);
            }
        }
    }

    /// Unlocks a folio whose guard was [`FolioGuard::leak`]ed: at the end of I/O, from an interrupt too.
    #[inline]
    pub fn unlock(&self) {
        self.clear_and_wake(PageFlags::LOCKED);
    }

    /// Says that the folio is written (Linux: `folio_end_writeback`).
    pub fn end_writeback(&self) {
        self.clear_and_wake(PageFlags::WRITEBACK);
    }

    #[inline]
    fn clear_and_wake(&self, bit: PageFlags) {
        let old = self.word().fetch_and(!(bit | PageFlags::WAITERS).bits(), Release);
        debug_assert!(old & bit.bits() != 0, "{bit:?} was not set: {self:?}");
        if old & PageFlags::WAITERS.bits() != 0 {
            // All of them: they wait for different bits, and those that go on waiting say so again.
            cold::unpark(self.word(), u32::MAX);
        }
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        self.0.flags_word()
    }
}

impl fmt::Debug for Folio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The folio's lock, held.
#[must_use = "the folio is unlocked once the guard is dropped"]
#[derive(Debug)]
pub struct FolioGuard<'a>(&'a Folio);

impl FolioGuard<'_> {
    /// Leaves the folio locked; somebody calls [`Folio::unlock`] later.
    pub fn leak(self) {
        sync::release(self.0.address());
        mem::forget(self);
    }
}

impl core::ops::Deref for FolioGuard<'_> {
    type Target = Folio;

    fn deref(&self) -> &Folio {
        self.0
    }
}

impl Drop for FolioGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        sync::release(self.0.address());
        self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use crate::addr::Order;
    use crate::gfp::Gfp;
    use crate::host::HostMachine;
    use crate::page::PageFlags;
    use crate::page_alloc::alloc_folio;

    #[test]
    fn who_fails_to_lock_does_not_unlock() {
        let _machine = HostMachine::new(1 << 20, 1);
        let folio = alloc_folio(Gfp::KERNEL, Order::ZERO).unwrap();
        let guard = folio.try_lock().unwrap();
        assert!(folio.try_lock().is_none());
        assert!(folio.try_lock().is_none());
        drop(guard);
        assert!(folio.try_lock().is_some());
    }

    #[test]
    fn the_lock_excludes_and_outlives_its_guard() {
        let machine = HostMachine::new(1 << 20, 4);
        let folio = alloc_folio(Gfp::KERNEL, Order::ZERO).unwrap();
        folio.set_private(0);
        let rounds = if cfg!(miri) { 20 } else { 2000 };
        std::thread::scope(|scope| {
            for hart in 0..4 {
                let (machine, folio) = (&machine, &folio);
                scope.spawn(move || {
                    machine.enter(hart);
                    for round in 0..rounds {
                        let guard = folio.lock();
                        guard.set_private(guard.private() + 1);
                        if round % 2 == 0 {
                            // As I/O does: somebody else unlocks.
                            guard.leak();
                            folio.unlock();
                        }
                    }
                });
            }
        });
        assert_eq!(folio.private(), 4 * rounds);
        assert_eq!(folio.flags() - PageFlags::WAITERS, PageFlags::empty());
    }

    #[test]
    fn who_waits_for_writeback_sees_its_end() {
        let machine = HostMachine::new(1 << 20, 2);
        let folio = alloc_folio(Gfp::KERNEL, Order::ZERO).unwrap();
        folio.set_flags(PageFlags::WRITEBACK);
        std::thread::scope(|scope| {
            let (machine, folio) = (&machine, &folio);
            let waiter = scope.spawn(move || {
                machine.enter(1);
                folio.wait_while(PageFlags::WRITEBACK);
                folio.index()
            });
            folio.set_index(7);
            folio.end_writeback();
            assert_eq!(waiter.join().unwrap(), 7);
        });
    }
}
