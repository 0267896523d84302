//! Shared anonymous memory: a file that nobody can open (Linux: `shmem_zero_setup`).

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::MmError;
use super::account::Charge;
use crate::addr::PAGE_SHIFT;
use crate::filemap::Mapping;
use crate::gfp::Gfp;
use crate::karc_dyn;
use crate::slab::KArc;
use crate::vma::{FileMemory, VmFile};

/// The memory, and its promise to be there.
struct SharedMemory {
    mapping: KArc<Mapping>,
    ino: u64,
    _charge: Option<Charge>,
}

/// The next inode number of the file system that nobody sees.
static NEXT_INO: AtomicU64 = AtomicU64::new(1);

/// `bytes` of new shared memory; `reserved`: promised now, not page by page.
///
/// # Errors
/// No memory, or more than the machine has.
pub(super) fn shared_memory(bytes: u64, reserved: bool) -> Result<KArc<dyn VmFile>, MmError> {
    let charge = if reserved { Some(Charge::new(bytes >> PAGE_SHIFT)?) } else { None };
    let mapping = Mapping::new_memory(bytes, None)?;
    let memory = SharedMemory { mapping, ino: NEXT_INO.fetch_add(1, Relaxed), _charge: charge };
    Ok(karc_dyn!(KArc::new(memory, Gfp::KERNEL)? => dyn VmFile))
}

impl VmFile for SharedMemory {
    fn memory(&self) -> FileMemory<'_> {
        FileMemory::Cache(&self.mapping)
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        true
    }

    fn may_see_residency(&self) -> bool {
        true
    }

    fn punch_hole(&self, start: u64, end: u64) -> Result<(), MmError> {
        // Nobody changes its size, so that there is no inode's lock.
        Ok(self.mapping.punch_hole(start, end)?)
    }

    fn dev(&self) -> (u32, u32) {
        // The first anonymous device number, which Linux gives to this very file system.
        (0, 1)
    }

    fn ino(&self) -> u64 {
        self.ino
    }

    fn path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("/dev/zero (deleted)")
    }
}
