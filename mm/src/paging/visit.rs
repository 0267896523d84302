//! Walks over a range of addresses, table by table: zap, protect, look.
//!
//! One last-level table is locked at a time, and its entries are gone through in one plain loop; what has no
//! table is skipped at the level where that shows. Each walk has a trait with a generic method: what is to
//! be done with an entry of any level, inlined into the loop. Both ends of the range are page-aligned; neither
//! is inside a huge leaf ([`PageTables::split_at`] first): such a leaf is taken whole. Linux:
//! `zap_page_range`, `change_protection`, `walk_page_range`.

use core::convert::Infallible;
use core::ops::ControlFlow;

use super::entry::Entry;
use super::gather::Gather;
use super::group::{GROUP, GROUP_BYTES, Group, Stale};
use super::level::{Level, Pte, Upper};
use super::table::{Slot, Table};
use super::tables::PageTables;
use super::walk::{self, Found, Look, Parent, Walker, lock_part, lock_upper};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};

/// What happens to what [`PageTables::zap_range`] finds.
pub trait Zap {
    /// Whether the entry, which is not empty, stays (Linux: `zap_details`). May be called again.
    #[inline(always)]
    fn keeps<L: Level>(&mut self, _addr: VirtAddr, _entry: Entry<L>) -> bool {
        false
    }

    /// The entry of `addr` was taken out; it covers `L::BYTES`. The page's mapcount goes down here, and
    /// its reference, at most one, goes to [`Gather::page`]: stale translations still lead to it. The table is locked;
    /// entries next to it may have been taken out before they are told.
    fn taken<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>, gather: &mut Gather<'_>);
}

/// What [`PageTables::protect_range`] makes of what it finds.
pub trait Protect {
    /// What is to replace `entry`, which is not empty; the same for no change. A leaf stays a leaf of the same
    /// page or prot-none. May be called again, and is if the hardware sets A or D meanwhile. The table is locked.
    fn change<L: Level>(&mut self, addr: VirtAddr, entry: Entry<L>) -> Entry<L>;
}

/// What looks at entries.
pub trait Visit {
    /// An entry that is not empty. May change it as [`Slot`] allows. The table is locked.
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()>;

    /// The entries from `addr`'s on, all of which are leaves with A and D.
    #[inline(always)]
    fn in_use(&mut self, addr: VirtAddr, slots: &[Slot<Pte>]) -> ControlFlow<()> {
        slots.iter().zip(0..).try_for_each(|(slot, page)| self.entry(addr + page * PAGE_SIZE as u64, slot))
    }

    /// Nothing is mapped in `range`; neighbouring holes may come one by one.
    #[inline(always)]
    fn hole(&mut self, _range: VirtRange) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl PageTables {
    /// Takes out all entries of `range` that `zap` does not keep. Fences and frees by way of `gather`, when it is
    /// full also in between, with no table locked.
    pub fn zap_range<Z: Zap>(&self, range: VirtRange, gather: &mut Gather<'_>, zap: &mut Z) {
        debug_assert!(core::ptr::eq(self, gather.tables()));
        let Ok(()) = walk::walk(self.mode(), self.root(), range, &mut Zapper { gather, zap });
    }

    /// Changes entries of `range`; the fence is `gather`'s. Returns how many base pages changed.
    pub fn protect_range<P: Protect>(
        &self,
        range: VirtRange,
        gather: &mut Gather<'_>,
        protect: &mut P,
    ) -> u64 {
        debug_assert!(core::ptr::eq(self, gather.tables()));
        let mut protector = Protector { gather, protect, pages: 0 };
        let Ok(()) = walk::walk(self.mode(), self.root(), range, &mut protector);
        protector.pages
    }

    /// Shows `visit` all entries of `range`, in ascending order, until it breaks.
    pub fn visit_range<V: Visit>(&self, range: VirtRange, visit: &mut V) -> ControlFlow<()> {
        match walk::walk(self.mode(), self.root(), range, &mut Visitor { visit }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Broke) => ControlFlow::Break(()),
        }
    }
}

/// Fences prot-none pages, too: `mprotect` fences once it is through, and truncation, which waits for no
/// mmap_lock, may free the page before.
struct Zapper<'a, 'g, Z> {
    gather: &'a mut Gather<'g>,
    zap: &'a mut Z,
}

impl<Z: Zap> Walker for Zapper<'_, '_, Z> {
    type Stop = Infallible;

    #[inline(always)]
    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, Infallible> {
        match lock_upper(table, slot, entry, part) {
            Found::Table(child) => return Ok(Some(child)),
            Found::Nothing => {}
            Found::Entry(addr, entry, _guard) => {
                if !self.zap.keeps(addr, entry) {
                    let entry = slot.take();
                    if entry.is_present() {
                        self.gather.changed(addr, L::BYTES);
                    }
                    self.zap.taken(addr, entry, self.gather);
                }
            }
        }
        if self.gather.is_full() {
            self.gather.flush();
        }
        Ok(None)
    }

    #[inline]
    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, Infallible> {
        let mut at = part.start;
        loop {
            let Some((slots, guard)) = lock_part(table, parent, VirtRange::new(at, part.end)) else {
                return Ok(Look::Again);
            };
            let mut stale = Stale::NONE;
            let (groups, rest) = slots.as_chunks::<GROUP>();
            // Where the groups begin that were taken out whole, one after the other, and are not in `stale` yet.
            let mut run = at;
            for group in groups {
                match Group::of(group) {
                    Group::Empty => {
                        stale.add(run, at - run);
                        at = at + GROUP_BYTES;
                        run = at;
                        continue;
                    }
                    Group::InUse(entries)
                        if self.gather.room() >= GROUP && self.take_group(group, entries, at) =>
                    {
                        at = at + GROUP_BYTES;
                        continue;
                    }
                    Group::InUse(_) | Group::Mixed => {}
                }
                // A full one would flush at the next page: with the table locked, and not told of `stale` yet.
                if self.gather.is_full() {
                    break;
                }
                stale.add(run, at - run);
                let flow = self.take_some(group, &mut at, &mut stale);
                run = at;
                if flow.is_break() {
                    // Perhaps within the group: the next one is not at `at`.
                    break;
                }
            }
            stale.add(run, at - run);
            if !self.gather.is_full() {
                let _: ControlFlow<()> = self.take_some(rest, &mut at, &mut stale);
            }
            stale.tell(self.gather);
            drop(guard);
            if self.gather.is_full() {
                self.gather.flush();
            }
            if at == part.end {
                return Ok(Look::Done);
            }
        }
    }
}

impl<Z: Zap> Zapper<'_, '_, Z> {
    /// Takes out the `entries` of `group`, which are in use, if none is to be kept. The gather has room for them.
    #[inline(always)]
    fn take_group(&mut self, group: &[Slot<Pte>; GROUP], entries: [Entry; GROUP], at: VirtAddr) -> bool {
        let page = |index: usize| at + (index * PAGE_SIZE) as u64;
        if entries.iter().enumerate().any(|(index, &entry)| self.zap.keeps(page(index), entry)) {
            return false;
        }
        group.iter().for_each(|slot| slot.set_known(Entry::NONE));
        for (index, entry) in entries.into_iter().enumerate() {
            self.zap.taken(page(index), entry, self.gather);
        }
        true
    }

    /// Takes entries out one by one, and moves `at` on, until the gather is full.
    #[inline(always)]
    fn take_some(&mut self, slots: &[Slot<Pte>], at: &mut VirtAddr, stale: &mut Stale) -> ControlFlow<()> {
        for slot in slots {
            let (addr, entry) = (*at, slot.get_locked());
            *at = addr + PAGE_SIZE as u64;
            if !entry.is_none() && !self.zap.keeps(addr, entry) {
                let entry = slot.take();
                if entry.is_present() {
                    stale.add(addr, PAGE_SIZE as u64);
                }
                self.zap.taken(addr, entry, self.gather);
                if self.gather.is_full() {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

struct Protector<'a, 'g, P> {
    gather: &'a mut Gather<'g>,
    protect: &'a mut P,
    pages: u64,
}

/// Changes one entry; says what it was, if it changed.
#[inline(always)]
fn change<L: Level, P: Protect>(
    protect: &mut P,
    addr: VirtAddr,
    slot: &Slot<L>,
    mut old: Entry<L>,
) -> Option<Entry<L>> {
    loop {
        let new = protect.change(addr, old);
        if new == old {
            return None;
        }
        // While all that the hardware could set is set already, or it does not look, a plain store loses nothing.
        if !old.is_valid() || old.is_young() && (old.is_dirty() || !old.is_writable()) {
            slot.set(new);
            return Some(old);
        }
        match slot.compare_exchange(old, new) {
            Ok(()) => return Some(old),
            Err(now) => old = now,
        }
    }
}

impl<P: Protect> Walker for Protector<'_, '_, P> {
    type Stop = Infallible;

    #[inline(always)]
    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, Infallible> {
        match lock_upper(table, slot, entry, part) {
            Found::Table(child) => return Ok(Some(child)),
            Found::Nothing => {}
            Found::Entry(addr, entry, _guard) => {
                if let Some(old) = change(self.protect, addr, slot, entry) {
                    self.pages += L::BYTES / PAGE_SIZE as u64;
                    if old.is_valid() {
                        self.gather.changed(addr, L::BYTES);
                    }
                }
            }
        }
        Ok(None)
    }

    #[inline]
    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, Infallible> {
        let Some((slots, _guard)) = lock_part(table, parent, part) else {
            return Ok(Look::Again);
        };
        let mut stale = Stale::NONE;
        let mut at = part.start;
        let (groups, rest) = slots.as_chunks::<GROUP>();
        // Where the groups begin that changed whole, one after the other, and are not in `stale` yet.
        let mut run = at;
        for group in groups {
            let group_end = at + GROUP_BYTES;
            match Group::of(group) {
                Group::InUse(old) if self.change_group(group, old, at) => {}
                what => {
                    self.changed(run, at, &mut stale);
                    if what != Group::Empty {
                        self.change_some(group, at, &mut stale);
                    }
                    run = group_end;
                }
            }
            at = group_end;
        }
        self.changed(run, at, &mut stale);
        self.change_some(rest, at, &mut stale);
        stale.tell(self.gather);
        Ok(Look::Done)
    }
}

impl<P: Protect> Protector<'_, '_, P> {
    /// All from `start` to `end` was valid, and changed.
    #[inline(always)]
    fn changed(&mut self, start: VirtAddr, end: VirtAddr, stale: &mut Stale) {
        stale.add(start, end - start);
        self.pages += (end - start) / PAGE_SIZE as u64;
    }

    /// Changes the entries of `group`, which are `old` and in use, if all are to change.
    #[inline(always)]
    fn change_group(&mut self, group: &[Slot<Pte>; GROUP], old: [Entry; GROUP], at: VirtAddr) -> bool {
        let mut new = old;
        for (index, new) in new.iter_mut().enumerate() {
            *new = self.protect.change(at + (index * PAGE_SIZE) as u64, old[index]);
            if *new == old[index] {
                return false;
            }
        }
        group.iter().zip(new).for_each(|(slot, new)| slot.set_known(new));
        true
    }

    /// Changes entries one by one, from that of `at` on.
    #[inline(always)]
    fn change_some(&mut self, slots: &[Slot<Pte>], mut at: VirtAddr, stale: &mut Stale) {
        for slot in slots {
            let entry = slot.get_locked();
            if !entry.is_none()
                && let Some(old) = change(self.protect, at, slot, entry)
            {
                self.pages += 1;
                if old.is_valid() {
                    stale.add(at, PAGE_SIZE as u64);
                }
            }
            at = at + PAGE_SIZE as u64;
        }
    }
}

struct Visitor<'a, V> {
    visit: &'a mut V,
}

/// The visitor had enough.
struct Broke;

#[inline(always)]
fn go_on(flow: ControlFlow<()>) -> Result<(), Broke> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Broke),
    }
}

impl<V: Visit> Walker for Visitor<'_, V> {
    type Stop = Broke;

    fn upper<L: Upper>(
        &mut self,
        table: Table<L>,
        slot: &Slot<L>,
        entry: Entry<L>,
        part: VirtRange,
    ) -> Result<Option<Table<L::Below>>, Broke> {
        match lock_upper(table, slot, entry, part) {
            Found::Table(child) => return Ok(Some(child)),
            Found::Nothing => go_on(self.visit.hole(part))?,
            Found::Entry(addr, _, _guard) => go_on(self.visit.entry(addr, slot))?,
        }
        Ok(None)
    }

    fn ptes(&mut self, table: Table<Pte>, parent: Parent<'_>, part: VirtRange) -> Result<Look, Broke> {
        let Some((slots, _guard)) = lock_part(table, parent, part) else {
            return Ok(Look::Again);
        };
        let (mut at, mut hole) = (part.start, part.start);
        let (groups, rest) = slots.as_chunks::<GROUP>();
        for group in groups {
            match Group::of(group) {
                Group::Empty => at = at + GROUP_BYTES,
                Group::InUse(_) => {
                    if hole < at {
                        go_on(self.visit.hole(VirtRange::new(hole, at)))?;
                    }
                    go_on(self.visit.in_use(at, group))?;
                    at = at + GROUP_BYTES;
                    hole = at;
                }
                Group::Mixed => self.visit_some(group, &mut at, &mut hole)?,
            }
        }
        self.visit_some(rest, &mut at, &mut hole)?;
        if hole < at {
            go_on(self.visit.hole(VirtRange::new(hole, at)))?;
        }
        Ok(Look::Done)
    }
}

impl<V: Visit> Visitor<'_, V> {
    /// Shows entries one by one, and moves `at` on; what is not mapped below it, and was not shown, begins at `hole`.
    #[inline(always)]
    fn visit_some(
        &mut self,
        slots: &[Slot<Pte>],
        at: &mut VirtAddr,
        hole: &mut VirtAddr,
    ) -> Result<(), Broke> {
        for slot in slots {
            let next = *at + PAGE_SIZE as u64;
            if !slot.get_locked().is_none() {
                if *hole < *at {
                    go_on(self.visit.hole(VirtRange::new(*hole, *at)))?;
                }
                go_on(self.visit.entry(*at, slot))?;
                *hole = next;
            }
            *at = next;
        }
        Ok(())
    }
}
