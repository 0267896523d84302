use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Makes a mapping longer or shorter, or moves it; `flags` is `MREMAP_*` (`mremap(2)`). Returns where
    /// it is now.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mremap(
        &self,
        _addr: VirtAddr,
        _old_len: u64,
        _new_len: u64,
        _flags: u32,
        _new_addr: VirtAddr,
    ) -> Result<VirtAddr, MmError> {
        unimplemented!()
    }
}
