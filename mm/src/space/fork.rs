use super::{MmError, Space};
use crate::slab::KArc;

impl Space {
    /// A copy for a child: private pages are shared until written, shared ones for good (Linux:
    /// `dup_mmap`).
    ///
    /// # Errors
    /// [`MmError::NoMemory`]: there is no child, and this address space is as it was.
    /// [`MmError::Interrupted`]: a fatal signal came while waiting for the lock.
    pub fn fork(&self) -> Result<KArc<Self>, MmError> {
        unimplemented!()
    }
}
