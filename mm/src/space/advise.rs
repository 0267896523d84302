use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Tells how `len` bytes from `addr` on will be used; `advice` is `MADV_*` (`madvise(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn madvise(&self, _addr: VirtAddr, _len: u64, _advice: u32) -> Result<(), MmError> {
        unimplemented!()
    }
}
