//! A node: `N` slots, and for each of the three marks which of them have it (Linux: `struct xa_node`).
//!
//! A slot of the node at `shift` stands for `1 << shift` indices; a child's shift is [`Node::BITS`] less. Only the
//! slots and the shift are read without the lock; all else is the writer's. What was taken out of a tree has no
//! entries any more: its slots are empty, or [`Word::MOVED`].
//!
//! Models of `mm/tests/loom_xarray.rs` are of this very source.

use core::array::from_fn;
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};

use super::shim::{AtomicPtr, AtomicU32, AtomicU64, Ordering, Ordering::Acquire, Ordering::Relaxed};
use super::word::Word;

/// A mark that entries have or have not: three bits of an index that the array's owner gives a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// For a page cache: changed since it was written (`PAGECACHE_TAG_DIRTY`).
    A,
    /// For a page cache: being written (`PAGECACHE_TAG_WRITEBACK`).
    B,
    /// For a page cache: dirty when somebody began to write all that was (`PAGECACHE_TAG_TOWRITE`).
    C,
}

impl Mark {
    /// All.
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];
}

/// A node of `N` slots, a power of two from 4 to 64.
#[derive(Debug)]
#[repr(C)]
pub struct Node<const N: usize> {
    /// The node above; of a node that is in no tree, the next of its list.
    parent: AtomicPtr<Node<N>>,
    /// The same for as long as the node can be found.
    shift: AtomicU32,
    /// Which slot of the parent's.
    at: AtomicU32,
    /// How many slots are not empty.
    count: AtomicU64,
    marks: [AtomicU64; Mark::ALL.len()],
    slots: [AtomicPtr<()>; N],
    /// Room for whoever frees the node, once it was taken out: where it waits until no reader is in it.
    pub(super) retired: UnsafeCell<[usize; 2]>,
}

impl<const N: usize> Node<N> {
    /// Index bits that a level takes.
    pub(super) const BITS: u32 = N.trailing_zeros();

    /// Nothing in it, in no tree. All zeroes, too, is such a node.
    pub fn new() -> Self {
        const { assert!(N.is_power_of_two() && N >= 4 && N <= 64) };
        Self {
            parent: AtomicPtr::new(null_mut()),
            shift: AtomicU32::new(0),
            at: AtomicU32::new(0),
            count: AtomicU64::new(0),
            marks: from_fn(|_| AtomicU64::new(0)),
            slots: from_fn(|_| AtomicPtr::new(null_mut())),
            retired: UnsafeCell::new([0; 2]),
        }
    }

    /// Gives the node its place in a tree, before anybody finds it there.
    pub(super) fn place(&self, shift: u32, parent: Option<&Self>, at: usize) {
        self.shift.store(shift, Relaxed);
        self.set_parent(parent, at);
    }

    pub(super) fn set_parent(&self, parent: Option<&Self>, at: usize) {
        self.parent.store(parent.map_or(null_mut(), |parent| parent.as_ptr().as_ptr()), Relaxed);
        self.at.store(at as u32, Relaxed);
    }

    #[inline(always)]
    pub(super) fn shift(&self) -> u32 {
        self.shift.load(Relaxed)
    }

    /// Which slot an index goes by.
    #[inline(always)]
    pub(super) fn slot_of(shift: u32, index: u64) -> usize {
        (index >> shift) as usize % N
    }

    /// The slot of an index below the node.
    #[inline(always)]
    pub(super) fn offset(&self, index: u64) -> usize {
        Self::slot_of(self.shift(), index)
    }

    /// The first index of slot `at`, where `index` is any that is below the node.
    #[inline(always)]
    pub(super) fn index_of(&self, index: u64, at: usize) -> u64 {
        let shift = self.shift();
        // In two steps: the topmost node stands for more bits than there are.
        let above = index >> shift >> Self::BITS;
        above.checked_shl(shift + Self::BITS).unwrap_or(0) | (at as u64) << shift
    }

    /// The node above and the slot in it, for the writer.
    #[inline(always)]
    pub(super) fn parent(&self) -> Option<(&Self, usize)> {
        // SAFETY: the parent of a node in the tree is in the tree; the writer alone asks.
        let parent = unsafe { self.parent.load(Relaxed).as_ref() }?;
        Some((parent, self.at.load(Relaxed) as usize))
    }

    /// What a slot has, for the writer.
    #[inline(always)]
    pub(super) fn word(&self, at: usize) -> Word {
        Word::from_raw(self.slots[at % N].load(Relaxed))
    }

    /// A slot for readers without a lock.
    #[inline(always)]
    pub(super) fn slot(&self, at: usize) -> &AtomicPtr<()> {
        &self.slots[at % N]
    }

    /// Puts a word in a slot. Readers that find it see all that was done before.
    #[inline(always)]
    pub(super) fn set(&self, at: usize, word: Word) {
        let is = word.is_none();
        let was = self.word(at).is_none();
        self.slots[at % N].store(word.into_raw(), Ordering::Release);
        let count = self.count.load(Relaxed);
        self.count.store(count + u64::from(was) - u64::from(is), Relaxed);
    }

    /// As [`Node::set`] of a slot that is empty, to something.
    #[inline(always)]
    pub(super) fn fill(&self, at: usize, word: Word) {
        debug_assert!(self.word(at).is_none() && !word.is_none());
        self.slots[at % N].store(word.into_raw(), Ordering::Release);
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    /// How many slots are not empty.
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        self.count.load(Relaxed) as usize
    }

    /// How many slots the entry of slot `at`, which has it itself, takes.
    pub(super) fn span(&self, at: usize) -> usize {
        1 + (at + 1..N).take_while(|&next| self.word(next).sibling() == Some(at)).count()
    }

    /// Which slots have a mark, a bit each.
    #[inline(always)]
    pub(super) fn marks(&self, mark: Mark) -> u64 {
        self.marks[mark as usize].load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn is_marked(&self, at: usize, mark: Mark) -> bool {
        self.marks(mark) >> (at % N) & 1 != 0
    }

    /// Gives slot `at` the mark or takes it away.
    #[inline(always)]
    pub(super) fn mark(&self, at: usize, mark: Mark, is: bool) {
        let bit = 1 << (at % N);
        let marks = self.marks(mark);
        self.marks[mark as usize].store(if is { marks | bit } else { marks & !bit }, Relaxed);
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> NonNull<Self> {
        NonNull::from(self)
    }

    /// For lists of nodes that are in no tree.
    pub(super) fn set_next(&self, next: *mut Self) {
        self.parent.store(next, Relaxed);
    }

    pub(super) fn next(&self) -> *mut Self {
        self.parent.load(Relaxed)
    }

    /// Makes the node such that whoever still reads it is lost at once: every slot is a node that is nowhere (for
    /// tests).
    #[cfg(test)]
    pub(super) fn poison(&self) {
        for slot in &self.slots {
            slot.store(core::ptr::without_provenance_mut(0xdead_beef_dead_beea), Relaxed);
        }
    }
}

/// Loads what a reader without a lock goes by: what it points to is seen as it was when it was put there, or later.
#[inline(always)]
pub(super) fn published(slot: &AtomicPtr<()>) -> Word {
    Word::from_raw(slot.load(Acquire))
}

impl<const N: usize> Default for Node<N> {
    fn default() -> Self {
        Self::new()
    }
}
