//! Making files shorter and punching holes (Linux: `mm/truncate.c`, `shmem_undo_range`).
//!
//! The size shrinks first, then the pages are unmapped, then each is locked, unmapped once more and
//! taken out: a fault that looked at the size before maps its page under the folio's lock, so that
//! the second look finds it. The last look is for private copies, which are not counted as mappings of
//! the file's page: once all pages are taken out, no fault that saw the old size is on its way.

use core::ops::Range;
use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use rux_machine::cold;

use crate::addr::PAGE_SIZE;
use crate::filemap::{BATCH, FileError, Mapping};
use crate::gfp::Gfp;
use crate::page::PageFlags;
use crate::rmap::Which;
use crate::slab::KVec;

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
        let first = size.div_ceil(PAGE_SIZE as u64);
        if size < old {
            self.maps.unmap(first, u64::MAX - first, Which::All);
        }
        if size <= old {
            // Of the same size, too: there may be pages beyond the end, see `allocate`.
            self.remove_from(first, u64::MAX, Which::All);
        }
        if size < old {
            // A private copy that a fault made while it had the page locked, which is gone now.
            self.maps.unmap(first, u64::MAX - first, Which::All);
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
    /// size stays, so that there may be pages beyond the end afterwards. The inode's lock is held.
    ///
    /// # Errors
    /// No memory, no space or a fatal signal; the pages made before are gone again, if nobody uses them
    /// (Linux: `shmem_undo_range` with `unfalloc`).
    pub fn allocate(&self, start: u64, end: u64) -> Result<(), FileError> {
        let page = PAGE_SIZE as u64;
        let mut made = KVec::new();
        let done =
            (start / page..end.div_ceil(page)).try_for_each(|index| self.allocate_one(index, &mut made));
        if done.is_err() {
            for index in made.iter().flat_map(Range::clone) {
                if let Some(folio) = self.find(index) {
                    self.remove_unused(index, &folio);
                }
            }
        }
        done
    }

    /// Sees to it that page `index` is there, and adds it to the runs of pages in `made` if it is new.
    fn allocate_one(&self, index: u64, made: &mut KVec<Range<u64>>) -> Result<(), FileError> {
        if cold::fatal_signal() {
            return Err(FileError::Interrupted);
        }
        let (folio, new) = match self.find(index) {
            Some(folio) => (folio, false),
            None => self.add(index, PageFlags::empty())?,
        };
        if new {
            match made.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => {
                    if made.push(index..index + 1, Gfp::KERNEL).is_err() {
                        self.remove_unused(index, &folio);
                        return Err(FileError::NoMemory);
                    }
                }
            }
        }
        // A file's own bytes are read as somebody asks for them; memory's pages are holes until then.
        if self.is_memory() { Ok(()) } else { self.read_in(folio, index).map(|_| ()) }
    }

    fn remove_from(&self, first: u64, end: u64, which: Which) {
        let mut from = first;
        loop {
            let mut batch = ArrayVec::<_, BATCH>::new();
            self.find_batch(from, end, &mut batch);
            let Some((last, _)) = batch.last() else { break };
            from = last + 1;
            for (index, folio) in batch {
                let locked = folio.lock();
                if self.owns(&locked, index) {
                    while locked.is_mapped() {
                        self.maps.unmap(index, 1, which);
                    }
                    self.remove(index);
                }
            }
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
