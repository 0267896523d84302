//! The root, and how readers without a lock go from there (Linux: `xas_load`, `filemap_get_entry`).
//!
//! A reader goes down by pointers that were stored (release) after what they point to was filled. What it finds may be
//! taken out the moment after, and what was an item then may be anything now: so it gets a reference only if there is
//! one left, and *looks again*. If the slot still has the same word, the reference is one of what is there. For this,
//! no node that leaves the tree keeps an entry: its slots are emptied, or say that the entry has moved.
//!
//! Where a change is in the way, the reader does not go round: it is told to take the lock ([`Contended`]).
//!
//! Models of `mm/tests/loom_xarray.rs` are of this very source.

use core::ptr::null_mut;

use super::item::{Entry, Item};
use super::node::{Mark, Node, published};
use super::shim::{AtomicPtr, AtomicU32, Ordering::Relaxed, Ordering::Release};
use super::word::Word;

/// A change was in the way: the caller looks again under the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Contended;

/// Where a tree starts.
#[derive(Debug)]
pub(super) struct Root<const N: usize> {
    /// Nothing, the entry of index 0 alone, or the top node.
    head: AtomicPtr<()>,
    /// A bit for each mark that any entry has.
    marks: AtomicU32,
}

/// Where a reader came to.
#[derive(Clone, Copy)]
struct Seen<'a, const N: usize> {
    /// The slot that it read last: in `node`, or the head.
    slot: &'a AtomicPtr<()>,
    /// What was in it: no node.
    word: Word,
    node: Option<&'a Node<N>>,
    /// log2 of how many indices a slot of the node stands for.
    shift: u32,
}

impl<const N: usize> Seen<'_, N> {
    /// The second look. What came before it is an acquire.
    #[inline(always)]
    fn is_same(&self) -> bool {
        Word::from_raw(self.slot.load(Relaxed)) == self.word
    }

    /// What was found, as an owner of it; nothing where there is none.
    ///
    /// # Safety
    /// Entries are of `T`. Nodes that were taken out since the reader began are not freed before this returns.
    #[inline(always)]
    unsafe fn entry<T: Item>(self) -> Result<Option<Entry<T>>, Contended> {
        if self.word.is_none() {
            return Ok(None);
        }
        match self.word.item() {
            Some(item) => {
                // SAFETY: it was in the array when the reader looked.
                let item = unsafe { T::try_get(item.cast()) }.ok_or(Contended)?;
                if self.is_same() { Ok(Some(Entry::Item(item))) } else { Err(let_go(item)) }
            }
            // SAFETY: the caller vouches for it.
            None => unsafe { self.entry_slow() },
        }
    }

    /// As [`Seen::entry`] of what is no item.
    ///
    /// # Safety
    /// As for [`Seen::entry`].
    #[cold]
    unsafe fn entry_slow<T: Item>(self) -> Result<Option<Entry<T>>, Contended> {
        if let Some(value) = self.word.value() {
            return Ok(Some(Entry::Value(value)));
        }
        let (Some(at), Some(node)) = (self.word.sibling(), self.node) else { return Err(Contended) };
        let slot = node.slot(at);
        let word = published(slot);
        if !word.is_entry() {
            return Err(Contended);
        }
        // SAFETY: as the caller vouches.
        let entry = unsafe { Seen { slot, word, ..self }.entry() }?;
        // The entry may be one that came since, for fewer indices.
        if self.is_same() { Ok(entry) } else { Err(Contended) }
    }
}

/// What was found is not there any more.
#[cold]
#[inline(never)]
fn let_go<T>(item: T) -> Contended {
    drop(item);
    Contended
}

impl<const N: usize> Root<N> {
    /// Of an empty tree.
    pub(super) const fn new(head: AtomicPtr<()>, marks: AtomicU32) -> Self {
        Self { head, marks }
    }

    /// What the head has, for the writer.
    #[inline(always)]
    pub(super) fn word(&self) -> Word {
        Word::from_raw(self.head.load(Relaxed))
    }

    /// What the word stands for was filled before.
    pub(super) fn set(&self, word: Word) {
        self.head.store(word.into_raw(), Release);
    }

    /// The top node, for the writer.
    #[inline(always)]
    pub(super) fn top(&self) -> Option<&Node<N>> {
        // SAFETY: a node in the tree stays until the writer takes it out.
        self.word().node().map(|top| unsafe { top.as_ref() })
    }

    #[inline(always)]
    pub(super) fn is_marked(&self, mark: Mark) -> bool {
        self.marks.load(Relaxed) >> mark as u32 & 1 != 0
    }

    pub(super) fn mark(&self, mark: Mark, is: bool) {
        let (marks, bit) = (self.marks.load(Relaxed), 1 << mark as u32);
        self.marks.store(if is { marks | bit } else { marks & !bit }, Relaxed);
    }

    /// The entry of an index, for readers without a lock.
    ///
    /// # Errors
    /// [`Contended`].
    ///
    /// # Safety
    /// Entries are of `T`. Nodes that are taken out from now on are not freed before this returns.
    #[inline(always)]
    pub(super) unsafe fn get<T: Item>(&self, index: u64) -> Result<Option<Entry<T>>, Contended> {
        // SAFETY: as the caller vouches.
        match unsafe { self.walk(index) } {
            // SAFETY: as above.
            Some(seen) => unsafe { seen.entry() },
            None => Ok(None),
        }
    }

    /// Shows `each` the items from index `first` to `last`, each once, with its first index in there, as long as it
    /// says so; for readers without a lock. What changes meanwhile, or has no reference to give, is shown or not.
    ///
    /// # Safety
    /// As for [`Root::get`].
    #[inline(always)]
    pub(super) unsafe fn for_each<T: Item>(
        &self,
        first: u64,
        last: u64,
        mut each: impl FnMut(u64, T) -> bool,
    ) {
        let mut index = first;
        // SAFETY: as the caller vouches.
        while let Some(mut seen) = unsafe { self.walk(index) } {
            let mut may_be_sibling = index == first;
            // From slot to slot of one node, as far as nodes below are not in the way.
            loop {
                if seen.word == Word::MOVED {
                    break;
                }
                if (may_be_sibling || seen.word.sibling().is_none())
                    // SAFETY: as above.
                    && let Ok(Some(Entry::Item(item))) = unsafe { seen.entry() }
                    && !each(index, item)
                {
                    return;
                }
                may_be_sibling = false;
                let step = 1u64 << seen.shift;
                let Some(next) = (index & !(step - 1)).checked_add(step).filter(|next| *next <= last) else {
                    return;
                };
                index = next;
                let at = Node::<N>::slot_of(seen.shift, index);
                let Some(node) = seen.node.filter(|_| at != 0) else { break };
                seen.slot = node.slot(at);
                seen.word = published(seen.slot);
                if seen.word.node::<N>().is_some() {
                    break;
                }
            }
        }
    }

    /// The slot that an index goes by, nodes aside. None above all that the tree has.
    ///
    /// # Safety
    /// Nodes that are taken out from now on are not freed while the result is used.
    #[inline(always)]
    unsafe fn walk(&self, index: u64) -> Option<Seen<'_, N>> {
        let word = published(&self.head);
        let Some(top) = word.node::<N>() else {
            return (index == 0).then_some(Seen { slot: &self.head, word, node: None, shift: 0 });
        };
        // SAFETY: it was in the tree when the reader began, or later: it is not freed yet.
        let mut node = unsafe { top.as_ref() };
        let mut shift = node.shift();
        if index >> shift >= N as u64 {
            return None;
        }
        loop {
            let slot = node.slot(Node::<N>::slot_of(shift, index));
            let word = published(slot);
            let Some(below) = word.node() else { return Some(Seen { slot, word, node: Some(node), shift }) };
            // SAFETY: as above, by way of a node that was in the tree.
            node = unsafe { below.as_ref() };
            shift -= Node::<N>::BITS;
        }
    }
}

impl<const N: usize> Default for Root<N> {
    fn default() -> Self {
        Self::new(AtomicPtr::new(null_mut()), AtomicU32::new(0))
    }
}
