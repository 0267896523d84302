use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Writes what was changed through shared mappings to the files; `flags` is `MS_*` (`msync(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn msync(&self, _addr: VirtAddr, _len: u64, _flags: u32) -> Result<(), MmError> {
        unimplemented!()
    }

    /// Says for each page from `addr` on whether it is in memory: one byte of `out` each, at most a page
    /// of them at a time (`mincore(2)`, whose caller goes on piece by piece).
    ///
    /// # Errors
    /// As the manual page says, but for the check of the user's vector.
    pub fn mincore(&self, _addr: VirtAddr, _out: &mut [u8]) -> Result<(), MmError> {
        unimplemented!()
    }
}
