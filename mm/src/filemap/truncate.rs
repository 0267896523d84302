//! Making files shorter and punching holes (Linux: `mm/truncate.c`, `shmem_undo_range`).
//!
//! The size shrinks first, then the pages are unmapped, then each is locked, unmapped once more and
//! taken out: a fault that looked at the size before maps its page under the folio's lock, so that
//! the second look finds it.

use core::sync::atomic::Ordering;

use crate::addr::PAGE_SIZE;
use crate::filemap::{FileError, Mapping};
use crate::rmap::Which;

impl Mapping {
    /// Makes the file `size` bytes long. What is cut off is gone, in private mappings too; what a
    /// longer file gains reads as zeroes. The inode's lock is held (Linux: `truncate_setsize`).
    ///
    /// # Errors
    /// No memory to clear the rest of the last page; then the file is as it was.
    pub fn set_size(&self, size: u64) -> Result<(), FileError> {
        let old = self.size();
        if size < old {
            self.clear_within_page(size, (size.next_multiple_of(PAGE_SIZE as u64)).min(old))?;
        }
        self.size.store(size, Ordering::SeqCst);
        if size < old {
            let first = size.div_ceil(PAGE_SIZE as u64);
            self.maps.unmap(first, u64::MAX - first, Which::All);
            self.remove_from(first, u64::MAX, Which::All);
            // Nobody reads beyond the end, but the page may have been written to through a mapping.
            self.clear_within_page(size, size.next_multiple_of(PAGE_SIZE as u64))?;
        }
        Ok(())
    }

    /// Makes a hole of the bytes from `start` to `end`, which read as zeroes afterwards; the size stays.
    /// The inode's lock is held (Linux: `FALLOC_FL_PUNCH_HOLE`).
    ///
    /// # Errors
    /// As [`Mapping::set_size`].
    pub fn punch_hole(&self, start: u64, end: u64) -> Result<(), FileError> {
        if start >= end {
            return Ok(());
        }
        let page = PAGE_SIZE as u64;
        let (first, last) = (start.div_ceil(page), end / page);
        if first < last {
            self.maps.unmap(first, last - first, Which::FileOnly);
            self.remove_from(first, last, Which::FileOnly);
        }
        if first > last {
            return self.clear_within_page(start, end);
        }
        if start < first * page {
            self.clear_within_page(start, first * page)?;
        }
        if last * page < end {
            self.clear_within_page(last * page, end)?;
        }
        Ok(())
    }

    /// Sees to it that the pages of the bytes from `start` to `end` are there (Linux: `fallocate`). The
    /// size stays. The inode's lock is held.
    ///
    /// # Errors
    /// No memory or no space; the pages made before stay.
    pub fn allocate(&self, start: u64, end: u64) -> Result<(), FileError> {
        let page = PAGE_SIZE as u64;
        for index in start / page..end.div_ceil(page) {
            if rux_machine::cold::fatal_signal() {
                return Err(FileError::Fault);
            }
            self.get_any(index)?;
        }
        Ok(())
    }

    fn remove_from(&self, first: u64, end: u64, which: Which) {
        let mut from = first;
        while let Some(index) = self.next_page(from) {
            if index >= end {
                break;
            }
            if let Some(folio) = self.find(index) {
                let locked = folio.lock();
                if self.owns(&locked, index) {
                    while locked.is_mapped() {
                        self.maps.unmap(index, 1, which);
                    }
                    self.remove(index);
                }
            }
            from = index + 1;
        }
    }

    /// Zeroes bytes of one page, if it is in the cache or has to be read to say what it holds.
    fn clear_within_page(&self, start: u64, end: u64) -> Result<(), FileError> {
        if start >= end {
            return Ok(());
        }
        let (index, offset) = Self::place(start);
        let folio = match self.find(index) {
            None if self.is_memory() => return Ok(()),
            _ => self.get_any(index)?,
        };
        folio.bytes_at(offset, (end - start) as usize).fill_zero();
        Ok(())
    }
}
