use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Keeps `len` bytes from `addr` on in memory; `flags` is 0 or `MLOCK_ONFAULT` (`mlock2(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mlock(&self, _addr: VirtAddr, _len: u64, _flags: u32) -> Result<(), MmError> {
        unimplemented!()
    }

    /// Takes [`Space::mlock`] back.
    ///
    /// # Errors
    /// As the manual page says.
    pub fn munlock(&self, _addr: VirtAddr, _len: u64) -> Result<(), MmError> {
        unimplemented!()
    }

    /// Keeps everything in memory; `flags` is `MCL_*` (`mlockall(2)`).
    ///
    /// # Errors
    /// As the manual page says.
    pub fn mlockall(&self, _flags: u32) -> Result<(), MmError> {
        unimplemented!()
    }

    /// Takes [`Space::mlockall`] back.
    pub fn munlockall(&self) {
        unimplemented!()
    }
}
