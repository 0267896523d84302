//! One table: 512 entries in a page, which other harts and the hardware read and change at any moment.
//!
//! So an entry is reached only as a [`Slot`], by atomic operations. Stores have release ordering: what an
//! entry leads to (a zeroed table, a filled page) is there before the entry is. Linux: `set_pte`,
//! `ptep_get_and_clear` and so on in `arch/riscv/include/asm/pgtable.h`.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Bits, Entry};
use super::level::{Level, Pte, TABLE_ENTRIES};
use crate::addr::{Pfn, VirtAddr};
use crate::page::{TableArm, pfn_to_page};
use crate::sync::{Rank, RawSpinGuard, RawSpinLock};

/// A table of level `L`, by its frame. To hold one says nothing about who may change it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Table<L: Level> {
    pfn: Pfn,
    level: PhantomData<L>,
}

impl<L: Level> Table<L> {
    /// The table in frame `pfn`.
    #[inline(always)]
    pub(super) const fn at(pfn: Pfn) -> Self {
        Self { pfn, level: PhantomData }
    }

    /// Its frame.
    #[inline(always)]
    pub const fn pfn(self) -> Pfn {
        self.pfn
    }

    /// Its entries.
    ///
    /// # Safety
    /// The frame holds a table of this level, and is not freed as long as the slots are used.
    #[inline(always)]
    pub(super) unsafe fn slots<'a>(self) -> &'a [Slot<L>; TABLE_ENTRIES] {
        // SAFETY: a frame is page-aligned and in the direct map; a slot is a 64-bit atomic; the caller
        // vouches for the rest.
        unsafe { &*self.pfn.as_ptr().cast::<[Slot<L>; TABLE_ENTRIES]>() }
    }

    /// Locks its entries. Rank `PageTable`.
    ///
    /// # Safety
    /// As [`Table::slots`]; and the frame's page is typed as a table, as [`super::alloc`] makes it.
    #[inline(always)]
    #[track_caller]
    pub(super) unsafe fn lock<'a>(self) -> RawSpinGuard<'a> {
        // SAFETY: the caller vouches for it.
        unsafe { self.lock_word() }.lock(Rank::PageTable)
    }

    /// As [`Table::lock`], unless somebody else has them locked.
    ///
    /// # Safety
    /// As [`Table::lock`].
    #[inline(always)]
    #[track_caller]
    pub(super) unsafe fn lock_at_once<'a>(self) -> Option<RawSpinGuard<'a>> {
        // SAFETY: the caller vouches for it.
        unsafe { self.lock_word() }.lock_at_once(Rank::PageTable)
    }

    /// As [`Table::lock`], while a table whose lock is at a lower address is locked.
    ///
    /// # Safety
    /// As [`Table::lock`].
    #[inline(always)]
    #[track_caller]
    pub(super) unsafe fn lock_nested<'a>(self) -> RawSpinGuard<'a> {
        // SAFETY: the caller vouches for it.
        unsafe { self.lock_word() }.lock_nested(Rank::PageTable)
    }

    #[inline(always)]
    unsafe fn lock_word<'a>(self) -> &'a RawSpinLock {
        let page = pfn_to_page(self.pfn).as_ptr();
        // SAFETY: descriptors of memory live as long as the machine does, longer than the table.
        &unsafe { &*page }.arm::<TableArm>().lock
    }

    /// The entry that covers `addr`.
    ///
    /// # Safety
    /// As [`Table::slots`].
    #[inline(always)]
    pub(super) unsafe fn slot<'a>(self, addr: VirtAddr) -> &'a Slot<L> {
        // SAFETY: the caller vouches for it.
        let slots = unsafe { self.slots() };
        &slots[L::index(addr)]
    }
}

impl<L: Level> fmt::Debug for Table<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table[level {} {:?}]", L::NUMBER, self.pfn)
    }
}

/// Where one entry is. Whoever changes it holds the lock of its table, but for A and D, which the hardware
/// sets at any time while the entry is a leaf.
#[repr(transparent)]
pub struct Slot<L: Level = Pte>(AtomicU64, PhantomData<L>);

impl<L: Level> Slot<L> {
    /// A slot outside of any table.
    #[cfg(test)]
    pub(super) fn new(entry: Entry<L>) -> Self {
        Self(AtomicU64::new(entry.bits()), PhantomData)
    }

    #[inline(always)]
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.0
    }

    /// The entry now. What it leads to is seen as it was when the entry was set.
    #[inline(always)]
    pub fn get(&self) -> Entry<L> {
        Entry::from_bits(self.0.load(Ordering::Acquire))
    }

    /// As [`Slot::get`], with the table locked: the lock has ordered what was set before.
    #[inline(always)]
    pub(super) fn get_locked(&self) -> Entry<L> {
        Entry::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// Sets the entry. For one that was not valid, or has A and D: of another leaf, A or D set at this moment would be
    /// lost.
    #[inline(always)]
    pub fn set(&self, entry: Entry<L>) {
        self.0.store(entry.bits(), Ordering::Release);
    }

    /// As [`Slot::set`], for what leads to nothing that is new to those who look: to the same page as before, or to
    /// none.
    #[inline(always)]
    pub(super) fn set_known(&self, entry: Entry<L>) {
        self.0.store(entry.bits(), Ordering::Relaxed);
    }

    /// Empties the slot; returns what was there, with A and D as they were at last (Linux:
    /// `ptep_get_and_clear`).
    #[inline(always)]
    #[must_use]
    pub fn take(&self) -> Entry<L> {
        self.replace(Entry::NONE)
    }

    /// Sets the entry; returns what was there, with A and D as they were at last.
    #[inline(always)]
    pub fn replace(&self, entry: Entry<L>) -> Entry<L> {
        Entry::from_bits(self.0.swap(entry.bits(), Ordering::AcqRel))
    }

    /// Changes a leaf from `old` to `new`, unless the hardware set A or D meanwhile: then what it made of it.
    #[inline(always)]
    pub fn compare_exchange(&self, old: Entry<L>, new: Entry<L>) -> Result<(), Entry<L>> {
        match self.0.compare_exchange(old.bits(), new.bits(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(now) => Err(Entry::from_bits(now)),
        }
    }

    /// Sets `bits`, such as A and D, in a leaf; returns what was there.
    #[inline(always)]
    pub fn insert(&self, bits: Bits) -> Entry<L> {
        Entry::from_bits(self.0.fetch_or(bits.bits(), Ordering::AcqRel))
    }

    /// Clears `bits`, such as W (Linux: `ptep_set_wrprotect`) or A, in a leaf; returns what was there.
    #[inline(always)]
    pub fn remove(&self, bits: Bits) -> Entry<L> {
        Entry::from_bits(self.0.fetch_and(!bits.bits(), Ordering::AcqRel))
    }
}

impl<L: Level> fmt::Debug for Slot<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
