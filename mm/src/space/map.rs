use super::{MmError, Space};
use crate::addr::VirtAddr;
use crate::slab::KArc;
use crate::vma::VmFile;

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

impl Space {
    /// Maps memory or a file; returns where (`mmap(2)`; Linux: `do_mmap`). Works on any address space,
    /// the running one or not.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mmap(&self, _request: MapRequest) -> Result<VirtAddr, MmError> {
        unimplemented!()
    }
}
