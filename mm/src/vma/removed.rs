//! Mappings that were taken out and are to be dropped once `mmap_lock` is: a file may be closed by
//! that, which takes locks of the kernel that rank above it. Their memory waits for readers besides.

use super::VmaBox;

/// A list that needs no memory of its own.
#[must_use]
pub(crate) struct RemovedVmas(Option<VmaBox>);

impl RemovedVmas {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(crate) fn push(&mut self, mut vma: VmaBox) {
        vma.next = self.0.take();
        self.0 = Some(vma);
    }

    /// The last one.
    pub(crate) fn pop(&mut self) -> Option<VmaBox> {
        let mut vma = self.0.take()?;
        self.0 = vma.next.take();
        Some(vma)
    }
}

impl Drop for RemovedVmas {
    /// One by one: a list of 65,530 would be too deep a recursion.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
