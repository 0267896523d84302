//! Reading and writing through the page cache (Linux: `filemap_read`, `generic_perform_write`,
//! `shmem_file_read_iter`).
//!
//! No lock is held while bytes are copied: the other side may be user memory, whose fault may
//! need the very same page.

use core::sync::atomic::Ordering;

use rux_machine::cold;

pub use crate::page::PageBytes;

use crate::addr::PAGE_SIZE;
use crate::filemap::{FileError, MAX_FILE_SIZE, Mapping};
use crate::lru;
use crate::page::PageFlags;
use crate::page_alloc::zero_folio;

impl Mapping {
    /// Shows `sink` the bytes from `position` on, page by page, at most `len` and not past the end; a
    /// hole shows zeroes. `sink` says how many it took; fewer than it was shown end the read. Returns
    /// how many were taken.
    ///
    /// # Errors
    /// No memory or the store's, if nothing was taken before.
    pub fn read_with(
        &self,
        position: u64,
        len: usize,
        mut sink: impl FnMut(PageBytes<'_>) -> usize,
    ) -> Result<usize, FileError> {
        let mut done = 0;
        while done < len {
            let Some(at) = position.checked_add(done as u64) else { break };
            let size = self.size();
            if at >= size {
                break;
            }
            let (index, offset) = Self::place(at);
            let want = (PAGE_SIZE - offset).min(len - done).min((size - at).min(PAGE_SIZE as u64) as usize);
            let folio = match self.find_uptodate(index) {
                Some(folio) => Ok(folio),
                None if self.is_memory() => zero_folio().cloned().map_err(FileError::from),
                None => self.get(index),
            };
            let took = match folio {
                Ok(folio) => {
                    // Small reads of one page count once.
                    if offset == 0 && folio.flags().intersects(PageFlags::LISTED) {
                        lru::mark_accessed(&folio);
                    }
                    sink(folio.bytes_at(offset, want))
                }
                // Truncated meanwhile.
                Err(FileError::PastEnd) => break,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done += took;
            if took < want {
                break;
            }
        }
        Ok(done)
    }

    /// Lets `source` fill the bytes from `position` on, page by page, at most `len`; it says how many it
    /// gave, and fewer than it was asked for end the write. The file grows as needed. Returns how many
    /// were given. The inode's lock is held.
    ///
    /// # Errors
    /// [`FileError::NoSpace`], no memory, a fatal signal or the store's, if nothing was given before.
    pub fn write_with(
        &self,
        position: u64,
        len: usize,
        mut source: impl FnMut(PageBytes<'_>) -> usize,
    ) -> Result<usize, FileError> {
        let mut done = 0;
        while done < len {
            let at = position.saturating_add(done as u64);
            if at >= MAX_FILE_SIZE {
                break;
            }
            if cold::fatal_signal() {
                if done == 0 {
                    return Err(FileError::Interrupted);
                }
                break;
            }
            let (index, offset) = Self::place(at);
            let want =
                (PAGE_SIZE - offset).min(len - done).min((MAX_FILE_SIZE - at).min(PAGE_SIZE as u64) as usize);
            let folio = match self.get_any(index) {
                Ok(folio) => folio,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            let gave = source(folio.bytes_at(offset, want));
            if gave != 0 {
                folio.set_flags(PageFlags::DIRTY);
                lru::mark_accessed(&folio);
                self.size.fetch_max(at + gave as u64, Ordering::SeqCst);
            }
            done += gave;
            if gave < want {
                break;
            }
        }
        Ok(done)
    }

    /// Reads into kernel memory; returns how many bytes there were.
    ///
    /// # Errors
    /// As [`Mapping::read_with`].
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        let mut done = 0;
        self.read_with(position, buffer.len(), |bytes| {
            bytes.copy_to(&mut buffer[done..done + bytes.len()]);
            done += bytes.len();
            bytes.len()
        })
    }

    /// Writes from kernel memory; returns how many bytes went in. The inode's lock is held.
    ///
    /// # Errors
    /// As [`Mapping::write_with`].
    pub fn write(&self, position: u64, buffer: &[u8]) -> Result<usize, FileError> {
        let mut done = 0;
        self.write_with(position, buffer.len(), |bytes| {
            bytes.copy_from(&buffer[done..done + bytes.len()]);
            done += bytes.len();
            bytes.len()
        })
    }
}
