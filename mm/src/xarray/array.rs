//! [`XArray`]: the array with typed entries, its lock and its memory; [`Locked`]: what whoever has the lock can do.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use super::FANOUT;
use super::erase::Retire;
use super::find::{self, Want};
use super::item::{Entry, Item};
use super::node::{Mark, Node};
use super::root::{Contended, Root};
use super::shim::{AtomicPtr, AtomicU32};
use super::source::{Nodes, Slab, Spare};
use super::store::{Over, Range, Refused, Writer};
use super::validate::validate;
use super::word::Word;
use crate::sync::{Rank, SpinGuard, SpinLock};

/// Why an entry was not put in; it comes back.
#[derive(PartialEq, Eq)]
pub enum StoreError<T> {
    /// There is an entry that would have to go, or one of a higher order.
    Present(Entry<T>),
    /// [`Spare`] has less than so many nodes.
    Nodes(usize, Entry<T>),
}

impl<T> fmt::Debug for StoreError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(_) => f.write_str("Present"),
            Self::Nodes(count, _) => write!(f, "Nodes({count})"),
        }
    }
}

/// An entry that was found, and where.
#[derive(PartialEq, Eq, Debug)]
pub struct Found<'a, T: Item> {
    /// Its first index.
    pub index: u64,
    /// log2 of how many indices it has.
    pub order: u32,
    /// What it is.
    pub entry: Entry<&'a T::Target>,
}

/// Entries by a number of 64 bits. Readers take no lock; who changes it takes [`XArray::lock`].
pub struct XArray<T: Item, S: Nodes<N> = Slab, const N: usize = FANOUT> {
    root: Root<N>,
    lock: SpinLock<()>,
    source: S,
    items: PhantomData<T>,
}

// SAFETY: the array owns its nodes and its items.
unsafe impl<T: Item + Send, S: Nodes<N> + Send, const N: usize> Send for XArray<T, S, N> {}
// SAFETY: changes are made under the lock, and whoever shares the array may take items out, or share them.
unsafe impl<T: Item + Send + Sync, S: Nodes<N> + Sync, const N: usize> Sync for XArray<T, S, N> {}

/// [`Nodes::retire`] as the writer knows it.
struct By<'a, S>(&'a S);

impl<S: Nodes<N>, const N: usize> Retire<N> for By<'_, S> {
    #[inline(always)]
    unsafe fn retire(&self, node: NonNull<Node<N>>) {
        // SAFETY: the writer vouches for it; all its nodes come from there.
        unsafe { self.0.retire(node) }
    }
}

impl<T: Item> XArray<T> {
    /// An empty array, whose lock has this rank.
    pub const fn new(rank: Rank) -> Self {
        Self::new_in(Slab, rank)
    }
}

impl<T: Item, S: Nodes<N>, const N: usize> XArray<T, S, N> {
    /// The same, its nodes to come from `source`.
    pub const fn new_in(source: S, rank: Rank) -> Self {
        let root = Root::new(AtomicPtr::new(null_mut()), AtomicU32::new(0));
        Self { root, lock: SpinLock::new(rank, ()), source, items: PhantomData }
    }

    /// The entry of an index, as an owner of it: one that was there at a moment while this ran. Takes the lock only
    /// if a change is in the way (Linux: `filemap_get_entry`).
    #[inline(always)]
    pub fn get(&self, _guard: &S::Guard, index: u64) -> Option<Entry<T>> {
        // SAFETY: all entries are of `T`; the guard keeps the nodes.
        match unsafe { self.root.get(index) } {
            Ok(entry) => entry,
            Err(Contended) => self.get_locked(index),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_locked(&self, index: u64) -> Option<Entry<T>> {
        // There it can only be that there are no more references to be had.
        let locked = self.lock();
        match locked.get(index)? {
            // SAFETY: an item of the array, under its lock.
            Entry::Item(item) => Some(Entry::Item(unsafe { T::get(NonNull::from(item)) })),
            Entry::Value(value) => Some(Entry::Value(value)),
        }
    }

    /// Shows `each` the items from index `first` to `last`, each once, with its first index in there, as long as it
    /// says so. Takes no lock. What changes meanwhile, or has no reference to give, is shown or not.
    #[inline(always)]
    pub fn for_each(&self, _guard: &S::Guard, first: u64, last: u64, each: impl FnMut(u64, T) -> bool) {
        // SAFETY: all entries are of `T`; the guard keeps the nodes.
        unsafe { self.root.for_each(first, last, each) }
    }

    /// Whether there is nothing in it, at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.root.word().is_none()
    }

    /// Whether any entry has the mark, at this moment (Linux: `mapping_tagged`).
    #[inline]
    pub fn is_any_marked(&self, mark: Mark) -> bool {
        self.root.is_marked(mark)
    }

    /// Holds other writers off.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Locked<'_, T, S, N> {
        let guard = self.lock.lock();
        // SAFETY: the guard is with it.
        let writer = unsafe { Writer::new(&self.root) };
        Locked { array: self, writer, _guard: guard }
    }
}

/// An array that is locked. Nothing here allocates or sleeps.
pub struct Locked<'a, T: Item, S: Nodes<N> = Slab, const N: usize = FANOUT> {
    array: &'a XArray<T, S, N>,
    writer: Writer<'a, N>,
    _guard: SpinGuard<'a, ()>,
}

impl<T: Item, S: Nodes<N>, const N: usize> Locked<'_, T, S, N> {
    /// # Safety
    /// The word is one of the array's entries.
    #[inline(always)]
    unsafe fn entry(&self, word: Word) -> Option<Entry<&T::Target>> {
        match word.item() {
            // SAFETY: an item stays where it is while it is in the array, that is, while `self` is borrowed.
            Some(item) => Some(Entry::Item(unsafe { item.cast().as_ref() })),
            None => word.value().map(Entry::Value),
        }
    }

    /// The entry of an index.
    #[inline]
    pub fn get(&self, index: u64) -> Option<Entry<&T::Target>> {
        let (.., word) = self.writer.locate(index)?;
        // SAFETY: found just now.
        unsafe { self.entry(word) }
    }

    /// The first entry with an index from `from` to `last` (Linux: `xas_find`).
    #[inline]
    pub fn next(&self, from: u64, last: u64) -> Option<Found<'_, T>> {
        self.found(self.writer.find(from, last, Want::All))
    }

    /// As [`Locked::next`], of those with the mark (Linux: `xas_find_marked`).
    #[inline]
    pub fn next_marked(&self, mark: Mark, from: u64, last: u64) -> Option<Found<'_, T>> {
        self.found(self.writer.find(from, last, Want::Marked(mark)))
    }

    fn found(&self, found: Option<find::Found>) -> Option<Found<'_, T>> {
        let find::Found { index, order, word } = found?;
        // SAFETY: found just now.
        unsafe { self.entry(word) }.map(|entry| Found { index, order, entry })
    }

    /// Puts an entry in, for the `1 << order` indices, aligned to that, around `index`; `order` is below 64. It has no
    /// marks.
    ///
    /// # Errors
    /// One of the indices has an entry, or there are not enough nodes; nothing has changed.
    #[inline]
    pub fn insert(
        &mut self,
        index: u64,
        order: u32,
        entry: Entry<T>,
        spare: &mut Spare<S, N>,
    ) -> Result<(), StoreError<T>> {
        self.put(index, order, entry, Over::Nothing, spare, |_| ())
    }

    /// As [`Locked::insert`], in the place of what is there, which `old` gets (Linux: `xas_store`).
    ///
    /// # Errors
    /// An entry there is of a higher order, or there are not enough nodes; nothing has changed.
    pub fn store(
        &mut self,
        index: u64,
        order: u32,
        entry: Entry<T>,
        spare: &mut Spare<S, N>,
        old: impl FnMut(Entry<T>),
    ) -> Result<(), StoreError<T>> {
        self.put(index, order, entry, Over::Entries, spare, old)
    }

    #[inline]
    fn put(
        &mut self,
        index: u64,
        order: u32,
        entry: Entry<T>,
        over: Over,
        spare: &mut Spare<S, N>,
        mut old: impl FnMut(Entry<T>),
    ) -> Result<(), StoreError<T>> {
        let word = entry.into_word();
        if order == 0 && self.writer.insert_at_once(index, word) {
            return Ok(());
        }
        let by = By(&self.array.source);
        let old = |word| {
            // SAFETY: an entry that was in the array until now, once.
            let entry = unsafe { Entry::from_word(word) };
            entry.into_iter().for_each(&mut old);
        };
        let range = Range::new::<N>(index, order);
        let Err(refused) = self.writer.store(range, word, over, spare.pool(), &by, old) else {
            return Ok(());
        };
        // SAFETY: it was not put in.
        match (refused, unsafe { Entry::from_word(word) }) {
            (Refused::Present, Some(entry)) => Err(StoreError::Present(entry)),
            (Refused::Nodes(count), Some(entry)) => Err(StoreError::Nodes(count, entry)),
            (_, None) => unreachable!("an entry is an item or a value"),
        }
    }

    /// Takes out the entry of an index, for all its indices.
    #[inline]
    pub fn erase(&mut self, index: u64) -> Option<Entry<T>> {
        let word = self.writer.erase(index, &By(&self.array.source))?;
        // SAFETY: an entry that was in the array until now.
        unsafe { Entry::from_word(word) }
    }

    /// Gives the entry of an index a mark; says whether there is one.
    pub fn set_mark(&mut self, index: u64, mark: Mark) -> bool {
        self.writer.set_mark(index, mark)
    }

    /// Takes a mark away from the entry of an index; says whether there is an entry.
    pub fn clear_mark(&mut self, index: u64, mark: Mark) -> bool {
        self.writer.clear_mark(index, mark)
    }

    /// Whether the entry of an index has a mark.
    pub fn has_mark(&self, index: u64, mark: Mark) -> bool {
        self.writer.has_mark(index, mark)
    }

    /// Walks over all; how many entries there are, and how many indices have one.
    ///
    /// # Panics
    /// If something does not agree.
    pub fn validate(&self) -> (u64, u64) {
        validate(&self.array.root)
    }
}

impl<T: Item, S: Nodes<N>, const N: usize> Drop for XArray<T, S, N> {
    fn drop(&mut self) {
        struct AtOnce<'a, S>(&'a S);
        impl<S: Nodes<N>, const N: usize> Retire<N> for AtOnce<'_, S> {
            unsafe fn retire(&self, node: NonNull<Node<N>>) {
                // SAFETY: the writer vouches for it; who reads borrows the array.
                unsafe { self.0.free(node) }
            }
        }
        // SAFETY: nobody else has the array.
        let mut writer = unsafe { Writer::new(&self.root) };
        writer.clear(&AtOnce(&self.source), |word| {
            // SAFETY: an entry that was in the array until now.
            drop(unsafe { Entry::<T>::from_word(word) });
        });
    }
}
