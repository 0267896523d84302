//! How every walk over a range goes from table to table; what it does there is a [`Walker`].
//!
//! Nothing is locked on the way down. Entries above the last level change from empty to a table under a
//! walker's feet, and no further: who walks keeps tables from being freed (see [`super::tables`]). Should one
//! go all the same, after its readers' grace period, the walker that has locked it sees that [`Parent::holds`] no
//! more, and looks again. Linux: `walk_pgd_range` and so on.

use core::sync::atomic::{AtomicU64, Ordering};

use super::entry::Entry;
use super::level::{Level, Mode, P4d, Pgd, Pte, Pud, Upper};
use super::table::{Slot, Table};
use crate::addr::{Pfn, VirtAddr, VirtRange};
use crate::sync::RawSpinGuard;

/// What came of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// It is done.
    Done,
    /// It was replaced; look at the entry above again.
    Again,
}

/// The entry that led to a table.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    slot: Option<&'a AtomicU64>,
    bits: u64,
}

impl<'a> Parent<'a> {
    /// Of the root, which never changes.
    const ROOT: Parent<'static> = Parent { slot: None, bits: 0 };

    #[inline(always)]
    pub(super) fn new<L: Level>(slot: &'a Slot<L>, entry: Entry<L>) -> Self {
        Self { slot: Some(slot.word()), bits: entry.bits() }
    }

    /// Whether it leads to the same table still. Asked with the table locked.
    #[inline(always)]
    pub(super) fn holds(self) -> bool {
        self.slot.is_none_or(|slot| slot.load(Ordering::Relaxed) == self.bits)
    }
}

/// What a walk does where it comes by.
pub trait Walker {
    /// Why it ends early.
    type Stop;

    /// At an entry above the last level that is no table, empty perhaps. `part` is the walk's range as far as the entry
    /// covers it. Says which table to go into, if there is one now.
    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, Self::Stop>;

    /// In a last-level table, as far as `part` goes.
    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, Self::Stop>;

    /// Back from `child`, which `slot` leads to and which covers `L::BYTES` from `start` on.
    #[inline(always)]
    fn leave<L: Upper>(&mut self, _slot: &Slot<L>, _child: Table<L::Below>, _start: VirtAddr) {}
}

/// Takes `walker` through `range` of the tables at `root`.
#[inline]
pub(super) fn walk<W: Walker>(
    mode: Mode,
    root: Pfn,
    range: VirtRange,
    walker: &mut W,
) -> Result<(), W::Stop> {
    debug_assert!(range.start.is_page_aligned() && range.end.is_page_aligned());
    match mode {
        Mode::Sv39 => Pud::descend(Table::at(root), Parent::ROOT, range, walker),
        Mode::Sv48 => P4d::descend(Table::at(root), Parent::ROOT, range, walker),
        Mode::Sv57 => Pgd::descend(Table::at(root), Parent::ROOT, range, walker),
    }
    .map(|_| ())
}

/// As [`walk`], for a table above the last level. The range ends below the last page of the address space.
pub(super) fn upper<L: Upper, W: Walker>(
    table: Table<L>,
    range: VirtRange,
    walker: &mut W,
) -> Result<(), W::Stop> {
    // SAFETY: an entry of the level above, or the root, led here, and the walker's caller keeps tables
    // from being freed.
    let slots = unsafe { table.slots() };
    let mut at = range.start;
    while at < range.end {
        let within = at.get() & (L::BYTES - 1);
        let next = at + (L::BYTES - within).min(range.end - at);
        let part = VirtRange::new(at, next);
        let slot = &slots[L::index(at)];
        loop {
            let mut entry = slot.get();
            let child = if entry.is_table() {
                Table::at(entry.pfn())
            } else if let Some(child) = walker.upper(table, slot, entry, part)? {
                entry = Entry::table(child.pfn());
                child
            } else {
                break;
            };
            if L::Below::descend(child, Parent::new(slot, entry), part, walker)? == Look::Done {
                walker.leave(slot, child, at - within);
                break;
            }
        }
        at = next;
    }
    Ok(())
}

/// Locks a last-level table for a walk over `part`, unless `parent` leads elsewhere by now.
#[inline(always)]
pub(super) fn lock_part<'a>(
    table: Table<Pte>,
    parent: Parent<'_>,
    part: VirtRange,
) -> Option<(&'a [Slot<Pte>], RawSpinGuard<'a>)> {
    // SAFETY: an entry led here, and the walk's caller keeps tables from being freed.
    let (slots, guard) = unsafe { (table.slots(), table.lock()) };
    parent.holds().then(|| (&slots[Pte::index(part.start)..][..part.pages() as usize], guard))
}

/// Where an upper entry is to be dealt with, once its table is locked.
pub(super) enum Found<'a, L: Upper> {
    /// It became a table meanwhile.
    Table(Table<L::Below>),
    /// It is empty.
    Nothing,
    /// It is something else: its address and what it is now.
    Entry(VirtAddr, Entry<L>, RawSpinGuard<'a>),
}

/// Locks `table` for an entry that is neither empty nor a table, and looks again.
#[inline]
pub(super) fn lock_upper<'a, L: Upper>(
    table: Table<L>,
    slot: &Slot<L>,
    entry: Entry<L>,
    part: VirtRange,
) -> Found<'a, L> {
    if entry.is_none() {
        return Found::Nothing;
    }
    lock_upper_slow(table, slot, part)
}

#[cold]
fn lock_upper_slow<'a, L: Upper>(table: Table<L>, slot: &Slot<L>, part: VirtRange) -> Found<'a, L> {
    // SAFETY: the walk is in this table, and its caller keeps tables from being freed.
    let guard = unsafe { table.lock() };
    let entry = slot.get();
    if entry.is_none() {
        Found::Nothing
    } else if entry.is_table() {
        Found::Table(Table::at(entry.pfn()))
    } else {
        debug_assert_eq!(part.len(), L::BYTES, "{part:?} ends inside {entry:?}");
        Found::Entry(part.start.align_down(L::BYTES), entry, guard)
    }
}
