//! `mprotect` (Linux: `do_mprotect_pkey`, `change_protection`).

use linux_raw_sys::general as abi;

use super::{Layout, Limits, MmError, Space, account};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::page::{PageFlags, pfn_to_page};
use crate::paging::{Entry, Gather, Kind, Level, Prot, Protect};
use crate::vma::{VmFile, VmFlags};

/// What a right to read is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// To be read.
    Data,
    /// To be run, too, where the mapping allows it at all (`READ_IMPLIES_EXEC`).
    Code,
}

impl Reads {
    /// `prot`, with what its right to read is worth in a new mapping of `file` (Linux: `do_mmap`).
    pub fn of_new(self, prot: u32, file: Option<&dyn VmFile>) -> u32 {
        let may_run = file.is_none_or(|file| !file.noexec());
        self.of_mapping(prot, if may_run { VmFlags::MAYEXEC } else { VmFlags::empty() })
    }

    /// `prot`, with what its right to read is worth in a mapping with `flags`.
    fn of_mapping(self, prot: u32, flags: VmFlags) -> u32 {
        let code = self == Self::Code && prot & abi::PROT_READ != 0 && flags.contains(VmFlags::MAYEXEC);
        if code { prot | abi::PROT_EXEC } else { prot }
    }
}

/// Gives entries the rights of their mapping.
pub(crate) struct ChangeRights {
    /// What the mapping allows.
    full: Prot,
    /// What a page gets that others may share.
    shared: Prot,
    /// Whether the two differ, so that it has to be known whose the page is: a private mapping that may be written.
    differ: bool,
}

impl ChangeRights {
    pub(crate) fn new(flags: VmFlags) -> Self {
        let full = flags.page_prot();
        let private = !flags.contains(VmFlags::SHARED);
        let shared = if private { full.read_only() } else { full };
        Self { full, shared, differ: full != shared }
    }
}

impl Protect for ChangeRights {
    #[inline(always)]
    fn change<L: Level>(&mut self, _addr: VirtAddr, entry: Entry<L>) -> Entry<L> {
        let pfn = match entry.kind() {
            Kind::Leaf(pfn) | Kind::ProtNone(pfn) => pfn,
            Kind::None | Kind::Table(_) | Kind::NonPresent(_) => return entry,
        };
        // A store then goes without a fault (Linux: `can_change_pte_writable`).
        let own = self.differ && !entry.is_special() && {
            let page = pfn_to_page(pfn);
            page.flags().contains(PageFlags::ANON_EXCLUSIVE) && page.folio().is_anon()
        };
        entry.with_prot(if own { self.full } else { self.shared })
    }
}

impl Space {
    /// Changes the rights of `len` bytes from `addr` on; `prot` is `PROT_*` (`mprotect(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mprotect(&self, addr: VirtAddr, len: u64, prot: u32) -> Result<(), MmError> {
        self.mprotect_as(addr, len, prot, Reads::Data)
    }

    /// As [`Space::mprotect`], for a caller to whom a right to read is worth `reads`.
    ///
    /// # Errors
    /// As [`Space::mprotect`].
    pub fn mprotect_as(&self, addr: VirtAddr, len: u64, prot: u32, reads: Reads) -> Result<(), MmError> {
        let grows = prot & (abi::PROT_GROWSDOWN | abi::PROT_GROWSUP);
        if grows == abi::PROT_GROWSDOWN | abi::PROT_GROWSUP {
            return Err(MmError::Invalid);
        }
        let prot = prot & !grows;
        if !addr.is_page_aligned() {
            return Err(MmError::Invalid);
        }
        if len == 0 {
            return Ok(());
        }
        let len = len.checked_next_multiple_of(PAGE_SIZE as u64).ok_or(MmError::NoMemory)?;
        let mut range = VirtRange::from_len(addr, len).ok_or(MmError::NoMemory)?;
        // `PROT_SEM` means nothing here.
        const PROT_SEM: u32 = 8;
        if prot & !(abi::PROT_READ | abi::PROT_WRITE | abi::PROT_EXEC | PROT_SEM) != 0 {
            return Err(MmError::Invalid);
        }
        let mut layout = self.layout.write_killable()?;
        let Some(first) = layout.vmas.find(range.start) else { return Err(MmError::NoMemory) };
        if grows & abi::PROT_GROWSDOWN != 0 {
            if first.start() >= range.end {
                return Err(MmError::NoMemory);
            }
            range = VirtRange::new(first.start(), range.end);
            if !first.flags().contains(VmFlags::GROWSDOWN) {
                return Err(MmError::Invalid);
            }
        } else {
            if first.start() > range.start {
                return Err(MmError::NoMemory);
            }
            // No stack grows up here.
            if grows != 0 {
                return Err(MmError::Invalid);
            }
        }
        let rights = |flags| VmFlags::of_prot(reads.of_mapping(prot, flags));
        loop {
            let mut gather = Gather::new(&self.core.tables);
            let copies_wanted = protect_range(&mut layout, &self.limits(), range, rights, &mut gather)?;
            gather.finish();
            let Some(part) = copies_wanted else { return Ok(()) };
            drop(layout);
            self.populate(part);
            range.start = part.end;
            layout = self.layout.write_killable()?;
        }
    }
}

/// Mapping by mapping, up to the first hole or error; `rights` says what one with such flags is to allow. Stops
/// behind what is locked, private and may be written from now on: its copies are to be made next (Linux:
/// `mprotect_fixup`).
fn protect_range(
    layout: &mut Layout,
    limits: &Limits,
    range: VirtRange,
    rights: impl Fn(VmFlags) -> VmFlags,
    gather: &mut Gather<'_>,
) -> Result<Option<VirtRange>, MmError> {
    let mut at = range.start;
    while at < range.end {
        let Some(vma) = layout.vmas.lookup(at) else { return Err(MmError::NoMemory) };
        let part = VirtRange::new(at, vma.end().min(range.end));
        let flags = vma.flags().difference(VmFlags::ACCESS) | rights(vma.flags());
        if !flags.may_have(flags.intersection(VmFlags::ACCESS)) {
            return Err(MmError::Access);
        }
        let old = vma.flags();
        protect_vma(layout, limits, part, flags, gather)?;
        // Locked memory that may be written from now on is not to fault for its copies later.
        let locked_only =
            old.intersection(VmFlags::WRITE | VmFlags::SHARED | VmFlags::LOCKED) == VmFlags::LOCKED;
        if locked_only && flags.contains(VmFlags::WRITE) {
            return Ok(Some(part));
        }
        at = part.end;
    }
    Ok(None)
}

/// One mapping, or a part of it (Linux: `mprotect_fixup`).
fn protect_vma(
    layout: &mut Layout,
    limits: &Limits,
    part: VirtRange,
    flags: VmFlags,
    gather: &mut Gather<'_>,
) -> Result<(), MmError> {
    let Some(vma) = layout.vmas.lookup(part.start) else { return Err(MmError::NoMemory) };
    let old = vma.flags();
    if old == flags {
        return Ok(());
    }
    let mut flags = flags;
    let mut charged = None;
    if flags.contains(VmFlags::WRITE) {
        if !layout.may_expand(limits, flags, part.pages()) && layout.may_expand(limits, old, part.pages()) {
            return Err(MmError::NoMemory);
        }
        let counted =
            VmFlags::ACCOUNT | VmFlags::WRITE | VmFlags::HUGETLB | VmFlags::SHARED | VmFlags::NORESERVE;
        if !old.intersects(counted) {
            charged = Some(account::Charge::new(part.pages())?);
            flags |= VmFlags::ACCOUNT;
        }
    } else if old.contains(VmFlags::ACCOUNT) && vma.is_anonymous() && !vma.anon.is_some() {
        // Nothing was ever written there, and nothing will be.
        flags -= VmFlags::ACCOUNT;
    }
    layout.set_flags(part, flags)?;
    if let Some(charge) = charged {
        charge.keep();
    }
    if old.contains(VmFlags::ACCOUNT) && !flags.contains(VmFlags::ACCOUNT) {
        account::uncharge(part.pages());
    }
    debug_assert!(layout.vmas.is_locked_in(part));
    let core = layout.core.clone();
    core.tables.protect_range(part, gather, &mut ChangeRights::new(flags));
    if flags.contains(VmFlags::EXEC) && !old.contains(VmFlags::EXEC) {
        core.tables.fence_instructions();
    }
    layout.uncount(old, part.pages());
    layout.count(flags, part.pages());
    Ok(())
}
