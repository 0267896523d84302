//! The pages of one file by page number (Linux: `i_pages`).
//!
//! Chunks of 64 pages, sorted: a look-up is a binary search over the chunks, and a file written
//! from front to back appends. The index owns one reference of each folio.

use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page_alloc::FolioRef;
use crate::slab::{KBox, KVec};

const CHUNK_SHIFT: u32 = 6;
const CHUNK_PAGES: usize = 1 << CHUNK_SHIFT;
const CHUNK_MASK: u64 = CHUNK_PAGES as u64 - 1;

struct Chunk {
    folios: [Option<FolioRef>; CHUNK_PAGES],
    used: u32,
}

struct Slot {
    /// Page number of the first page, over 64.
    number: u64,
    chunk: KBox<Chunk>,
}

/// Memory for one insertion, to be had before the index is locked.
pub(super) struct Spare {
    chunk: KBox<Chunk>,
    slots: KVec<Slot>,
}

/// The index.
pub(super) struct PageIndex {
    slots: KVec<Slot>,
    len: u64,
}

impl PageIndex {
    pub(super) const fn new() -> Self {
        Self { slots: KVec::new(), len: 0 }
    }

    /// How many pages there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        // A file is mostly used from front to back, so the last chunk is asked first.
        match self.slots.last() {
            None => Err(0),
            Some(last) if last.number == number => Ok(self.slots.len() - 1),
            Some(last) if last.number < number => Err(self.slots.len()),
            Some(_) => self.slots.binary_search_by_key(&number, |slot| slot.number),
        }
    }

    /// The page with this number.
    pub(super) fn get(&self, index: u64) -> Option<&FolioRef> {
        let at = self.position(index >> CHUNK_SHIFT).ok()?;
        self.slots.get(at)?.chunk.folios[(index & CHUNK_MASK) as usize].as_ref()
    }

    /// Memory for any one insertion into an index that is about as large as this one.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn spare(chunks: usize, gfp: Gfp) -> Result<Spare, AllocError> {
        let chunk = KBox::new(Chunk { folios: [const { None }; CHUNK_PAGES], used: 0 }, gfp)?;
        let mut slots = KVec::new();
        slots.reserve(chunks + chunks / 2 + 1, gfp)?;
        Ok(Spare { chunk, slots })
    }

    /// How many chunks there are, for [`PageIndex::spare`].
    pub(super) fn chunks(&self) -> usize {
        self.slots.len()
    }

    /// Puts a page in. Where that takes memory, it comes from `spare` or, without one, is had without
    /// sleeping.
    ///
    /// # Errors
    /// There is a page with that number, or no memory; the folio comes back.
    pub(super) fn insert(
        &mut self,
        index: u64,
        folio: FolioRef,
        spare: Option<Spare>,
    ) -> Result<(), Refused> {
        let number = index >> CHUNK_SHIFT;
        let at = match self.position(number) {
            Ok(at) => at,
            Err(at) => {
                let mut spare = spare;
                if self.slots.len() == self.slots.capacity()
                    && let Some(spare) =
                        spare.as_mut().filter(|spare| spare.slots.capacity() > self.slots.len())
                {
                    let mut larger = core::mem::take(&mut spare.slots);
                    for slot in core::mem::take(&mut self.slots) {
                        if larger.push(slot, Gfp::NOWAIT).is_err() {
                            unreachable!("the capacity was looked at");
                        }
                    }
                    self.slots = larger;
                }
                let chunk = match spare {
                    Some(spare) => Ok(spare.chunk),
                    None => KBox::new(Chunk { folios: [const { None }; CHUNK_PAGES], used: 0 }, Gfp::NOWAIT),
                };
                let Ok(chunk) = chunk else { return Err(Refused::NoMemory(folio)) };
                if self.slots.insert(at, Slot { number, chunk }, Gfp::NOWAIT).is_err() {
                    return Err(Refused::NoMemory(folio));
                }
                at
            }
        };
        let chunk = &mut self.slots[at].chunk;
        let place = &mut chunk.folios[(index & CHUNK_MASK) as usize];
        if place.is_some() {
            return Err(Refused::Present(folio));
        }
        *place = Some(folio);
        chunk.used += 1;
        self.len += 1;
        Ok(())
    }

    /// Takes a page out.
    pub(super) fn remove(&mut self, index: u64) -> Option<FolioRef> {
        let at = self.position(index >> CHUNK_SHIFT).ok()?;
        let chunk = &mut self.slots[at].chunk;
        let folio = chunk.folios[(index & CHUNK_MASK) as usize].take()?;
        chunk.used -= 1;
        self.len -= 1;
        if chunk.used == 0 {
            self.slots.remove(at);
        }
        Some(folio)
    }

    /// The first page with a number of at least `index`, and its number.
    pub(super) fn next(&self, index: u64) -> Option<(u64, &FolioRef)> {
        let first = self.position(index >> CHUNK_SHIFT).unwrap_or_else(|at| at);
        self.slots.get(first..)?.iter().find_map(|slot| {
            let base = slot.number << CHUNK_SHIFT;
            let skip = index.saturating_sub(base).min(CHUNK_PAGES as u64) as usize;
            let found = slot.chunk.folios.iter().enumerate().skip(skip);
            found.filter_map(|(i, folio)| Some((base + i as u64, folio.as_ref()?))).next()
        })
    }
}

/// Why a page was not put in.
pub(super) enum Refused {
    /// There is one already.
    Present(FolioRef),
    /// No memory.
    NoMemory(FolioRef),
}
