//! Walks over a range of addresses, table by table: zap, protect, copy, look.
//!
//! One last-level table is locked at a time, and its entries are gone through in one plain loop; what has no
//! table is skipped at the level where that shows. Each walk has a trait with a generic method: what is to be done
//! with an entry of any level, inlined into the loop. Both ends of the range are page-aligned; neither is inside a huge
//! leaf ([`PageTables::split_at`] first). Linux: `zap_page_range`, `change_protection`, `copy_page_range`,
//! `walk_page_range`.

use core::ops::ControlFlow;

use super::entry::Entry;
use super::gather::Gather;
use super::level::Level;
use super::table::Slot;
use super::tables::PageTables;
use crate::addr::{VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;

/// What happens to what [`PageTables::zap_range`] finds.
pub trait Zap {
    /// Whether the entry, which is not empty, stays (Linux: `zap_details`).
    #[inline(always)]
    fn keeps<L: Level>(&mut self, _addr: VirtAddr, _entry: Entry<L>) -> bool {
        false
    }

    /// The entry of `addr` was taken out; it covers `L::BYTES`. The page's mapcount goes down here, and
    /// its reference goes to [`Gather::page`]: stale translations still lead to it. The lock of the table is held.
    fn taken<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>, gather: &mut Gather<'_>);
}

/// What [`PageTables::protect_range`] makes of what it finds.
pub trait Protect {
    /// What is to replace `entry`, which is not empty; the same for no change. A leaf stays a leaf of the same
    /// page or prot-none. Called again if the hardware sets A or D meanwhile. The lock of the table is held.
    fn change<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>) -> Entry<L>;
}

/// What [`Copy::copy`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copied {
    /// Go on with the next entry.
    Next,
    /// Drop the locks, call [`CopyEntry::refill`], and come again with the same entry.
    Refill,
}

/// How fork copies an entry.
pub trait CopyEntry {
    /// Copies `from`, which is not empty, to `to`, which is. Both tables are locked.
    fn copy<L: Level>(&mut self, addr: VirtAddr, from: &Slot<L>, to: &Slot<L>) -> Copied;

    /// Gets what [`CopyEntry::copy`] lacked, such as a page. No lock is held; may sleep.
    fn refill(&mut self) -> Result<(), AllocError>;
}

/// What looks at entries.
pub trait Visit {
    /// An entry that is not empty. May change it as [`Slot`] allows. The lock of the table is held.
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()>;

    /// Nothing is mapped in `range`; neighbouring holes may come one by one.
    #[inline(always)]
    fn hole(&mut self, _range: VirtRange) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl PageTables {
    /// Takes out all entries of `range` that `zap` does not keep. Fences and frees by way of `gather`, when it is
    /// full also in between, with no lock held.
    pub fn zap_range<Z: Zap>(&self, _range: VirtRange, _gather: &mut Gather<'_>, _zap: &mut Z) {
        unimplemented!()
    }

    /// Changes entries of `range`; the fence is `gather`'s. Returns how many base pages changed.
    pub fn protect_range<P: Protect>(
        &self,
        _range: VirtRange,
        _gather: &mut Gather<'_>,
        _protect: &mut P,
    ) -> u64 {
        unimplemented!()
    }

    /// Copies entries of `range` to the same addresses of `child`, which nobody runs yet. On an error the child
    /// has the entries up to some address.
    pub fn copy_range<C: CopyEntry>(
        &self,
        _child: &PageTables,
        _range: VirtRange,
        _gfp: Gfp,
        _copy: &mut C,
    ) -> Result<(), AllocError> {
        unimplemented!()
    }

    /// Shows `visit` all entries of `range`, in ascending order, until it breaks.
    pub fn visit_range<V: Visit>(&self, _range: VirtRange, _visit: &mut V) -> ControlFlow<()> {
        unimplemented!()
    }

    /// If `addr` is inside a huge leaf, replaces that by a table of smaller ones, down to base pages.
    pub fn split_at(&self, _addr: VirtAddr, _gather: &mut Gather<'_>, _gfp: Gfp) -> Result<(), AllocError> {
        unimplemented!()
    }
}
