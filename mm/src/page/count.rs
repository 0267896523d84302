//! References and mappings of a page, in one 64-bit cell: the upper half counts references, the lower
//! half is the mapcount or the page's type.
//!
//! One cell, so that the last put sees in the word it gets back anyway whether the page is still mapped
//! or typed. Overflow: a reference count that reaches 2^31 sticks there (the page leaks, as with Linux's
//! `refcount_t`), [`Count::try_get`] refuses from 2^30 on, and so does a mapping.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::PageType;

const REF: u64 = 1 << 32;
const REF_LIMIT: u64 = REF << 30;
const SATURATED: u64 = 0xc000_0000 * REF;
const MAP_MASK: u64 = REF - 1;
const MAP_LIMIT: u64 = 1 << 30;

/// What [`Count::put`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// References are left.
    Shared,
    /// That was the last one, and nothing maps the page.
    Last,
    /// That was the last one, but the page is mapped or typed: a bug of whoever put.
    Bad,
}

/// The cell. All zeroes is a free page.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// No reference, no mapping.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes a free page into use, with one reference. Only for the allocator, which owns the page;
    /// `Release` lets a [`Count::try_get`] see what was set up before.
    #[inline(always)]
    pub fn set_first(&self) {
        self.0.store(REF, Release);
    }

    /// References.
    #[inline(always)]
    pub fn refs(&self) -> u32 {
        (self.0.load(Relaxed) >> 32) as u32
    }

    /// One reference more; the caller has one.
    #[inline(always)]
    pub fn get(&self) {
        if self.0.fetch_add(REF, Relaxed) >= REF_LIMIT {
            self.saturate();
        }
    }

    /// One reference more, unless there is none or there are too many.
    #[inline]
    #[must_use]
    pub fn try_get(&self) -> bool {
        self.0.try_update(Acquire, Relaxed, |old| (REF..REF_LIMIT).contains(&old).then(|| old + REF)).is_ok()
    }

    /// One reference less.
    #[inline(always)]
    pub fn put(&self) -> Put {
        let old = self.0.fetch_sub(REF, AcqRel);
        if old == REF { Put::Last } else { self.put_slow(old) }
    }

    #[inline(never)]
    fn put_slow(&self, old: u64) -> Put {
        match old >> 32 {
            0 => {
                self.0.fetch_add(REF, Relaxed);
                Put::Bad
            }
            1 => Put::Bad,
            _ if old >= REF << 31 => {
                self.saturate();
                Put::Shared
            }
            _ => Put::Shared,
        }
    }

    #[cold]
    fn saturate(&self) {
        let old = self.0.load(Relaxed);
        if old >= REF << 31 {
            self.0.fetch_add((SATURATED).wrapping_sub(old & !MAP_MASK), Relaxed);
        }
    }

    /// Takes all `refs` references away at once, so that nobody gets one; fails if there are others
    /// (Linux: `folio_ref_freeze`).
    #[inline]
    #[must_use]
    pub fn freeze(&self, refs: u32) -> bool {
        self.0.try_update(AcqRel, Relaxed, |old| (old >> 32 == refs as u64).then_some(old & MAP_MASK)).is_ok()
    }

    /// Gives `refs` references to a frozen page.
    #[inline]
    pub fn unfreeze(&self, refs: u32) {
        let old = self.0.fetch_add(refs as u64 * REF, Release);
        debug_assert!(old < REF, "unfreeze of a page in use");
    }

    /// Mappings of the page; 0 for one that has a type.
    #[inline]
    pub fn mapcount(&self) -> u32 {
        let low = self.0.load(Relaxed) as u32;
        if low & PageType::BIT == 0 { low } else { 0 }
    }

    /// One mapping more, and says how many there were; `None` when there are too many.
    #[inline]
    #[must_use]
    pub fn map(&self) -> Option<u32> {
        let old = self.0.fetch_add(1, Relaxed) & MAP_MASK;
        if old < MAP_LIMIT {
            return Some(old as u32);
        }
        self.0.fetch_sub(1, Relaxed);
        None
    }

    /// One mapping less, and says how many are left.
    #[inline]
    pub fn unmap(&self) -> u32 {
        let old = self.0.fetch_sub(1, AcqRel) as u32;
        debug_assert!(old != 0 && old & PageType::BIT == 0, "unmap of an unmapped page: {old:#x}");
        old.wrapping_sub(1)
    }

    /// What the page is, if it is not a folio's.
    #[inline]
    pub fn page_type(&self) -> Option<PageType> {
        PageType::from_bits(self.0.load(Relaxed) as u32)
    }

    /// Gives the page a type. It has none and is not mapped.
    #[inline]
    pub fn set_type(&self, kind: PageType) {
        let old = self.0.fetch_add(kind as u64, Release) as u32;
        debug_assert!(old == 0, "set_type({kind:?}) of a page with mapcount or type {old:#x}");
    }

    /// Takes the type away, which is `kind`.
    #[inline]
    pub fn clear_type(&self, kind: PageType) {
        let old = self.0.fetch_sub(kind as u64, Release) as u32;
        debug_assert!(old == kind as u32, "clear_type({kind:?}) of a page with type {old:#x}");
    }

    /// The whole word, for the allocator's checks.
    #[inline(always)]
    pub(crate) fn raw(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Marks a page that nobody has a reference of as free, of that kind.
    #[inline(always)]
    pub(crate) fn set_free(&self, kind: PageType) {
        self.0.store(kind as u64, Relaxed);
    }

    /// Back to zero.
    #[inline(always)]
    pub(crate) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}
