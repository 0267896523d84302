//! The way down to one address where every table is there: what each fault and each look takes.
//!
//! Nothing is allocated on it, nothing waited for, and what is no table ends it: who asked goes the long way then and
//! finds out what it was. An entry has the frame's number two bits lower than an address has
//! it, so that four times the entry is the table's physical address, and V the least bit of a quarter: one addition
//! takes V off and puts the direct map's offset on, and the sum's low bits tell a table from all else. Linux:
//! `pgd_offset`, `p4d_offset` and so on.

use super::entry::Entry;
use super::level::{Level, Mode, P4d, Pgd, Pmd, Pte, Pud, Upper};
use super::table::{Slot, Table};
use super::tables::{AnyEntry, PageTables, PteGuard, any};
use super::walk::Parent;
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, VirtAddr};

/// log2 of the bytes of a slot.
const SLOT_SHIFT: u32 = 3;

/// Where a table is: a quarter of its address, as entries have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(u64);

impl At {
    /// Where the direct map has frame `pfn`.
    pub(super) fn of(pfn: Pfn) -> Self {
        Self(pfn.as_ptr().expose_provenance() as u64 / 4)
    }

    /// Its first slot.
    #[inline(always)]
    fn ptr<T>(self) -> *const T {
        let address = (self.0 << 2) as usize;
        // Both are the same; Miri follows pointers, and compilers numbers.
        if cfg!(miri) {
            PhysAddr::ZERO.as_ptr().with_addr(address).cast()
        } else {
            core::ptr::with_exposed_provenance(address)
        }
    }

    /// The slot of `addr`.
    ///
    /// # Safety
    /// A table of level `L` is there, and not freed as long as the slot is used.
    #[inline(always)]
    unsafe fn slot<'a, L: Level>(self, addr: VirtAddr) -> &'a Slot<L> {
        const { assert!(size_of::<Slot<L>>() == 1 << SLOT_SHIFT) };
        let offset = (addr.get() >> (L::SHIFT - SLOT_SHIFT)) as usize & (PAGE_SIZE - (1 << SLOT_SHIFT));
        debug_assert_eq!(offset, L::index(addr) << SLOT_SHIFT);
        // SAFETY: within the table, which is page-aligned and in the direct map; a slot is a 64-bit atomic; the
        // caller vouches for the rest.
        unsafe { &*self.ptr::<Slot<L>>().byte_add(offset) }
    }
}

/// A quarter of the direct map's offset, less an entry's V: read once for all of a walk.
#[derive(Clone, Copy)]
struct Offset(u64);

impl Offset {
    #[inline(always)]
    fn get() -> Self {
        let start = PhysAddr::ZERO.as_ptr().expose_provenance();
        debug_assert!(start.is_multiple_of(PAGE_SIZE));
        Self((start as u64).wrapping_sub(4 * Entry::<Pmd>::TABLE.bits()) / 4)
    }

    /// The table that `entry` leads to, if it does.
    #[inline(always)]
    fn follow<L: Upper>(self, entry: Entry<L>) -> Option<At> {
        let at = entry.bits().wrapping_add(self.0);
        // A quarter of a page's address has nothing in its low ten bits: the entry had V there, and nothing else.
        (at & (PAGE_SIZE as u64 / 4 - 1) == 0).then_some(At(at))
    }
}

/// The last-level table over an address as a look found it: to be locked without going down again, for as long as
/// tables are kept from being freed.
#[derive(Clone, Copy, Debug)]
pub struct LastTable<'a> {
    parent: &'a Slot<Pmd>,
    entry: Entry<Pmd>,
    at: At,
}

impl PageTables {
    /// The table above the last level over `addr`, if it is there.
    #[inline(always)]
    fn quick_pmd(&self, offset: Offset, addr: VirtAddr) -> Option<At> {
        // SAFETY: the root is of the mode's level; else an entry of the level above led there. The caller keeps
        // tables from being freed.
        unsafe {
            // Sv48 first, as most machines have no more: one comparison for it.
            let pud = if self.mode() == Mode::Sv48 {
                offset.follow(self.top.slot::<P4d>(addr).get())?
            } else {
                core::hint::cold_path();
                if self.mode() == Mode::Sv39 {
                    self.top
                } else {
                    let p4d = offset.follow(self.top.slot::<Pgd>(addr).get())?;
                    offset.follow(p4d.slot::<P4d>(addr).get())?
                }
            };
            offset.follow(pud.slot::<Pud>(addr).get())
        }
    }

    /// The last-level table over `addr`, if there is one.
    #[inline(always)]
    fn quick_last(&self, addr: VirtAddr) -> Option<LastTable<'_>> {
        let offset = Offset::get();
        let pmd = self.quick_pmd(offset, addr)?;
        // SAFETY: an entry led there, and the caller keeps tables from being freed.
        let parent = unsafe { pmd.slot::<Pmd>(addr) };
        let entry = parent.get();
        Some(LastTable { parent, entry, at: offset.follow(entry)? })
    }

    /// The last-level entry of `addr`, if there is a table for it.
    #[inline(always)]
    pub(super) fn quick_pte(&self, addr: VirtAddr) -> Option<Entry<Pte>> {
        Some(self.quick_last(addr)?.get(addr))
    }

    /// Locks the last-level table over `addr`, if there is one, nobody else has it locked, and it did not go in this
    /// moment.
    #[inline(always)]
    #[track_caller]
    pub(super) fn quick_lock(&self, addr: VirtAddr) -> Option<PteGuard<'_>> {
        self.quick_last(addr)?.lock(addr)
    }

    /// As [`PageTables::lookup`], with the last-level table if there is one.
    #[inline(always)]
    pub fn lookup_last(&self, addr: VirtAddr) -> (AnyEntry, Option<LastTable<'_>>) {
        match self.quick_last(addr) {
            Some(last) => (AnyEntry::Pte(last.get(addr)), Some(last)),
            None => (self.look(addr).unwrap_or_else(|last| last), None),
        }
    }

    /// The entry at which a walk for `addr` ends, a leaf or not. Takes no lock; the entry may be another the
    /// moment after.
    #[inline]
    pub fn lookup(&self, addr: VirtAddr) -> AnyEntry {
        match self.quick_pte(addr) {
            Some(entry) => AnyEntry::Pte(entry),
            None => self.look(addr).unwrap_or_else(|last| last),
        }
    }

    /// The physical address behind `addr`, if a leaf leads there. As [`PageTables::lookup`]; rights are not looked at.
    #[inline(always)]
    pub fn translate(&self, addr: VirtAddr) -> Option<PhysAddr> {
        let page = match self.quick_pte(addr) {
            // What is valid at the lowest level is a leaf.
            Some(entry) if entry.is_valid() => entry.pfn().phys(),
            _ => self.translate_slow(addr)?,
        };
        Some(page + addr.page_offset() as u64)
    }

    #[cold]
    fn translate_slow(&self, addr: VirtAddr) -> Option<PhysAddr> {
        Some(self.look(addr).unwrap_or_else(|last| last).frame(addr)?.phys())
    }

    /// As [`PageTables::lookup`]; an error where no last-level table is there.
    #[cold]
    fn look(&self, addr: VirtAddr) -> Result<AnyEntry, AnyEntry> {
        #[inline(always)]
        fn step<L: Upper>(table: Table<L>, addr: VirtAddr) -> Result<Table<L::Below>, AnyEntry> {
            // SAFETY: the caller keeps tables from being freed.
            let entry = unsafe { table.slot(addr) }.get();
            if entry.is_table() { Ok(Table::at(entry.pfn())) } else { Err(any(entry)) }
        }
        let pud = match self.mode() {
            Mode::Sv39 => Table::<Pud>::at(self.root()),
            Mode::Sv48 => step(Table::<P4d>::at(self.root()), addr)?,
            Mode::Sv57 => step(step(Table::<Pgd>::at(self.root()), addr)?, addr)?,
        };
        let table = step(step(pud, addr)?, addr)?;
        // SAFETY: as above.
        Ok(AnyEntry::Pte(unsafe { table.slot(addr) }.get()))
    }
}

impl<'a> LastTable<'a> {
    /// The entry of `addr`, which the table is over.
    #[inline(always)]
    fn get(self, addr: VirtAddr) -> Entry<Pte> {
        // SAFETY: an entry led there, and who has this keeps tables from being freed.
        unsafe { self.at.slot::<Pte>(addr) }.get()
    }

    /// Locks it for a look at `addr`, which it is over, if nobody else has it locked and nothing took its place.
    #[inline(always)]
    #[track_caller]
    pub fn lock(self, addr: VirtAddr) -> Option<PteGuard<'a>> {
        // SAFETY: as above.
        unsafe {
            let lock = Table::<Pte>::at(self.entry.table_pfn()).lock_at_once()?;
            PteGuard::new(&*self.at.ptr(), lock, Parent::new(self.parent, self.entry), addr)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Marker, NonPresent, Prot};
    use super::*;
    use crate::gfp::Gfp;
    use crate::host::HostMachine;

    #[test]
    fn nothing_but_a_table_is_followed() {
        let _machine = HostMachine::new(8 << 20, 1);
        let (offset, pfn) = (Offset::get(), Pfn::new(0x80200));
        let at = offset.follow(Entry::<Pmd>::table(pfn)).expect("a table");
        assert_eq!(at.ptr::<u8>(), pfn.as_ptr().cast_const());
        assert_eq!(At::of(pfn).ptr::<u8>(), at.ptr());
        let prots = [Prot::USER_R, Prot::USER_RW, Prot::USER_X, Prot::USER_RWX, Prot::NONE, Prot::KERNEL_R];
        for entry in prots.map(|prot| Entry::<Pmd>::leaf(pfn, prot)) {
            assert!(offset.follow(entry).is_none() && offset.follow(entry.dirty()).is_none(), "{entry:?}");
        }
        let others = [NonPresent::Poison(pfn), NonPresent::Marker(Marker::Guard)];
        for entry in others.map(Entry::<Pmd>::non_present).into_iter().chain([Entry::NONE]) {
            assert!(offset.follow(entry).is_none(), "{entry:?}");
        }
    }

    #[test]
    fn a_locked_table_is_not_waited_for() {
        let machine = HostMachine::new(8 << 20, 2);
        let tables = PageTables::new(Gfp::KERNEL).unwrap();
        let addr = VirtAddr::new(0x1234_5000);
        assert!(tables.quick_lock(addr).is_none() && tables.quick_pte(addr).is_none(), "no table yet");
        drop(tables.lock_pte(addr, Gfp::KERNEL).unwrap());
        assert_eq!(tables.quick_pte(addr), Some(Entry::NONE));
        let pmd = tables.quick_pmd(Offset::get(), addr).unwrap();
        // SAFETY: nobody frees the tables here.
        let slot = unsafe { pmd.slot::<Pmd>(addr) };
        let table = Table::<Pte>::at(slot.get().pfn());
        std::thread::scope(|scope| {
            // SAFETY: as above.
            let guard = unsafe { table.lock() };
            let other = scope.spawn(|| {
                machine.enter(1);
                tables.quick_lock(addr).is_none()
            });
            assert!(other.join().unwrap());
            drop(guard);
        });
        assert!(tables.quick_lock(addr + 0xfff).is_some_and(|guard| guard.addr() == addr));
        // What took its place is not taken for it.
        let gone = Parent::new(slot, Entry::<Pmd>::table(table.pfn() + 1));
        // SAFETY: as above.
        let (slots, lock) = unsafe { (table.slots(), table.lock()) };
        assert!(PteGuard::new(slots, lock, gone, addr).is_none());
        let mut gather = super::super::Gather::new(&tables);
        let all = crate::addr::VirtRange::new(VirtAddr::ZERO, tables.mode().user_end());
        tables.free_tables(all, all.start, all.end, &mut gather);
        gather.finish();
        assert!(tables.quick_lock(addr).is_none());
    }
}
