use super::{MmError, Space};
use crate::addr::VirtAddr;

impl Space {
    /// Copies out of the address space, which need not run, whatever the rights of its mappings
    /// (Linux: `access_process_vm` with `FOLL_FORCE`). May sleep.
    ///
    /// # Errors
    /// [`MmError::Fault`] at an address that is not mapped; bytes before it may have been copied.
    pub fn read_memory(&self, _addr: VirtAddr, _buffer: &mut [u8]) -> Result<(), MmError> {
        unimplemented!()
    }

    /// Copies into the address space, which need not run, whatever the rights of its mappings; private
    /// pages are copied first. Grows the stack as a store would. May sleep.
    ///
    /// # Errors
    /// [`MmError::Fault`], as [`Space::read_memory`]; no memory.
    pub fn write_memory(&self, _addr: VirtAddr, _bytes: &[u8]) -> Result<(), MmError> {
        unimplemented!()
    }

    /// Zeroes memory of the address space, as [`Space::write_memory`].
    ///
    /// # Errors
    /// As [`Space::write_memory`].
    pub fn zero_memory(&self, _addr: VirtAddr, _len: u64) -> Result<(), MmError> {
        unimplemented!()
    }
}
