//! A sorted sequence in chunks: what a directory of tmpfs is made of.
//!
//! A chunk holds at most [`CHUNK`] values, and the chunks stand in one array. Finding takes two binary
//! searches; putting in and taking out moves at most a chunk, and the array of chunks once in a while.
//! So a directory of 100,000 names costs about what one of 100 does.

use core::cmp::Ordering;

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;

const CHUNK: usize = 64;

/// A sorted sequence. The order is the caller's: every search compares by the same one.
pub struct Chunked<T> {
    chunks: KVec<KVec<T>>,
    len: usize,
}

/// A place in the sequence, until it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    chunk: usize,
    slot: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Chunked<T> {
    /// Nothing.
    pub const fn new() -> Self {
        Self { chunks: KVec::new(), len: 0 }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the value is that `compare` finds equal; else where it would stand. `compare` says how a
    /// value stands to what is looked for.
    pub fn search(&self, mut compare: impl FnMut(&T) -> Ordering) -> Result<Place, Place> {
        // The last chunk whose first value is not greater.
        let above = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|first| compare(first) != Ordering::Greater));
        let chunk = above.saturating_sub(1);
        let Some(values) = self.chunks.get(chunk) else { return Err(Place { chunk: 0, slot: 0 }) };
        match values.binary_search_by(compare) {
            Ok(slot) => Ok(Place { chunk, slot }),
            Err(slot) => Err(Place { chunk, slot }),
        }
    }

    /// The value at `place`.
    pub fn get(&self, place: Place) -> Option<&T> {
        self.chunks.get(place.chunk)?.get(place.slot)
    }

    /// As [`Chunked::get`].
    pub fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.chunks.get_mut(place.chunk)?.get_mut(place.slot)
    }

    /// The values from `place` on.
    pub fn iter_from(&self, place: Place) -> impl Iterator<Item = &T> {
        let chunks = self.chunks.get(place.chunk..).unwrap_or_default();
        chunks.iter().enumerate().flat_map(move |(n, chunk)| {
            let skip = if n == 0 { place.slot.min(chunk.len()) } else { 0 };
            chunk[skip..].iter()
        })
    }

    /// Puts `value` to the place that a search for it named.
    ///
    /// # Errors
    /// No memory; nothing changed.
    pub fn insert(&mut self, place: Place, value: T) -> Result<(), AllocError> {
        let Place { mut chunk, mut slot } = place;
        if self.chunks.is_empty() {
            self.chunks.push(KVec::new(), Gfp::KERNEL)?;
        }
        if self.chunks[chunk].len() == CHUNK {
            self.chunks.reserve(1, Gfp::KERNEL)?;
            let mut upper = KVec::with_capacity(CHUNK, Gfp::KERNEL)?;
            // Values that come in order leave full chunks behind.
            let keep = if chunk + 1 == self.chunks.len() && slot == CHUNK { CHUNK } else { CHUNK / 2 };
            upper.try_extend(self.chunks[chunk].drain(keep..CHUNK), Gfp::KERNEL)?;
            self.chunks.insert(chunk + 1, upper, Gfp::KERNEL)?;
            if slot >= keep {
                (chunk, slot) = (chunk + 1, slot - keep);
            }
        }
        self.chunks[chunk].insert(slot, value, Gfp::KERNEL)?;
        self.len += 1;
        Ok(())
    }

    /// Takes the value at `place` out.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let values = self.chunks.get_mut(place.chunk)?;
        if place.slot >= values.len() {
            return None;
        }
        let value = values.remove(place.slot);
        if values.is_empty() {
            self.chunks.remove(place.chunk);
        }
        self.len -= 1;
        Some(value)
    }

    /// Takes the last value out.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let last = self.chunks.last_mut()?;
            let value = last.pop();
            if last.is_empty() {
                self.chunks.pop();
            }
            if value.is_some() {
                self.len -= 1;
                return value;
            }
        }
    }
}
