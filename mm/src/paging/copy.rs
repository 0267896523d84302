//! Walks that put entries elsewhere: fork's copy, mremap's move, and frames mapped as they are.
//!
//! Both tables are locked then, the one whose lock has the lower address first. Linux: `copy_page_range`,
//! `move_page_tables`, `remap_pfn_range`.

use super::entry::{Entry, Prot};
use super::gather::Gather;
use super::group::{GROUP, GROUP_BYTES, Group, Stale};
use super::level::{Level, Pmd, Pte, Upper};
use super::table::{Slot, Table};
use super::tables::{NoPte, PageTables};
use super::walk::{self, Found, Look, Parent, Walker, lock_part, lock_upper};
use crate::addr::{PAGE_SIZE, Pfn, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::sync::RawSpinGuard;

/// What [`CopyEntry::copy`] says.
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
    ///
    /// # Errors
    /// Ends the copy.
    fn refill(&mut self) -> Result<(), AllocError>;
}

impl PageTables {
    /// Copies entries of `range` to the same addresses of `child`, which nobody runs yet. Neither end is inside a
    /// huge leaf. What the parent may no longer write has to be fenced afterwards.
    ///
    /// # Errors
    /// No memory for a table, or what [`CopyEntry::refill`] lacked: the child has the entries up to some address.
    pub fn copy_range<C: CopyEntry>(
        &self,
        child: &PageTables,
        range: VirtRange,
        gfp: Gfp,
        copy: &mut C,
    ) -> Result<(), AllocError> {
        walk::walk(self.mode(), self.root(), range, &mut Copier { child, gfp, copy })
    }

    /// Moves the entries of `range` to the addresses from `to` on, where none are; the ranges do not overlap. Returns
    /// the address up to which they are moved: the end of the range, unless there was no memory for a table.
    /// Harts see them at neither address or at one. Neither end is inside a huge leaf, and huge leaves are not moved:
    /// [`PageTables::split_range`] first.
    pub fn move_range(&self, range: VirtRange, to: VirtAddr, gather: &mut Gather<'_>, gfp: Gfp) -> VirtAddr {
        debug_assert!(core::ptr::eq(self, gather.tables()));
        let mut mover = Mover { tables: self, from: range.start, to, gather, gfp };
        match walk::walk(self.mode(), self.root(), range, &mut mover) {
            Ok(()) => range.end,
            Err(reached) => reached,
        }
    }

    /// Maps `range`, where nothing is, to the frames from `pfn` on, page by page. No page is counted for it, if
    /// `prot` is [`Prot::special`] as for devices' memory and the vDSO.
    ///
    /// # Errors
    /// As [`PageTables::lock_pte`]; the range is mapped up to some address then.
    pub fn map_range(&self, range: VirtRange, pfn: Pfn, prot: Prot, gfp: Gfp) -> Result<(), NoPte> {
        walk::walk(
            self.mode(),
            self.root(),
            range,
            &mut Mapper { tables: self, base: range.start, pfn, prot, gfp },
        )
    }
}

/// Locks two tables of one level.
#[inline]
fn lock_two<'a, L: Level>(a: Table<L>, b: Table<L>) -> (RawSpinGuard<'a>, RawSpinGuard<'a>) {
    let (low, high) = if a.pfn() < b.pfn() { (a, b) } else { (b, a) };
    // SAFETY: the walks came by entries that lead there, and their caller keeps tables from being freed.
    unsafe { (low.lock(), high.lock_nested()) }
}

struct Copier<'a, C> {
    child: &'a PageTables,
    gfp: Gfp,
    copy: &'a mut C,
}

/// Takes a walk of other tables to the table of level `M` over an address.
pub(super) struct Reach<'a, M: Level> {
    tables: &'a PageTables,
    gfp: Gfp,
    found: Option<Table<M>>,
}

impl<M: Level> Reach<'_, M> {
    /// The table of level `M` over `addr`, allocated if it is not there.
    pub(super) fn find(tables: &PageTables, addr: VirtAddr, gfp: Gfp) -> Result<Option<Table<M>>, NoPte> {
        let mut reach = Reach { tables, gfp, found: None };
        let page = VirtRange::new(addr, addr + PAGE_SIZE as u64);
        walk::walk(tables.mode(), tables.root(), page, &mut reach)?;
        Ok(reach.found)
    }
}

impl<M: Level> Walker for Reach<'_, M> {
    type Stop = NoPte;

    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        _: VirtRange,
    ) -> Result<Option<Table<L::Below>>, NoPte> {
        if L::NUMBER == M::NUMBER {
            self.found = Some(Table::at(table.pfn()));
            return Ok(None);
        }
        self.tables.grow(table, slot, entry, self.gfp).map(Some)
    }

    fn ptes(&mut self, _: Table<Pte>, _: Parent<'_>, _: VirtRange) -> Result<Look, NoPte> {
        Ok(Look::Done)
    }
}

impl<C: CopyEntry> Walker for Copier<'_, C> {
    type Stop = AllocError;

    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, AllocError> {
        if entry.is_none() {
            return Ok(None);
        }
        debug_assert_eq!(part.len(), L::BYTES, "{part:?} ends inside {entry:?}");
        let addr = part.start.align_down(L::BYTES);
        let Ok(Some(to)) = Reach::<L>::find(self.child, addr, self.gfp) else {
            return Err(AllocError);
        };
        loop {
            let guards = lock_two(table, to);
            let entry = slot.get();
            if entry.is_none() {
                return Ok(None);
            }
            if entry.is_table() {
                return Ok(Some(Table::at(entry.pfn())));
            }
            // SAFETY: a walk of the child found it, and nobody else has the child.
            if self.copy.copy(addr, slot, unsafe { to.slot(addr) }) == Copied::Next {
                return Ok(None);
            }
            drop(guards);
            self.copy.refill()?;
        }
    }

    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, AllocError> {
        let (first, count) = (Pte::index(part.start), part.pages() as usize);
        // SAFETY: an entry led here, and the walk's caller keeps tables from being freed.
        let slots = &unsafe { table.slots() }[first..][..count];
        // An empty table needs no copy.
        let Some(skip) = slots.iter().position(|slot| !slot.get().is_none()) else {
            return Ok(Look::Done);
        };
        let to = self.child.pte_table(part.start, self.gfp).map_err(|_| AllocError)?;
        // SAFETY: a walk of the child found it, and nobody else has the child.
        let to_slots = &unsafe { to.slots() }[first..][..count];
        let mut index = skip;
        loop {
            let guards = lock_two(table, to);
            if !parent.holds() {
                return Ok(Look::Again);
            }
            let mut copied = Copied::Next;
            while index < count {
                let (from, to) = (&slots[index], &to_slots[index]);
                if !from.get().is_none() {
                    let addr = part.start + (index * PAGE_SIZE) as u64;
                    copied = self.copy.copy(addr, from, to);
                    if copied == Copied::Refill {
                        break;
                    }
                }
                index += 1;
            }
            drop(guards);
            if copied == Copied::Next {
                return Ok(Look::Done);
            }
            self.copy.refill()?;
        }
    }
}

struct Mover<'a, 'g> {
    tables: &'a PageTables,
    from: VirtAddr,
    to: VirtAddr,
    gather: &'a mut Gather<'g>,
    gfp: Gfp,
}

impl Walker for Mover<'_, '_> {
    /// How far it came.
    type Stop = VirtAddr;

    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, VirtAddr> {
        match lock_upper(table, slot, entry, part) {
            Found::Table(child) => Ok(Some(child)),
            Found::Nothing => Ok(None),
            Found::Entry(..) => Err(part.start),
        }
    }

    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, VirtAddr> {
        let mut at = part.start;
        while at < part.end {
            // As far as one table at the new address goes.
            let to = self.to + (at - self.from);
            let end = (at + (Pmd::BYTES - (to.get() & (Pmd::BYTES - 1)))).min(part.end);
            let count = VirtRange::new(at, end).pages() as usize;
            // SAFETY: an entry led here, and the walk's caller keeps tables from being freed.
            let slots = &unsafe { table.slots() }[Pte::index(at)..][..count];
            if slots.iter().all(|slot| slot.get().is_none()) {
                at = end;
                continue;
            }
            let to_table = self.tables.pte_table(to, self.gfp).map_err(|_| at)?;
            // SAFETY: as above.
            let to_slots = &unsafe { to_table.slots() }[Pte::index(to)..][..count];
            let guards = if table == to_table {
                // SAFETY: as above.
                (unsafe { table.lock() }, None)
            } else {
                let (low, high) = lock_two(table, to_table);
                (low, Some(high))
            };
            if !parent.holds() {
                return Ok(Look::Again);
            }
            let mut stale = Stale::NONE;
            let ((groups, rest), (to_groups, to_rest)) =
                (slots.as_chunks::<GROUP>(), to_slots.as_chunks::<GROUP>());
            // Where the groups begin that were moved whole, one after the other, and are not in `stale` yet.
            let mut run = at;
            for (group, to_group) in groups.iter().zip(to_groups) {
                let next = at + GROUP_BYTES;
                match Group::of(group) {
                    Group::InUse(entries) => {
                        group.iter().for_each(|slot| slot.set_known(Entry::NONE));
                        to_group.iter().zip(entries).for_each(|(slot, entry)| slot.set(entry));
                    }
                    what => {
                        stale.add(run, at - run);
                        if what != Group::Empty {
                            move_some(group, to_group, at, &mut stale);
                        }
                        run = next;
                    }
                }
                at = next;
            }
            stale.add(run, at - run);
            move_some(rest, to_rest, at, &mut stale);
            stale.tell(self.gather);
            // Before the locks go: who finds the page at its new address and takes its right to write
            // away would fence that address alone.
            self.gather.fence();
            drop(guards);
            at = end;
        }
        Ok(Look::Done)
    }
}

/// Moves entries one by one; the first is that of `at`.
#[inline(always)]
fn move_some(slots: &[Slot<Pte>], to: &[Slot<Pte>], mut at: VirtAddr, stale: &mut Stale) {
    for (slot, to) in slots.iter().zip(to) {
        if !slot.get_locked().is_none() {
            let entry = slot.take();
            if entry.is_valid() {
                stale.add(at, Pte::BYTES);
            }
            to.set(entry);
        }
        at = at + PAGE_SIZE as u64;
    }
}

struct Mapper<'a> {
    tables: &'a PageTables,
    base: VirtAddr,
    pfn: Pfn,
    prot: Prot,
    gfp: Gfp,
}

impl Walker for Mapper<'_> {
    type Stop = NoPte;

    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        _: VirtRange,
    ) -> Result<Option<Table<L::Below>>, NoPte> {
        self.tables.grow(table, slot, entry, self.gfp).map(Some)
    }

    #[inline]
    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, NoPte> {
        let Some((slots, _guard)) = lock_part(table, parent, part) else {
            return Ok(Look::Again);
        };
        let mut entry = Entry::<Pte>::leaf(self.pfn + (part.start - self.base) / PAGE_SIZE as u64, self.prot);
        for slot in slots {
            debug_assert!(slot.get().is_none());
            slot.set(entry);
            entry = entry.forward(1);
        }
        Ok(Look::Done)
    }
}
