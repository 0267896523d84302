use super::Space;
use crate::addr::VirtAddr;

impl Space {
    /// Moves the end of the heap to `end`, if that can be; returns where it is now (the system call
    /// `brk`, which never fails otherwise).
    pub fn brk(&self, _end: VirtAddr) -> VirtAddr {
        unimplemented!()
    }
}
