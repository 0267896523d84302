//! The page cache: the pages of one file, found by number, read on demand, and mapped (Linux:
//! `mm/filemap.c`, `mm/shmem.c`, `struct address_space`).
//!
//! A [`Mapping`] with a [`Store`] reads its pages from there; one without is memory itself (tmpfs,
//! shared anonymous memory): its pages are zero at first and stay until they are truncated. The
//! index owns one reference of each folio, and is read without its lock. Locks, outermost first: the file system's
//! own lock of the inode, a folio's lock, the links (`rmap::imap`), page tables, the index.

mod index;
mod io;
mod lookup;
mod quota;
#[cfg(test)]
mod tests;
mod truncate;

pub use io::PageBytes;
pub use quota::PageQuota;

use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;

use crate::addr::{Order, PAGE_SHIFT, PAGE_SIZE};
use crate::error::AllocError;
use crate::filemap::index::PageIndex;
use crate::gfp::Gfp;
use crate::lru;
use crate::page::{Folio, MappingWord, PageFlags};
use crate::page_alloc::{FolioRef, alloc_folio};
use crate::rmap::FileMaps;
use crate::slab::{KArc, KBox};
use crate::stat::{self, Item};
use crate::sync::Rank;
use crate::xarray::{Entry, Spare, StoreError};

/// Why a page of a file is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// No memory (`ENOMEM`).
    #[error("out of memory")]
    NoMemory,
    /// The file system is full (`ENOSPC`).
    #[error("no space left")]
    NoSpace,
    /// The store failed (`EIO`).
    #[error("input/output error")]
    Io,
    /// Past the end of the file.
    #[error("past the end of the file")]
    PastEnd,
    /// The other side of a copy could not be touched (`EFAULT`).
    #[error("bad address")]
    Fault,
    /// A fatal signal came before anything was done (`EINTR`).
    #[error("killed meanwhile")]
    Interrupted,
}

impl From<AllocError> for FileError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

/// Where the pages of a file come from.
pub trait Store: Send + Sync {
    /// Fills the folio, which is locked, with the file's bytes from page `index` on; zeroes past its
    /// end. May sleep; holds no other lock.
    ///
    /// # Errors
    /// [`FileError::Io`], [`FileError::NoMemory`].
    fn read_folio(&self, folio: &Folio, index: u64) -> Result<(), FileError>;
}

/// The most bytes of a file (`MAX_LFS_FILESIZE`).
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// Pages that are looked for at once (Linux: `PAGEVEC_SIZE`).
const BATCH: usize = 31;

/// The page cache of one file.
pub struct Mapping {
    index: PageIndex,
    /// Pages in the index. Written by whoever put one in or took one out, about then.
    pages: AtomicU64,
    /// Bytes of the file. Written by whoever holds the inode's lock; a fault reads it with the folio
    /// locked.
    size: AtomicU64,
    maps: FileMaps,
    store: Option<KBox<dyn Store>>,
    quota: Option<KArc<PageQuota>>,
}

impl Mapping {
    /// The memory of a new tmpfs file or of shared anonymous memory: empty, `size` bytes long. Its
    /// pages count against `quota`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_memory(size: u64, quota: Option<KArc<PageQuota>>) -> Result<KArc<Self>, AllocError> {
        Self::new(size, None, quota)
    }

    /// The cache of a file of `size` bytes whose pages come from `store`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_file(size: u64, store: KBox<dyn Store>) -> Result<KArc<Self>, AllocError> {
        Self::new(size, Some(store), None)
    }

    fn new(
        size: u64,
        store: Option<KBox<dyn Store>>,
        quota: Option<KArc<PageQuota>>,
    ) -> Result<KArc<Self>, AllocError> {
        let mapping = Self {
            index: PageIndex::new(Rank::PageIndex),
            pages: AtomicU64::new(0),
            size: AtomicU64::new(size),
            maps: FileMaps::new(),
            store,
            quota,
        };
        KArc::new(mapping, Gfp::KERNEL)
    }

    /// Bytes of the file (`i_size`).
    #[inline]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Pages that hold a byte of the file, hole or not.
    #[inline]
    pub fn end_index(&self) -> u64 {
        self.size().div_ceil(PAGE_SIZE as u64)
    }

    /// Pages that are in the cache (`i_blocks` of a tmpfs file, over 8).
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Whether the pages are the file: nothing to read, nothing to write back.
    #[inline]
    pub fn is_memory(&self) -> bool {
        self.store.is_none()
    }

    /// Where the file is mapped.
    pub(crate) fn maps(&self) -> &FileMaps {
        &self.maps
    }

    /// Whether the file is mapped anywhere.
    pub fn is_mapped(&self) -> bool {
        !self.maps.is_empty()
    }

    /// From now on no mapping may write to the file. Says `false`, and changes nothing, if stores through one
    /// reach it already, or may once its rights change.
    pub fn seal(&self) -> bool {
        self.maps.seal()
    }

    /// The folio of page `index`, made and read if need be. May sleep. Whoever wants to be sure that it
    /// is still the file's locks it and asks [`Mapping::owns`].
    ///
    /// # Errors
    /// [`FileError::PastEnd`] at and after the end of the file, [`FileError::NoSpace`] where the quota
    /// ends, no memory, or the store's.
    pub fn get(&self, index: u64) -> Result<FolioRef, FileError> {
        if index >= self.end_index() {
            return Err(FileError::PastEnd);
        }
        self.get_from(index, self.find(index))
    }

    /// As [`Mapping::get`] of a page before the end of the file, which the caller looked for.
    pub(crate) fn get_from(&self, index: u64, found: Option<FolioRef>) -> Result<FolioRef, FileError> {
        let (folio, new) = self.found_or_add(index, found)?;
        // Truncated meanwhile: a page put in since is one that truncation did not find.
        if index >= self.end_index() {
            if new {
                self.remove_unused(index, &folio);
            }
            return Err(FileError::PastEnd);
        }
        self.read_in(folio, index)
    }

    /// As [`Mapping::get`], wherever the file ends: for a write that makes it longer.
    fn get_any(&self, index: u64) -> Result<FolioRef, FileError> {
        let (folio, _) = self.found_or_add(index, self.find(index))?;
        self.read_in(folio, index)
    }

    /// The folio of page `index`, perhaps not read yet, and whether it is new.
    fn found_or_add(&self, index: u64, found: Option<FolioRef>) -> Result<(FolioRef, bool), FileError> {
        match found {
            Some(folio) => Ok((folio, false)),
            None => self.add(index, PageFlags::UPTODATE),
        }
    }

    /// Reads the folio of page `index`, if nobody has.
    fn read_in(&self, folio: FolioRef, index: u64) -> Result<FolioRef, FileError> {
        if folio.is_uptodate() {
            return Ok(folio);
        }
        let Some(store) = &self.store else {
            // Only allocated so far: its zeroes are data from now on.
            folio.set_flags(PageFlags::UPTODATE);
            return Ok(folio);
        };
        {
            // Two readers of one page: the second finds it read.
            let locked = folio.lock();
            if !locked.is_uptodate() {
                store.read_folio(&locked, index)?;
                locked.set_flags(PageFlags::UPTODATE);
            }
        }
        Ok(folio)
    }

    /// Puts a page in where there is none; another's, if somebody was quicker. Says whether it is new. One of memory,
    /// which is all zeroes, has `state`.
    fn add(&self, index: u64, state: PageFlags) -> Result<(FolioRef, bool), FileError> {
        let memory = self.store.is_none();
        if let Some(quota) = &self.quota
            && !quota.take()
        {
            return Err(FileError::NoSpace);
        }
        let made = self.add_charged(index, memory.then_some(state));
        if !matches!(made, Ok((_, true)))
            && let Some(quota) = &self.quota
        {
            quota.give(1);
        }
        made
    }

    /// As [`Mapping::add`]; the quota is the caller's affair.
    fn add_charged(&self, index: u64, memory: Option<PageFlags>) -> Result<(FolioRef, bool), FileError> {
        let gfp = if memory.is_some() { Gfp::HIGHUSER_MOVABLE | Gfp::ZERO } else { Gfp::HIGHUSER_MOVABLE };
        let folio = alloc_folio(gfp, Order::ZERO)?;
        folio.set_mapping(MappingWord::File((&raw const *self).expose_provenance()));
        folio.set_index(index);
        if let Some(state) = memory {
            folio.set_flags(PageFlags::SWAPBACKED | state);
        }
        // Before anybody can find it.
        lru::add(&folio);
        let mut entry = Entry::Item(folio.clone());
        let mut spare = Spare::new();
        loop {
            let done = self.index.lock().insert(index, 0, entry, &mut spare);
            match done {
                Ok(()) => {
                    self.count(1);
                    return Ok((folio, true));
                }
                Err(StoreError::Present(refused)) => {
                    entry = refused;
                    if let Some(present) = self.find(index) {
                        return Ok((present, false));
                    }
                }
                Err(StoreError::Nodes(count, refused)) => {
                    entry = refused;
                    spare.fill(count, Gfp::KERNEL)?;
                }
            }
        }
    }

    /// Whether the folio, which is locked, is still page `index` of this file.
    pub fn owns(&self, folio: &Folio, index: u64) -> bool {
        folio.mapping() == MappingWord::File((&raw const *self).addr()) && folio.index() == index
    }

    /// Takes page `index` out. Its folio is locked and unmapped, or nobody can reach the mapping.
    fn remove(&self, index: u64) {
        let removed = self.index.lock().erase(index);
        if let Some(Entry::Item(folio)) = removed {
            self.removed(folio);
        }
    }

    /// Takes page `index` out again if it is `folio`, nobody else has found it, and nothing was written
    /// to it.
    pub(crate) fn remove_unused(&self, index: u64, folio: &FolioRef) {
        // Whoever has it locked may be on its way from the folio to this file.
        let Some(_locked) = folio.try_lock() else { return };
        let removed = {
            let mut pages = self.index.lock();
            let is_there =
                pages.get(index).and_then(Entry::item).is_some_and(|found| found.head() == folio.head());
            // The index has one reference and the caller the other. Nobody gets a third, and none that had one has
            // written.
            if !is_there || !folio.freeze(2) {
                return;
            }
            let removed = if folio.flags().contains(PageFlags::DIRTY) { None } else { pages.erase(index) };
            folio.unfreeze(2);
            removed
        };
        if let Some(Entry::Item(folio)) = removed {
            self.removed(folio);
        }
    }

    /// Accounts for a folio that left the index.
    fn removed(&self, folio: FolioRef) {
        folio.set_mapping(MappingWord::None);
        self.count(-1);
        if let Some(quota) = &self.quota {
            quota.give(1);
        }
    }

    fn count(&self, pages: i64) {
        self.pages.fetch_add(pages as u64, Ordering::Relaxed);
        stat::add(Item::FilePages, pages);
        if self.store.is_none() {
            stat::add(Item::Shmem, pages);
        }
    }

    /// Page number of a byte, and the byte's place in the page.
    #[inline]
    const fn place(position: u64) -> (u64, usize) {
        (position >> PAGE_SHIFT, (position & (PAGE_SIZE as u64 - 1)) as usize)
    }
}

impl Drop for Mapping {
    /// The last user is gone, so nothing maps the file: its pages go.
    fn drop(&mut self) {
        debug_assert!(self.maps.is_empty(), "a mapped file is freed");
        let mut from = 0;
        loop {
            let mut batch = ArrayVec::<_, BATCH>::new();
            self.find_batch(from, u64::MAX, &mut batch);
            let Some((last, _)) = batch.last() else { break };
            from = last + 1;
            for (index, folio) in batch {
                // Whoever has it locked may have come from the folio to this file (`rmap_walk`).
                let _locked = folio.lock();
                self.remove(index);
            }
        }
    }
}
