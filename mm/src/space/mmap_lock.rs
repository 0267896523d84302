//! `mmap_lock`, around the [`Layout`], and beside it the locks of the mappings (Linux: `mmap_write_lock` and its
//! family, `include/linux/mmap_lock.h`).
//!
//! Who reads under `mmap_lock` finds mappings that stay as they are. Who writes under it locks, besides, each mapping
//! that changes, or whose tables or pages do in a way that a fault is not to meet; all of them are free again when
//! the guard is dropped. A fault takes a mapping's own lock alone, and `mmap_lock` where that does not do.

use core::ops::{Deref, DerefMut};

use super::{Layout, MmError};
use crate::addr::VirtAddr;
use crate::sync::{Rank, ReadGuard, RwSem, WriteGuard};
use crate::vma::{VmaGuard, VmaReaders};

/// See the head of the room.
pub(crate) struct MmapLock {
    layout: RwSem<Layout>,
    readers: VmaReaders,
}

impl MmapLock {
    /// Of an address space that nobody else knows yet.
    pub(super) fn new(mut layout: Layout) -> Self {
        // What was made so far was locked by who made it.
        layout.vmas.end_write();
        Self { readers: layout.vmas.readers(), layout: RwSem::new(Rank::Mmap, layout) }
    }

    /// The mapping that `addr` is in, locked for reading without `mmap_lock`, if that can be had at once.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn lock_vma(&self, addr: VirtAddr) -> Option<VmaGuard<'_>> {
        self.readers.lock(addr)
    }

    /// Sleeps while a writer has it or waits for it.
    #[inline]
    #[track_caller]
    pub(crate) fn read(&self) -> ReadGuard<'_, Layout> {
        self.layout.read()
    }

    /// As [`MmapLock::read`].
    ///
    /// # Errors
    /// `Interrupted`: a fatal signal came first.
    #[inline]
    #[track_caller]
    pub(crate) fn read_killable(&self) -> Result<ReadGuard<'_, Layout>, MmError> {
        self.layout.read_killable().map_err(|_| MmError::Interrupted)
    }

    /// Sleeps while anybody has it.
    #[inline]
    #[track_caller]
    pub(crate) fn write(&self) -> LayoutWriter<'_> {
        LayoutWriter(self.layout.write())
    }

    /// As [`MmapLock::write`].
    ///
    /// # Errors
    /// `Interrupted`: a fatal signal came first.
    #[inline]
    #[track_caller]
    pub(crate) fn write_killable(&self) -> Result<LayoutWriter<'_>, MmError> {
        self.layout.write_killable().map(LayoutWriter).map_err(|_| MmError::Interrupted)
    }

    /// Whether anybody has it, at this moment.
    #[cfg(test)]
    pub(crate) fn is_locked(&self) -> bool {
        self.layout.is_locked()
    }
}

/// Holds `mmap_lock` for writing, and the locks of the mappings that it changes.
#[must_use = "the locks are given back once the guard is dropped"]
pub(crate) struct LayoutWriter<'a>(WriteGuard<'a, Layout>);

impl Deref for LayoutWriter<'_> {
    type Target = Layout;

    #[inline(always)]
    fn deref(&self) -> &Layout {
        &self.0
    }
}

impl DerefMut for LayoutWriter<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Layout {
        &mut self.0
    }
}

impl Drop for LayoutWriter<'_> {
    #[inline]
    fn drop(&mut self) {
        // Before `mmap_lock` goes: the next writer's time is another.
        self.0.vmas.end_write();
    }
}
