//! References and mappings of a page, in one 64-bit cell: the lower half counts references, the upper
//! half is the mapcount or the page's type.
//!
//! One cell, so that the last put sees in the word it gets back anyway whether the page is still mapped
//! or typed. Overflow: a reference count that reaches 2^31 sticks there (the page leaks, as with Linux's
//! `refcount_t`); [`Count::try_get`] and [`Count::map`] refuse from 2^30 on.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::PageType;
use crate::addr::Order;

const REFS: u64 = u32::MAX as u64;
const REF_LIMIT: u64 = 1 << 30;
const STUCK: u64 = 1 << 31;
/// Where a stuck count is put back to, far from both ends.
const SATURATED: u64 = 0xc000_0000;
const MAP_SHIFT: u32 = 32;
const MAP: u64 = 1 << MAP_SHIFT;
const MAP_LIMIT: u64 = 1 << 30;

/// What [`Count::put`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// References are left.
    Shared,
    /// That was the last one, and nothing maps the page.
    Last,
    /// There was none, or it was the last one of a page that is mapped or has a type: a bug of whoever
    /// put. The count is as if nothing had happened, so that the page is never freed.
    Bad,
}

/// What a put found that was not the last one.
#[must_use]
#[derive(Debug)]
pub(crate) struct More(u64);

/// The cell. All zeroes is a frame that nobody uses.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// No reference, no mapping.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a page that is nobody's into use, with one reference. Only for the allocator, which owns
    /// the page; pairs with [`Count::try_get`], which then sees what was set up before.
    #[inline(always)]
    pub(crate) fn set_first(&self) {
        self.0.store(1, Release);
    }

    /// Takes a page that nobody uses into use, unless somebody does: for owners that are not the allocator.
    #[inline]
    #[must_use]
    pub(crate) fn take_free(&self) -> bool {
        self.0.compare_exchange(0, 1, AcqRel, Relaxed).is_ok()
    }

    /// References.
    #[inline(always)]
    pub fn refs(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// Whether there were more references than can be counted.
    pub(crate) fn is_stuck(&self) -> bool {
        self.refs() as u64 >= STUCK
    }

    /// Whether the upper half is a type, known or not.
    pub(crate) fn is_typed(&self) -> bool {
        (self.raw() >> MAP_SHIFT) as u32 & PageType::BIT != 0
    }

    /// One reference more; the caller has one.
    #[inline(always)]
    pub fn get(&self) {
        if self.0.fetch_add(1, Relaxed) & REFS >= STUCK - 1 {
            self.saturate();
        }
    }

    /// One reference more, unless there is none or there are too many.
    #[inline]
    #[must_use]
    pub fn try_get(&self) -> bool {
        self.0
            .fetch_update(Acquire, Relaxed, |old| (1..REF_LIMIT).contains(&(old & REFS)).then(|| old + 1))
            .is_ok()
    }

    /// One reference less.
    pub fn put(&self) -> Put {
        match self.put_last() {
            Ok(()) => Put::Last,
            Err(more) => self.put_more(more),
        }
    }

    /// One reference less: `Ok` if it was the last one, as [`Put::Last`]. Otherwise there is more to do:
    /// [`Count::put_more`]. In two parts so that the first one is all that is inlined.
    #[inline(always)]
    pub(crate) fn put_last(&self) -> Result<(), More> {
        let old = self.0.fetch_sub(1, AcqRel);
        if old == 1 { Ok(()) } else { Err(More(old)) }
    }

    /// See [`Count::put_last`].
    pub(crate) fn put_more(&self, More(old): More) -> Put {
        match old & REFS {
            0 | 1 => {
                self.0.fetch_add(1, Relaxed);
                Put::Bad
            }
            refs if refs >= STUCK => {
                self.saturate();
                Put::Shared
            }
            _ => Put::Shared,
        }
    }

    /// Moves a stuck count back to the middle of where it may be, so that no number of gets and puts
    /// gets it out.
    #[cold]
    fn saturate(&self) {
        // The closure always has a value.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |old| Some(old & !REFS | SATURATED));
    }

    /// Takes all `refs` references away at once, so that nobody gets one; fails if there are others
    /// (Linux: `folio_ref_freeze`).
    #[inline]
    #[must_use]
    pub fn freeze(&self, refs: u32) -> bool {
        self.0.fetch_update(AcqRel, Relaxed, |old| (old & REFS == refs as u64).then_some(old & !REFS)).is_ok()
    }

    /// Gives `refs` references to a frozen page.
    #[inline]
    pub fn unfreeze(&self, refs: u32) {
        let old = self.0.fetch_add(refs as u64, Release);
        debug_assert!(old & REFS == 0, "unfreeze of a page in use");
    }

    /// Mappings of the page; 0 for one that has a type.
    #[inline]
    pub fn mapcount(&self) -> u32 {
        let high = (self.0.load(Relaxed) >> MAP_SHIFT) as u32;
        if high & PageType::BIT == 0 { high } else { 0 }
    }

    /// One mapping more, and says how many there were; `None` when there are too many, and then none
    /// was counted.
    #[inline]
    #[must_use]
    pub fn map(&self) -> Option<u32> {
        let old = self.0.fetch_add(MAP, Relaxed) >> MAP_SHIFT;
        debug_assert!(old as u32 & PageType::BIT == 0, "mapping a page that has a type: {old:#x}");
        if old < MAP_LIMIT {
            return Some(old as u32);
        }
        self.0.fetch_sub(MAP, Relaxed);
        None
    }

    /// One mapping less, and says how many are left. There was one.
    #[inline]
    pub fn unmap(&self) -> u32 {
        let old = (self.0.fetch_sub(MAP, AcqRel) >> MAP_SHIFT) as u32;
        debug_assert!(old != 0 && old & PageType::BIT == 0, "unmap of an unmapped page: {old:#x}");
        old.wrapping_sub(1)
    }

    /// What the page is, if it is not a folio's.
    #[inline]
    pub fn page_type(&self) -> Option<PageType> {
        PageType::from_bits((self.0.load(Relaxed) >> MAP_SHIFT) as u32)
    }

    /// Gives the page a type. It has none and is not mapped.
    #[inline]
    pub fn set_type(&self, kind: PageType) {
        let old = self.0.fetch_add((kind as u64) << MAP_SHIFT, Release) >> MAP_SHIFT;
        debug_assert!(old == 0, "set_type({kind:?}) of a page with mapcount or type {old:#x}");
    }

    /// Takes the type away, which is `kind`.
    #[inline]
    pub fn clear_type(&self, kind: PageType) {
        let old = self.0.fetch_sub((kind as u64) << MAP_SHIFT, Release) >> MAP_SHIFT;
        debug_assert!(old == kind as u64, "clear_type({kind:?}) of a page with type {old:#x}");
    }

    /// The whole word, for the allocator's checks.
    #[inline(always)]
    pub(crate) fn raw(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The word of the first page of a free block of the buddy allocator: the type with the order in
    /// it, so that one comparison tells whether a buddy is free and as large.
    #[inline(always)]
    pub(crate) const fn buddy_word(order: usize) -> u64 {
        (PageType::Buddy as u64 | (order as u64) << PageType::ORDER_SHIFT) << MAP_SHIFT
    }

    /// The order of the free block of the buddy allocator that starts with the page, if one does.
    #[inline]
    pub(crate) fn buddy_order(&self) -> Option<Order> {
        let kind = (self.raw() >> MAP_SHIFT) as u32;
        let order = (kind >> PageType::ORDER_SHIFT & 0xf) as usize;
        (PageType::from_bits(kind) == Some(PageType::Buddy)).then(|| Order::new(order)).flatten()
    }

    /// Sets the word of a page that nobody has a reference to.
    #[inline(always)]
    pub(crate) fn set_raw(&self, word: u64) {
        self.0.store(word, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_put_says_so() {
        let count = Count::new();
        assert!(!count.try_get());
        count.set_first();
        assert!(count.try_get());
        assert_eq!(count.put(), Put::Shared);
        assert_eq!(count.put(), Put::Last);
        assert_eq!(count.put(), Put::Bad);
        assert_eq!(count.raw(), 0);
    }

    #[test]
    fn a_mapped_or_typed_page_is_not_freed() {
        let count = Count::new();
        count.set_first();
        assert_eq!(count.map(), Some(0));
        assert_eq!(count.put(), Put::Bad);
        assert_eq!((count.refs(), count.mapcount()), (1, 1));
        assert_eq!(count.unmap(), 0);
        count.set_type(PageType::Slab);
        assert_eq!((count.page_type(), count.mapcount()), (Some(PageType::Slab), 0));
        assert_eq!(count.put(), Put::Bad);
        count.clear_type(PageType::Slab);
        assert_eq!(count.put(), Put::Last);
    }

    #[test]
    fn counts_do_not_overflow() {
        let count = Count::new();
        count.set_raw(REF_LIMIT);
        assert!(!count.try_get());
        count.set_raw(STUCK - 1);
        count.get();
        for _ in 0..3 {
            assert_eq!(count.put(), Put::Shared);
        }
        assert_eq!(count.raw(), SATURATED);
        count.set_raw(1 | MAP_LIMIT << MAP_SHIFT);
        assert_eq!(count.map(), None);
        assert_eq!(count.raw(), 1 | MAP_LIMIT << MAP_SHIFT);
    }

    #[test]
    fn freezing_takes_just_what_is_expected() {
        let count = Count::new();
        count.set_first();
        count.get();
        assert!(!count.freeze(1) && count.freeze(2));
        assert!(!count.try_get());
        count.unfreeze(2);
        assert_eq!(count.refs(), 2);
    }
}
