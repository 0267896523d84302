//! Fork (Linux: `dup_mmap`, `copy_page_range`).

use rux_machine::cold;

use super::account::{self};
use super::limits::KeptLimits;
use super::mmap_lock::MmapLock;
use super::{Layout, MmError, Space};
use crate::addr::VirtAddr;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::paging::{Copied, CopyEntry, Gather, Level, Slot};
use crate::rmap::{Link, PageKind, SpaceCore, copy_page, new_link};
use crate::slab::KArc;
use crate::vma::{VmFlags, Vma, VmaBox};

/// Copies the entries of one mapping.
struct CopyPages<'a, 'g> {
    /// Of the parent, for what it may no longer write.
    gather: &'a mut Gather<'g>,
    cow: bool,
    /// Pages of each kind that the child got.
    copied: [i64; 3],
}

impl CopyEntry for CopyPages<'_, '_> {
    #[inline(always)]
    fn copy<L: Level>(&mut self, addr: VirtAddr, from: &Slot<L>, to: &Slot<L>) -> Copied {
        match copy_page(&mut self.copied, self.cow, from, to) {
            Ok(true) => self.gather.changed(addr, L::BYTES),
            Ok(false) => {}
            Err(AllocError) => return Copied::Refill,
        }
        Copied::Next
    }

    fn refill(&mut self) -> Result<(), AllocError> {
        // Only a page with too many mappings asks for it, and nothing helps there.
        Err(AllocError)
    }
}

impl Space {
    /// A copy for a child: private pages are shared until written, shared ones for good (Linux:
    /// `dup_mmap`).
    ///
    /// # Errors
    /// [`MmError::NoMemory`]: there is no child, and this address space is as it was.
    /// [`MmError::Interrupted`]: a fatal signal came while waiting for the lock.
    pub fn fork(&self) -> Result<KArc<Self>, MmError> {
        let core = KArc::new(SpaceCore::new(Gfp::KERNEL)?, Gfp::KERNEL)?;
        // Made before and dropped after the parent's lock: a child that failed is torn down without it.
        let mut child;
        let copied = {
            let mut parent = self.layout.write_killable()?;
            child = parent.for_child(core.clone())?;
            let mut gather = Gather::new(&self.core.tables);
            parent.copy_to(&mut child, &mut gather)
        };
        copied?;
        let space = Self {
            core,
            layout: MmapLock::new(child),
            limits: KeptLimits::new(self.limits()),
            task_size: self.task_size,
            randomize: self.randomize,
        };
        Ok(KArc::new(space, Gfp::KERNEL)?)
    }
}

impl Layout {
    /// Each mapping is locked, as a store to a page between its copy and the fence would be the child's too.
    fn copy_to(&mut self, child: &mut Self, gather: &mut Gather<'_>) -> Result<(), MmError> {
        child.vmas.reserve_ascending(self.vmas.len())?;
        for vma in self.vmas.lock_all() {
            if vma.flags().contains(VmFlags::DONTCOPY) {
                continue;
            }
            if cold::fatal_signal() {
                return Err(MmError::Interrupted);
            }
            copy_vma(&self.core, vma, child, gather)?;
        }
        child.vmas.free_reserve();
        Ok(())
    }
}

/// Copies a mapping, which is locked, and its entries to a child.
fn copy_vma(core: &SpaceCore, vma: &Vma, child: &mut Layout, gather: &mut Gather<'_>) -> Result<(), MmError> {
    let wiped = vma.flags().contains(VmFlags::WIPEONFORK);
    let flags = vma.flags() - VmFlags::LOCKED_MASK;
    let copy = Vma::new(vma.range(), flags, vma.pgoff(), vma.backing().clone());
    let mut copy = VmaBox::new(copy, Gfp::KERNEL)?;
    if !wiped {
        copy.anon = vma.anon.fork(&child.core, vma.place())?;
    }
    if let Err(error) = link_and_charge(&copy, &child.core) {
        copy.anon.unlink(&child.core, vma.place());
        return Err(error);
    }
    let inserted = child.vmas.insert(copy);
    debug_assert!(inserted.is_ok(), "room was made for all");
    child.count(flags, vma.pages());
    // Pages that the file has are found again by a fault.
    if wiped || !(vma.anon.is_some() || vma.is_anonymous()) {
        return Ok(());
    }
    let mut copy = CopyPages { gather, cow: flags.is_cow(), copied: [0; 3] };
    let done = core.tables.copy_range(&child.core.tables, vma.range(), Gfp::KERNEL, &mut copy);
    for kind in [PageKind::File, PageKind::Anon, PageKind::Shmem] {
        child.core.add_rss(kind, copy.copied[kind as usize]);
    }
    Ok(done?)
}

/// Links a child's mapping to its file, and promises memory for it; both or none.
fn link_and_charge(copy: &Vma, core: &KArc<SpaceCore>) -> Result<(), MmError> {
    let (flags, place) = (copy.flags(), copy.place());
    let link = || new_link(Link { core: core.clone(), place, writes: flags.writes_file() });
    let link = copy.mapping().map(|mapping| link().map(|link| (mapping, link))).transpose()?;
    if flags.contains(VmFlags::ACCOUNT) {
        account::charge(copy.pages())?;
    }
    if let Some((mapping, link)) = link {
        mapping.maps().lock().insert(link);
    }
    Ok(())
}
