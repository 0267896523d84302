use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Changes the rights of `len` bytes from `addr` on; `prot` is `PROT_*` (`mprotect(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mprotect(&self, _addr: VirtAddr, _len: u64, _prot: u32) -> Result<(), MmError> {
        unimplemented!()
    }
}
