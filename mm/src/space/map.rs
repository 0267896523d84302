//! `mmap` (Linux: `do_mmap`, `mmap_region`).

use linux_raw_sys::general as abi;

use super::account::{Charge, accountable};
use super::limits::{MAX_MAP_COUNT, MMAP_MIN_ADDR};
use super::place::Align;
use super::shared::shared_memory;
use super::{Layout, MmError, Space};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::rmap::AnonId;
use crate::slab::KArc;
use crate::vma::{Attributes, Backing, FileMemory, RemovedVmas, VmFile, VmFlags};

/// The flags that `MAP_SHARED` has always had; it ignores others, and `MAP_SHARED_VALIDATE` refuses them
/// (Linux: `LEGACY_MAP_MASK`).
const LEGACY_FLAGS: u32 = abi::MAP_SHARED
    | abi::MAP_PRIVATE
    | abi::MAP_FIXED
    | abi::MAP_ANONYMOUS
    | abi::MAP_DENYWRITE
    | abi::MAP_EXECUTABLE
    | abi::MAP_GROWSDOWN
    | abi::MAP_LOCKED
    | abi::MAP_NORESERVE
    | abi::MAP_POPULATE
    | abi::MAP_NONBLOCK
    | abi::MAP_STACK
    | abi::MAP_HUGETLB
    | MAP_HUGE_2MB
    | MAP_HUGE_1GB;
const MAP_HUGE_2MB: u32 = 21 << HUGE_SIZE_SHIFT;
const MAP_HUGE_1GB: u32 = 30 << HUGE_SIZE_SHIFT;
/// `MAP_HUGE_MASK << MAP_HUGE_SHIFT`.
const HUGE_SIZE_MASK: u32 = 0x3f << HUGE_SIZE_SHIFT;
/// `MAP_HUGE_SHIFT`.
const HUGE_SIZE_SHIFT: u32 = 26;
/// The sizes of huge pages, as powers of two; 0 is the usual one.
const HUGE_POOLS: [u32; 3] = [0, 21, 30];
/// The field of the flags that says whose the memory is.
const MAP_TYPE: u32 = 0xf;
/// `MAP_DROPPABLE`, of that field.
const MAP_DROPPABLE: u32 = 8;
/// Files end below this (`MAX_LFS_FILESIZE`).
const MAX_OFFSET: u64 = i64::MAX as u64;

/// The arguments of `mmap`.
pub struct MapRequest {
    /// Where, or about where; 0 for anywhere.
    pub addr: VirtAddr,
    /// Bytes.
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`.
    pub flags: u32,
    /// The file; `None` only with `MAP_ANONYMOUS` (the caller turns a bad descriptor into `EBADF`).
    pub file: Option<KArc<dyn VmFile>>,
    /// Where in the file, in bytes.
    pub offset: u64,
}

/// A request that was found to make sense.
struct Plan {
    flags: VmFlags,
    backing: Kind,
    pgoff: u64,
}

/// A mapping that has come to be.
struct Mapped {
    range: VirtRange,
    flags: VmFlags,
}

/// What is to be behind the mapping.
enum Kind {
    /// Something that is there.
    Ready(Backing),
    /// Shared anonymous memory, to be made.
    NewShared,
}

impl Space {
    /// Maps memory or a file; returns where (`mmap(2)`; Linux: `do_mmap`). Works on any address space,
    /// the running one or not. Pages of locked mappings, and with `MAP_POPULATE`, are there afterwards if
    /// there is memory for them.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mmap(&self, request: MapRequest) -> Result<VirtAddr, MmError> {
        if !request.offset.is_multiple_of(PAGE_SIZE as u64) {
            return Err(MmError::Invalid);
        }
        if request.len == 0 {
            return Err(MmError::Invalid);
        }
        if request.flags & abi::MAP_HUGETLB != 0 {
            // The pools of the sizes that there are have no page.
            let pool = HUGE_POOLS.contains(&((request.flags & HUGE_SIZE_MASK) >> HUGE_SIZE_SHIFT));
            return Err(if request.file.is_some() || !pool { MmError::Invalid } else { MmError::NoMemory });
        }
        let mut map_flags = request.flags;
        if map_flags & abi::MAP_FIXED_NOREPLACE != 0 {
            map_flags |= abi::MAP_FIXED;
        }
        let mut hint = request.addr;
        if map_flags & abi::MAP_FIXED == 0 {
            hint = hint.page_floor();
            if hint != VirtAddr::ZERO && hint.get() < MMAP_MIN_ADDR {
                hint = VirtAddr::new(MMAP_MIN_ADDR);
            }
        }
        let len = request.len.checked_next_multiple_of(PAGE_SIZE as u64).ok_or(MmError::NoMemory)?;
        let pgoff = request.offset >> PAGE_SHIFT;
        if pgoff.checked_add(len >> PAGE_SHIFT).is_none() {
            return Err(MmError::Overflow);
        }

        let mut removed = RemovedVmas::new();
        let mut layout = self.layout.write_killable()?;
        let mapped = self.map_locked(&mut layout, &request, hint, len, map_flags, &mut removed);
        drop(layout);
        drop(removed);
        let Mapped { range, flags } = mapped?;
        let populate = request.flags & (abi::MAP_POPULATE | abi::MAP_NONBLOCK) == abi::MAP_POPULATE;
        if flags.contains(VmFlags::LOCKED) && !flags.contains(VmFlags::LOCKONFAULT) || populate {
            self.populate(range);
        }
        Ok(range.start)
    }

    /// The part of [`Space::mmap`] that needs `mmap_lock`: `len`, a multiple of the page size, at `hint` or about
    /// there. What is in `removed` is to be dropped without the lock.
    fn map_locked(
        &self,
        layout: &mut Layout,
        request: &MapRequest,
        hint: VirtAddr,
        len: u64,
        map_flags: u32,
        removed: &mut RemovedVmas,
    ) -> Result<Mapped, MmError> {
        if layout.vmas.len() > MAX_MAP_COUNT {
            return Err(MmError::NoMemory);
        }
        let shared = matches!(map_flags & MAP_TYPE, abi::MAP_SHARED | abi::MAP_SHARED_VALIDATE);
        let align = if request.file.is_none() && !shared { Align::Huge } else { Align::Page };
        let addr = self.find_room(layout, hint, len, map_flags, align)?;
        let range = VirtRange::from_len(addr, len).ok_or(MmError::NoMemory)?;
        if map_flags & abi::MAP_FIXED_NOREPLACE != 0 && layout.vmas.any_in(range) {
            return Err(MmError::Exists);
        }
        let plan = self.plan(layout, request, map_flags, range)?;
        let flags = self.map_region(layout, range, plan, removed)?;
        Ok(Mapped { range, flags })
    }

    /// Shows other pages of the file, from page `pgoff` on, in `size` bytes at `addr` of a shared mapping; `flags` is
    /// `MAP_NONBLOCK` or nothing that counts (`remap_file_pages(2)`).
    ///
    /// # Errors
    /// As the manual page says, and as [`Space::mmap`].
    pub fn remap_file_pages(
        &self,
        addr: VirtAddr,
        size: u64,
        prot: u32,
        pgoff: u64,
        flags: u32,
    ) -> Result<(), MmError> {
        let (start, size) = (addr.page_floor(), size & !(PAGE_SIZE as u64 - 1));
        let range = VirtRange::from_len(start, size).filter(|range| !range.is_empty());
        let (Some(range), Some(_), 0) = (range, pgoff.checked_add(size >> PAGE_SHIFT), prot) else {
            return Err(MmError::Invalid);
        };
        let offset = pgoff.checked_mul(PAGE_SIZE as u64).ok_or(MmError::Overflow)?;
        let mut map_flags = abi::MAP_SHARED | abi::MAP_FIXED;
        let mut removed = RemovedVmas::new();
        let mut layout = self.layout.write_killable()?;
        let request = {
            let first = layout.vmas.lookup(start).ok_or(MmError::Invalid)?;
            let (Some(file), true) = (first.file(), first.flags().contains(VmFlags::SHARED)) else {
                return Err(MmError::Invalid);
            };
            let mut end = first.start();
            for vma in layout.vmas.overlapping(range) {
                let same = vma.flags() == first.flags() && vma.backing().same(first.backing());
                if !same || vma.start() > end.max(start) {
                    return Err(MmError::Invalid);
                }
                end = vma.end();
            }
            if end < range.end {
                return Err(MmError::Invalid);
            }
            if first.flags().contains(VmFlags::LOCKED) {
                map_flags |= abi::MAP_LOCKED;
            }
            MapRequest {
                addr: start,
                len: size,
                prot: first.flags().to_prot(),
                flags: map_flags,
                file: Some(file.clone()),
                offset,
            }
        };
        let mapped = self.map_locked(&mut layout, &request, start, size, map_flags, &mut removed);
        drop(layout);
        drop(removed);
        let Mapped { range, .. } = mapped?;
        if flags & abi::MAP_NONBLOCK == 0 {
            self.populate(range);
        }
        Ok(())
    }

    /// Checks the rest of the arguments, in Linux's order.
    fn plan(
        &self,
        layout: &Layout,
        request: &MapRequest,
        map_flags: u32,
        range: VirtRange,
    ) -> Result<Plan, MmError> {
        let limits = self.limits();
        let mut flags = VmFlags::of_prot(request.prot) | layout.def_flags | VmFlags::MAYACCESS;
        for (bit, flag) in [
            (abi::MAP_GROWSDOWN, VmFlags::GROWSDOWN),
            (abi::MAP_LOCKED, VmFlags::LOCKED),
            (abi::MAP_STACK, VmFlags::NOHUGEPAGE),
        ] {
            if map_flags & bit != 0 {
                flags |= flag;
            }
        }
        if map_flags & abi::MAP_LOCKED != 0 && !limits.can_lock() {
            return Err(MmError::Permission);
        }
        if !layout.may_lock(&limits, flags, range.pages()) {
            return Err(MmError::Again);
        }
        let plan = match &request.file {
            Some(file) => plan_file(file, request, map_flags, range, flags)?,
            None => plan_anonymous(map_flags, range, flags)?,
        };
        let mut plan = plan;
        if map_flags & abi::MAP_NORESERVE != 0 {
            plan.flags |= VmFlags::NORESERVE;
        }
        Ok(plan)
    }

    /// Replaces what is in `range` by a new mapping; returns its flags (Linux: `mmap_region`).
    fn map_region(
        &self,
        layout: &mut Layout,
        range: VirtRange,
        plan: Plan,
        removed: &mut RemovedVmas,
    ) -> Result<VmFlags, MmError> {
        let limits = self.limits();
        let replaced = layout.mapped_pages(range);
        if !layout.may_expand(&limits, plan.flags, range.pages().saturating_sub(replaced)) {
            return Err(MmError::NoMemory);
        }
        let mut flags = plan.flags;
        let charge = if accountable(flags) {
            flags |= VmFlags::ACCOUNT;
            Some(Charge::new(range.pages())?)
        } else {
            None
        };
        let backing = match plan.backing {
            Kind::Ready(backing) => backing,
            Kind::NewShared => {
                let reserved = !flags.contains(VmFlags::NORESERVE);
                Backing::File(shared_memory(range.len(), reserved)?)
            }
        };
        // Rights that the store and the pages do not depend on are settled: what was there goes.
        if replaced != 0 {
            layout.split_at(range.start)?;
            layout.split_at(range.end)?;
        }
        // Room first: once the old mappings are gone there is no way back.
        flags |= VmFlags::SOFTDIRTY;
        let what = Attributes { range, flags, backing: &backing, pgoff: plan.pgoff, anon: AnonId::NONE };
        let prepared = layout.prepare(&what)?;
        if replaced != 0 {
            self.unmap_range(layout, range, removed);
        }
        layout.insert_prepared(&what, prepared);
        if let Some(charge) = charge {
            charge.keep();
        }
        layout.count(flags, range.pages());
        if flags.contains(VmFlags::LOCKED) {
            layout.locked_vm += range.pages();
        }
        Ok(flags)
    }
}

fn plan_file(
    file: &KArc<dyn VmFile>,
    request: &MapRequest,
    map_flags: u32,
    range: VirtRange,
    mut flags: VmFlags,
) -> Result<Plan, MmError> {
    // The end must be an offset, in a file that is kept somewhere a signed one (Linux: `file_mmap_ok`).
    let most = if matches!(file.memory(), FileMemory::Cache(_)) { MAX_OFFSET } else { u64::MAX };
    if request.offset.checked_add(range.len()).is_none_or(|end| end > most) {
        return Err(MmError::Overflow);
    }
    let mut sealed = false;
    match map_flags & MAP_TYPE {
        kind @ (abi::MAP_SHARED | abi::MAP_SHARED_VALIDATE) => {
            if kind == abi::MAP_SHARED_VALIDATE && request.flags & !LEGACY_FLAGS != 0 {
                return Err(MmError::NotSupported);
            }
            if request.prot & abi::PROT_WRITE != 0 && !file.writable() {
                return Err(MmError::Access);
            }
            if file.append_only() && file.writable() {
                return Err(MmError::Access);
            }
            flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
            if !file.writable() {
                flags -= VmFlags::MAYWRITE | VmFlags::SHARED;
            } else if file.write_sealed() {
                sealed = true;
            }
        }
        abi::MAP_PRIVATE => {}
        _ => return Err(MmError::Invalid),
    }
    if !file.readable() {
        return Err(MmError::Access);
    }
    if file.noexec() {
        if flags.contains(VmFlags::EXEC) {
            return Err(MmError::Permission);
        }
        flags -= VmFlags::MAYEXEC;
    }
    if matches!(file.memory(), FileMemory::None) {
        return Err(MmError::NoDevice);
    }
    if flags.contains(VmFlags::GROWSDOWN) {
        return Err(MmError::Invalid);
    }
    if sealed {
        if flags.contains(VmFlags::WRITE) {
            return Err(MmError::Permission);
        }
        flags -= VmFlags::MAYWRITE;
    }
    let backing = match file.memory() {
        FileMemory::Zero if flags.contains(VmFlags::SHARED) => Kind::NewShared,
        FileMemory::Zero => Kind::Ready(Backing::Zero(file.clone())),
        _ => Kind::Ready(Backing::File(file.clone())),
    };
    Ok(Plan { flags, backing, pgoff: request.offset >> PAGE_SHIFT })
}

fn plan_anonymous(map_flags: u32, range: VirtRange, mut flags: VmFlags) -> Result<Plan, MmError> {
    let pgoff = range.start.get() >> PAGE_SHIFT;
    match map_flags & MAP_TYPE {
        abi::MAP_SHARED => {
            if flags.contains(VmFlags::GROWSDOWN) {
                return Err(MmError::Invalid);
            }
            flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
            Ok(Plan { flags, backing: Kind::NewShared, pgoff: 0 })
        }
        MAP_DROPPABLE => {
            if map_flags & abi::MAP_LOCKED != 0 || flags.contains(VmFlags::GROWSDOWN) {
                return Err(MmError::Invalid);
            }
            flags |= VmFlags::DROPPABLE | VmFlags::NORESERVE | VmFlags::WIPEONFORK | VmFlags::DONTDUMP;
            Ok(Plan { flags, backing: Kind::Ready(Backing::Anonymous), pgoff })
        }
        abi::MAP_PRIVATE => Ok(Plan { flags, backing: Kind::Ready(Backing::Anonymous), pgoff }),
        _ => Err(MmError::Invalid),
    }
}

impl Layout {
    /// Pages of `range` that something is mapped at.
    pub(crate) fn mapped_pages(&self, range: VirtRange) -> u64 {
        self.vmas
            .overlapping(range)
            .filter_map(|vma| vma.range().intersect(range))
            .map(VirtRange::pages)
            .sum()
    }
}
