use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Takes all mappings out of `len` bytes from `addr` on (`munmap(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn munmap(&self, _addr: VirtAddr, _len: u64) -> Result<(), MmError> {
        unimplemented!()
    }
}
