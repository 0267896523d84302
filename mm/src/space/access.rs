//! Memory of an address space that need not be the running one (Linux: `__access_remote_vm`): the
//! arguments of a new program, and debuggers.

use super::populate::Rights;
use super::{MmError, Space};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::fault::Access;
use crate::page::{PageBytes, PageFlags, pfn_to_page};
use crate::page_alloc::FolioRef;
use crate::paging::Kind;
use crate::vma::VmFlags;

impl Space {
    /// Copies out of the address space, which need not run, whatever the rights of its mappings
    /// (Linux: `access_process_vm` with `FOLL_FORCE`). May sleep.
    ///
    /// # Errors
    /// [`MmError::Fault`] at an address that is not mapped; bytes before it may have been copied.
    pub fn read_memory(&self, addr: VirtAddr, buffer: &mut [u8]) -> Result<(), MmError> {
        let mut done = 0;
        self.each_page(addr, buffer.len() as u64, Access::Read, |bytes| {
            bytes.copy_to(&mut buffer[done..done + bytes.len()]);
            done += bytes.len();
        })
    }

    /// Copies into the address space, which need not run, whatever the rights of its mappings; private
    /// pages are copied first. Grows the stack as a store would. May sleep.
    ///
    /// # Errors
    /// [`MmError::Fault`], as [`Space::read_memory`]; no memory.
    pub fn write_memory(&self, addr: VirtAddr, bytes: &[u8]) -> Result<(), MmError> {
        let mut done = 0;
        self.each_page(addr, bytes.len() as u64, Access::Write, |to| {
            to.copy_from(&bytes[done..done + to.len()]);
            done += to.len();
        })
    }

    /// Zeroes memory of the address space, as [`Space::write_memory`].
    ///
    /// # Errors
    /// As [`Space::write_memory`].
    pub fn zero_memory(&self, addr: VirtAddr, len: u64) -> Result<(), MmError> {
        self.each_page(addr, len, Access::Write, |to| to.fill_zero())
    }

    fn each_page(
        &self,
        addr: VirtAddr,
        len: u64,
        access: Access,
        mut each: impl FnMut(PageBytes<'_>),
    ) -> Result<(), MmError> {
        let end = addr.checked_add(len).filter(|end| *end <= self.task_size()).ok_or(MmError::Fault)?;
        let mut at = addr;
        while at < end {
            let offset = at.page_offset();
            let bytes = ((PAGE_SIZE - offset) as u64).min(end - at) as usize;
            let (folio, page) = self.get_page(at, access)?;
            each(folio.bytes_at(page * PAGE_SIZE + offset, bytes));
            if access == Access::Write {
                folio.set_flags(PageFlags::DIRTY);
                if self.executable(at) {
                    self.core.tables.fence_instructions();
                }
            }
            at = at + bytes as u64;
        }
        Ok(())
    }

    fn executable(&self, addr: VirtAddr) -> bool {
        self.layout.read().vmas.lookup(addr).is_some_and(|vma| vma.flags().contains(VmFlags::EXEC))
    }

    /// A reference to the folio of the page at `addr`, ready for `access`, and which of its pages that is
    /// (Linux: `get_user_pages_remote`).
    fn get_page(&self, addr: VirtAddr, access: Access) -> Result<(FolioRef, usize), MmError> {
        loop {
            if let Some(found) = self.mapped_page(addr, access) {
                return Ok(found);
            }
            self.fault_in(addr, access, Rights::Overridden)?;
        }
    }

    /// As [`Space::get_page`], if it is mapped already, and in such a way that nobody else sees the access.
    fn mapped_page(&self, addr: VirtAddr, access: Access) -> Option<(FolioRef, usize)> {
        let _layout = self.layout.read();
        let guard = self.core.tables.find_pte(addr)?;
        let entry = guard.get();
        let (Kind::Leaf(pfn) | Kind::ProtNone(pfn)) = entry.kind() else { return None };
        if access == Access::Write {
            if entry.is_special() {
                return None;
            }
            let page = pfn_to_page(pfn);
            // Read-only for the program, but its own (Linux: `can_follow_write_pte`).
            let own = page.folio().is_anon() && page.anon_exclusive();
            if !entry.is_writable() && !own {
                return None;
            }
        }
        let page = pfn_to_page(pfn);
        let folio = FolioRef::of(page.folio());
        let index = (pfn - folio.pfn()) as usize;
        Some((folio, index))
    }
}
