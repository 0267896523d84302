//! `mremap` (Linux: `mm/mremap.c`).

use linux_raw_sys::general as abi;

use super::account::{self, Charge};
use super::limits::MAX_MAP_COUNT;
use super::place::Align;
use super::{Layout, MmError, Space};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::gfp::Gfp;
use crate::paging::Gather;
use crate::rmap::{AnonChain, AnonRef};
use crate::vma::{Attributes, Backing, RemovedVmas, VmFlags};

/// A request that was found to make sense; lengths are multiples of the page size.
struct Move {
    old: VirtRange,
    new_len: u64,
    keep_old: bool,
}

impl Space {
    /// Makes a mapping longer or shorter, or moves it; `flags` is `MREMAP_*` (`mremap(2)`). Returns where
    /// it is now.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mremap(
        &self,
        addr: VirtAddr,
        old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: VirtAddr,
    ) -> Result<VirtAddr, MmError> {
        let may_move = flags & abi::MREMAP_MAYMOVE != 0;
        let keep_old = flags & abi::MREMAP_DONTUNMAP != 0;
        if flags & !(abi::MREMAP_FIXED | abi::MREMAP_MAYMOVE | abi::MREMAP_DONTUNMAP) != 0
            || flags & abi::MREMAP_FIXED != 0 && !may_move
            || keep_old && (!may_move || old_len != new_len)
            || !addr.is_page_aligned()
        {
            return Err(MmError::Invalid);
        }
        // As on Linux, what wraps is 0.
        let round = |len: u64| len.checked_next_multiple_of(PAGE_SIZE as u64).unwrap_or(0);
        let (old_len, new_len) = (round(old_len), round(new_len));
        if new_len == 0 {
            return Err(MmError::Invalid);
        }
        let mut removed = RemovedVmas::new();
        let mut layout = self.layout.write_killable()?;
        let Some(vma) = layout.vmas.lookup(addr) else { return Err(MmError::Fault) };
        let locked = vma.flags().contains(VmFlags::LOCKED);
        let moved = if flags & (abi::MREMAP_FIXED | abi::MREMAP_DONTUNMAP) != 0 {
            self.remap_to(&mut layout, addr, old_len, new_len, flags, new_addr, &mut removed)
        } else {
            self.remap_here(&mut layout, addr, old_len, new_len, may_move, &mut removed)
        };
        drop(layout);
        drop(removed);
        let addr = moved?;
        if locked && new_len > old_len {
            self.populate(VirtRange::new(addr + old_len, addr + new_len));
        }
        Ok(addr)
    }

    /// Shrinks, or grows where it is if there is room, or else moves.
    fn remap_here(
        &self,
        layout: &mut Layout,
        addr: VirtAddr,
        old_len: u64,
        new_len: u64,
        may_move: bool,
        removed: &mut RemovedVmas,
    ) -> Result<VirtAddr, MmError> {
        if old_len >= new_len {
            if old_len > new_len {
                let from = addr.checked_add(new_len).ok_or(MmError::Invalid)?;
                self.munmap_locked(layout, from, old_len - new_len, removed)?;
            }
            return Ok(addr);
        }
        let request = self.check_resize(layout, addr, old_len, new_len, false)?;
        if self.grow_in_place(layout, &request)? {
            return Ok(addr);
        }
        if !may_move {
            return Err(MmError::NoMemory);
        }
        let to = self.find_room(layout, VirtAddr::ZERO, new_len, 0, Align::Page)?;
        self.move_mapping(layout, &request, to, removed)
    }

    /// Moves to a given address, or with `MREMAP_DONTUNMAP` to wherever there is room.
    #[expect(clippy::too_many_arguments, reason = "they are the system call's")]
    fn remap_to(
        &self,
        layout: &mut Layout,
        addr: VirtAddr,
        mut old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: VirtAddr,
        removed: &mut RemovedVmas,
    ) -> Result<VirtAddr, MmError> {
        let end = self.task_size().get();
        if !new_addr.is_page_aligned() || new_len > end || new_addr.get() > end - new_len {
            return Err(MmError::Invalid);
        }
        let old_end = addr.checked_add(old_len).ok_or(MmError::Invalid)?;
        if old_end > new_addr && new_addr + new_len > addr {
            return Err(MmError::Invalid);
        }
        if layout.vmas.len() + 2 >= MAX_MAP_COUNT - 3 {
            return Err(MmError::NoMemory);
        }
        let fixed = flags & abi::MREMAP_FIXED != 0;
        let keep_old = flags & abi::MREMAP_DONTUNMAP != 0;
        if fixed {
            self.munmap_locked(layout, new_addr, new_len, removed)?;
        }
        if old_len > new_len {
            self.munmap_locked(layout, addr + new_len, old_len - new_len, removed)?;
            old_len = new_len;
        }
        let request = self.check_resize(layout, addr, old_len, new_len, keep_old)?;
        let Some(vma) = layout.vmas.lookup(addr) else { return Err(MmError::Fault) };
        if keep_old && !layout.may_expand(&self.limits(), vma.flags(), old_len >> PAGE_SHIFT) {
            return Err(MmError::NoMemory);
        }
        let map_flags = if fixed { abi::MAP_FIXED } else { 0 };
        let to = self.find_room(layout, new_addr, new_len, map_flags, Align::Page)?;
        self.move_mapping(layout, &request, to, removed)
    }

    /// Linux: `vma_to_resize`.
    fn check_resize(
        &self,
        layout: &Layout,
        addr: VirtAddr,
        old_len: u64,
        new_len: u64,
        keep_old: bool,
    ) -> Result<Move, MmError> {
        let Some(vma) = layout.vmas.lookup(addr) else { return Err(MmError::Fault) };
        let flags = vma.flags();
        if old_len == 0 && !flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE) {
            return Err(MmError::Invalid);
        }
        let fixed_size = flags.intersects(VmFlags::DONTEXPAND | VmFlags::PFNMAP);
        if keep_old && fixed_size {
            return Err(MmError::Invalid);
        }
        if old_len > vma.end() - addr {
            return Err(MmError::Fault);
        }
        let request = Move { old: VirtRange::new(addr, addr + old_len), new_len, keep_old };
        if new_len == old_len {
            return Ok(request);
        }
        if vma.page_index(addr).checked_add(new_len >> PAGE_SHIFT).is_none() {
            return Err(MmError::Invalid);
        }
        if fixed_size {
            return Err(MmError::Fault);
        }
        let (limits, more) = (self.limits(), (new_len - old_len) >> PAGE_SHIFT);
        if !layout.may_lock(&limits, flags, more) {
            return Err(MmError::Again);
        }
        if !layout.may_expand(&limits, flags, more) {
            return Err(MmError::NoMemory);
        }
        Ok(request)
    }

    /// Makes the mapping longer if the request reaches its end and there is room behind; says whether it
    /// did.
    fn grow_in_place(&self, layout: &mut Layout, request: &Move) -> Result<bool, MmError> {
        let Some(vma) = layout.vmas.lookup(request.old.start) else { return Err(MmError::Fault) };
        let Some(end) = request.old.start.checked_add(request.new_len) else { return Ok(false) };
        let more = VirtRange::new(vma.end(), end.max(vma.end()));
        if request.old.end != vma.end() || end > self.task_size() || layout.vmas.any_in(more) {
            return Ok(false);
        }
        let flags = vma.flags();
        let charge = match flags.contains(VmFlags::ACCOUNT) {
            true => Some(Charge::new(more.pages())?),
            false => None,
        };
        let backing = vma.backing().clone();
        let pgoff = vma.pgoff().wrapping_add(vma.pages());
        let anon = vma.anon.id();
        layout.insert_new(&Attributes { range: more, flags, backing: &backing, pgoff, anon })?;
        if let Some(charge) = charge {
            charge.keep();
        }
        layout.count(flags, more.pages());
        if flags.contains(VmFlags::LOCKED) {
            layout.locked_vm += more.pages();
        }
        Ok(true)
    }

    /// Makes a mapping at `to`, moves the pages there, and takes the old one out (Linux: `move_vma`).
    fn move_mapping(
        &self,
        layout: &mut Layout,
        request: &Move,
        to: VirtAddr,
        removed: &mut RemovedVmas,
    ) -> Result<VirtAddr, MmError> {
        if layout.vmas.len() >= MAX_MAP_COUNT - 3 {
            return Err(MmError::NoMemory);
        }
        let old = request.old;
        let new = VirtRange::from_len(to, request.new_len).ok_or(MmError::NoMemory)?;
        let Some(vma) = layout.vmas.lock(old.start) else { return Err(MmError::Fault) };
        let (flags, whole) = (vma.flags(), vma.range());
        let (backing, anon, family) = (vma.backing().clone(), vma.anon.id(), vma.anon.family());
        let pgoff = match vma.is_anonymous() && !vma.anon.is_some() {
            true => to.get() >> PAGE_SHIFT,
            false => vma.page_index(old.start),
        };
        let accounted = flags.contains(VmFlags::ACCOUNT);
        let replaced = if request.keep_old { 0 } else { old.pages() };
        let charge = if accounted { Some(Charge::new(new.pages() - replaced)?) } else { None };
        let what = Attributes { range: new, flags, backing: &backing, pgoff, anon };
        layout.insert_copy(&what, old.start)?;
        debug_assert!(layout.vmas.is_locked_in(old) && layout.vmas.is_locked_in(new));
        if let Err(error) = self.move_pages(&backing, family.as_ref(), old, to) {
            // The new mapping has no pages and is in none of the figures.
            layout.count(flags, new.pages());
            if flags.contains(VmFlags::LOCKED) {
                layout.locked_vm += new.pages();
            }
            if accounted {
                account::recharge(new.pages());
            }
            self.unmap_split(layout, new, removed);
            return Err(error);
        }
        if let Some(charge) = charge {
            charge.keep();
        }
        let high_vm = layout.high_vm;
        layout.count(flags, new.pages());
        if flags.contains(VmFlags::LOCKED) {
            layout.locked_vm += new.pages();
        }
        if request.keep_old {
            layout.unlock_emptied(whole.start, old);
            return Ok(to);
        }
        if !old.is_empty() {
            // The old mapping's promise is taken back with it; the new one's is for all of its pages.
            if accounted {
                account::recharge(replaced);
            }
            self.unmap_split(layout, old, removed);
            layout.high_vm = high_vm.max(layout.total_vm);
        }
        Ok(to)
    }

    /// Takes a mapping without pages out. Where it cannot be split, it stays, empty, as on Linux.
    fn unmap_split(&self, layout: &mut Layout, range: VirtRange, removed: &mut RemovedVmas) {
        if layout.split_at(range.start).is_ok() && layout.split_at(range.end).is_ok() {
            self.unmap_range(layout, range, removed);
        }
    }

    /// Moves the pages of `old`; all of them, or none.
    fn move_pages(
        &self,
        backing: &Backing,
        family: Option<&AnonRef>,
        old: VirtRange,
        to: VirtAddr,
    ) -> Result<(), MmError> {
        let tables = &self.core.tables;
        let mut reached = old.start;
        while reached < old.end {
            let (rest, target) = (VirtRange::new(reached, old.end), to + (reached - old.start));
            reached = self.move_locked(backing, family, rest, target, Gfp::NOWAIT);
            if reached == old.end {
                break;
            }
            // Memory is not waited for under locks that reclaim takes.
            if tables.lock_pte(to + (reached - old.start), Gfp::KERNEL).is_err() {
                // Back to where the tables are still there, so that this does not fail.
                let moved = VirtRange::new(to, to + (reached - old.start));
                let back = self.move_locked(backing, family, moved, old.start, Gfp::NOWAIT);
                debug_assert_eq!(back, moved.end);
                return Err(MmError::NoMemory);
            }
        }
        Ok(())
    }

    /// Moves pages with the reverse maps locked, as far as there is memory for tables; says how far. Neither a
    /// truncation nor a walk passes while a page is at neither address.
    fn move_locked(
        &self,
        backing: &Backing,
        family: Option<&AnonRef>,
        from: VirtRange,
        to: VirtAddr,
        gfp: Gfp,
    ) -> VirtAddr {
        let _links = backing.mapping().map(|mapping| mapping.maps().lock());
        let _family = family.map(AnonRef::lock);
        self.core.tables.move_range(from, to, &mut Gather::new(&self.core.tables), gfp)
    }
}

impl Layout {
    /// The mapping at `start` lost the pages of `range` to another address: it is locked no more, nor are its pages
    /// outside of `range`, which on Linux stay so until they go. If that was all of it, its next page starts a new
    /// group.
    fn unlock_emptied(&mut self, start: VirtAddr, range: VirtRange) {
        let Some(vma) = self.vmas.lookup_mut(start) else { return };
        let (was, whole) = (vma.flags(), vma.range());
        vma.flags -= VmFlags::LOCKED_MASK;
        if whole == range {
            vma.anon.unlink(&self.core, vma.place());
            vma.anon = AnonChain::new();
        }
        if was.contains(VmFlags::LOCKED) {
            self.let_go(whole);
        }
    }
}
