//! A node: up to `N` slots in ascending order, as three arrays of words, so that a search stays within one of them.
//!
//! | word | in a leaf | above |
//! |---|---|---|
//! | `hi` | one past the entry's last address | where the last entry below ends; [`FREE`] for what is last in the tree |
//! | `lo` | the entry's first address | the largest gap below: before any of its entries, down to the entry before |
//! | `ptr` | the entry's value | the child |
//!
//! Every word is an atomic, as readers look on while the writer is at work. Slots that hold nothing have `FREE` as
//! `hi`, so that a search needs no length, and no pointer, so that no reader finds a node there that went long ago.
//! Models of `mm/tests/loom_maple.rs` are of this very source.

use core::array::from_fn;
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};

use super::shim::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed};

/// The end of nothing: above all addresses.
pub(super) const FREE: u64 = u64::MAX;

/// A node of `N` slots, a power of two from 4 to 32.
#[derive(Debug)]
#[repr(C)]
pub struct Node<const N: usize> {
    hi: [AtomicU64; N],
    lo: [AtomicU64; N],
    ptr: [AtomicPtr<()>; N],
    /// The leaf after this one; of a node that is in no tree, the next of its list.
    next: AtomicPtr<Node<N>>,
    len: AtomicU32,
    /// 0 for a leaf. The same for as long as the node is in a tree.
    level: AtomicU32,
    /// Room for whoever frees the node, once it was taken out: where it waits until no reader is in it.
    pub(super) retired: UnsafeCell<[usize; 2]>,
}

/// What is in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) hi: u64,
    pub(super) lo: u64,
    pub(super) ptr: *mut (),
}

impl Slot {
    const EMPTY: Self = Self { hi: FREE, lo: 0, ptr: null_mut() };
}

impl<const N: usize> Node<N> {
    /// A node with less than this is merged with the one beside it, or evened out with it.
    pub(super) const FEW: usize = if N / 4 < 2 { 2 } else { N / 4 };
    /// As many as two nodes that become one have together, at the most: there is room then for what comes next.
    pub(super) const MERGED: usize = N / 4 * 3;

    /// Nothing in it, in no tree.
    pub fn new() -> Self {
        const { assert!(N.is_power_of_two() && N >= 4 && N <= 32) };
        Self {
            hi: from_fn(|_| AtomicU64::new(FREE)),
            lo: from_fn(|_| AtomicU64::new(0)),
            ptr: from_fn(|_| AtomicPtr::new(null_mut())),
            next: AtomicPtr::new(null_mut()),
            len: AtomicU32::new(0),
            level: AtomicU32::new(0),
            retired: UnsafeCell::new([0; 2]),
        }
    }

    /// Makes a node where it is to be: it is large for a way by the stack.
    ///
    /// # Safety
    /// `at` is room for a node, which nobody else knows.
    pub(super) unsafe fn init(at: NonNull<Self>) {
        let node = at.as_ptr();
        // SAFETY: as the caller vouches; of all but the ends, zeroes are the empty value.
        unsafe {
            node.write_bytes(0, 1);
            for hi in 0..N {
                (&raw mut (*node).hi[hi]).write(AtomicU64::new(FREE));
            }
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.len() == N
    }

    #[inline(always)]
    pub(super) fn level(&self) -> usize {
        self.level.load(Relaxed) as usize
    }

    /// Of a node that no reader knows yet.
    pub(super) fn set_level(&self, level: usize) {
        self.level.store(level as u32, Relaxed);
    }

    #[inline(always)]
    pub(super) fn hi(&self, at: usize) -> u64 {
        self.hi[at % N].load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn lo(&self, at: usize) -> u64 {
        self.lo[at % N].load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn ptr(&self, at: usize) -> *mut () {
        self.ptr[at % N].load(Relaxed)
    }

    /// For readers without a lock: what it points to is seen as it was when the pointer was put there, or later.
    #[inline(always)]
    pub(super) fn ptr_published(&self, at: usize) -> *mut () {
        self.ptr[at % N].load(Acquire)
    }

    #[inline(always)]
    pub(super) fn set_hi(&self, at: usize, hi: u64) {
        self.hi[at % N].store(hi, Relaxed);
    }

    #[inline(always)]
    pub(super) fn set_lo(&self, at: usize, lo: u64) {
        self.lo[at % N].store(lo, Relaxed);
    }

    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Slot {
        Slot { hi: self.hi(at), lo: self.lo(at), ptr: self.ptr(at) }
    }

    /// For readers without a lock.
    #[inline(always)]
    pub(super) fn get_published(&self, at: usize) -> Slot {
        Slot { hi: self.hi(at), lo: self.lo(at), ptr: self.ptr_published(at) }
    }

    /// What the pointer points to was made before a release fence of the writer.
    #[inline(always)]
    pub(super) fn set(&self, at: usize, slot: Slot) {
        self.set_hi(at, slot.hi);
        self.set_lo(at, slot.lo);
        self.ptr[at % N].store(slot.ptr, Relaxed);
    }

    #[inline(always)]
    fn set_len(&self, len: usize) {
        self.len.store(len as u32, Relaxed);
    }

    /// How many of the first `N - 1` slots end at or below `addr`: the child, or the leaf's slot, to look in. As many
    /// steps for any length.
    ///
    /// A tree of branches, not a sum of comparisons: it is half as many instructions, and faults come again and again
    /// to the same few entries, so that the branches are foreseen.
    #[inline]
    pub(super) fn search(&self, addr: u64) -> usize {
        macro_rules! halve {
            ($at:expr; $half:literal $($rest:literal)*) => {
                if self.hi($at + $half - 1) <= addr { halve!($at + $half; $($rest)*) } else { halve!($at; $($rest)*) }
            };
            ($at:expr;) => { $at };
        }
        match N {
            4 => halve!(0; 2 1),
            8 => halve!(0; 4 2 1),
            16 => halve!(0; 8 4 2 1),
            _ => halve!(0; 16 8 4 2 1),
        }
    }

    /// As [`Node::search`] among all slots: up to the length, for what goes behind the last.
    #[inline(always)]
    pub(super) fn search_leaf(&self, addr: u64) -> usize {
        let at = self.search(addr);
        at + usize::from(self.hi(at) <= addr)
    }

    /// The child in a slot, for the writer and for who holds it off.
    #[inline(always)]
    pub(super) fn child(&self, at: usize) -> Option<&Self> {
        debug_assert!(self.level() > 0);
        // SAFETY: slots above the leaves have nodes of the same tree, which are in it as long as nobody changes it,
        // or none; the writer goes to no child that it took out.
        unsafe { self.ptr(at).cast::<Self>().as_ref() }
    }

    /// How many entries of a leaf start below `limit`.
    #[cold]
    pub(super) fn starting_below(&self, limit: u64) -> usize {
        (0..self.len()).take_while(|&at| self.lo(at) < limit).count()
    }

    /// The pointers from slot `from` to below slot `to`.
    pub(super) fn values(&self, from: usize, to: usize) -> &[AtomicPtr<()>] {
        self.ptr.get(from..to).unwrap_or(&[])
    }

    /// The leaf after this one, for the writer and for who holds it off.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<&Self> {
        // SAFETY: as for `child`.
        unsafe { self.next.load(Relaxed).as_ref() }
    }

    pub(super) fn set_next(&self, next: *mut Self) {
        self.next.store(next, Relaxed);
    }

    pub(super) fn next_ptr(&self) -> *mut Self {
        self.next.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> NonNull<Self> {
        NonNull::from(self)
    }

    /// Puts a slot in before slot `at`. There is room.
    pub(super) fn insert(&self, at: usize, slot: Slot) {
        let len = self.len();
        debug_assert!(at <= len && len < N);
        let mut to = len;
        while to > at {
            self.set(to, self.get(to - 1));
            to -= 1;
        }
        self.set(at, slot);
        self.set_len(len + 1);
    }

    /// Takes `count` slots out from slot `at` on.
    pub(super) fn remove(&self, at: usize, count: usize) {
        let len = self.len();
        debug_assert!(at + count <= len);
        let mut from = at + count;
        while from < len {
            self.set(from - count, self.get(from));
            from += 1;
        }
        self.truncate(len - count);
    }

    /// Leaves the first `len` slots.
    fn truncate(&self, len: usize) {
        for at in len..self.len() {
            self.set(at, Slot::EMPTY);
        }
        self.set_len(len);
    }

    /// Appends the slots `from..to` of another node, which stay there too.
    fn append(&self, other: &Self, from: usize, to: usize) {
        let len = self.len();
        debug_assert!(from <= to && to <= other.len() && len + to - from <= N);
        for at in from..to {
            self.set(len + at - from, other.get(at));
        }
        self.set_len(len + to - from);
    }

    /// Appends all slots of another node, which is taken out of the tree after that.
    pub(super) fn append_all(&self, other: &Self) {
        self.append(other, 0, other.len());
    }

    /// Moves all from slot `from` on to `right`, which is empty.
    pub(super) fn split_off(&self, from: usize, right: &Self) {
        right.append(self, from, self.len());
        self.truncate(from);
    }

    /// Moves slots over the border to `right`, the next one, so that this one has `want`.
    pub(super) fn even_out(&self, right: &Self, want: usize) {
        let len = self.len();
        if len < want {
            self.append(right, 0, want - len);
            right.remove(0, want - len);
            return;
        }
        let count = len - want;
        let mut at = right.len();
        debug_assert!(at + count <= N);
        right.set_len(at + count);
        while at > 0 {
            at -= 1;
            right.set(at + count, right.get(at));
        }
        for at in 0..count {
            right.set(at, self.get(want + at));
        }
        self.truncate(want);
    }

    /// Makes the node such that whoever still reads it is lost at once: every pointer is to nowhere (for tests).
    #[cfg(test)]
    pub(super) fn poison(&self) {
        for at in 0..N {
            self.set(
                at,
                Slot { hi: 0, lo: u64::MAX, ptr: core::ptr::without_provenance_mut(0xdead_beef_dead_beef) },
            );
        }
        self.set_next(core::ptr::without_provenance_mut(0xdead_beef_dead_bee0));
        self.level.store(77, Relaxed);
    }

    /// Makes the poisoned node as good as new (for tests).
    #[cfg(test)]
    #[cfg_attr(not(loom), allow(dead_code))]
    pub(super) fn cure(&self) {
        (0..N).for_each(|at| self.set(at, Slot::EMPTY));
        self.set_next(null_mut());
        self.set_len(0);
        self.set_level(0);
    }

    /// The last child before slot `end` with a gap of `size` in it.
    #[inline]
    pub(super) fn last_child_with_gap(&self, end: usize, size: u64) -> Option<usize> {
        let fits = |gap: &AtomicU64| gap.load(Relaxed) >= size;
        let mut gaps = self.lo.get(..end)?;
        // Four by four: the way through a node is most of what a search costs.
        while let [rest @ .., a, b, c, d] = gaps {
            for (at, gap) in [(3, d), (2, c), (1, b), (0, a)] {
                if fits(gap) {
                    return Some(rest.len() + at);
                }
            }
            gaps = rest;
        }
        gaps.iter().rposition(fits)
    }

    /// The first child from slot `from` on with a gap of `size` in it.
    #[inline]
    pub(super) fn first_child_with_gap(&self, from: usize, size: u64) -> Option<usize> {
        let fits = |gap: &AtomicU64| gap.load(Relaxed) >= size;
        let len = self.len();
        let mut gaps = self.lo.get(from..len)?;
        while let [a, b, c, d, rest @ ..] = gaps {
            for (at, gap) in [(4, a), (3, b), (2, c), (1, d)] {
                if fits(gap) {
                    return Some(len - rest.len() - at);
                }
            }
            gaps = rest;
        }
        gaps.iter().position(fits).map(|at| len - gaps.len() + at)
    }

    /// The last entry of a leaf before slot `end`, but not the first of all, with a gap of `size` before it.
    #[inline]
    pub(super) fn last_after_gap(&self, end: usize, size: u64) -> Option<usize> {
        let (mut starts, mut ends) = (self.lo.get(1..end)?, self.hi.get(..end - 1)?);
        let fits = |start: &AtomicU64, end: &AtomicU64| start.load(Relaxed) - end.load(Relaxed) >= size;
        while let ([starts_rest @ .., a, b], [ends_rest @ .., c, d]) = (starts, ends) {
            if fits(b, d) {
                return Some(starts.len());
            }
            if fits(a, c) {
                return Some(starts.len() - 1);
            }
            (starts, ends) = (starts_rest, ends_rest);
        }
        match (starts, ends) {
            ([start], [end]) if fits(start, end) => Some(1),
            _ => None,
        }
    }

    /// The first entry of a leaf after slot `at` with a gap of `size` before it.
    #[inline]
    pub(super) fn first_after_gap(&self, at: usize, size: u64) -> Option<usize> {
        let len = self.len();
        let (starts, ends) = (self.lo.get(at + 1..len)?, self.hi.get(at..len)?);
        let mut gaps = starts.iter().zip(ends).map(|(start, end)| start.load(Relaxed) - end.load(Relaxed));
        gaps.position(|gap| gap >= size).map(|further| at + 1 + further)
    }

    /// The largest gap in or below the node, whose first entry follows one that ends at `floor`.
    pub(super) fn largest_gap(&self, floor: u64) -> u64 {
        let (Some(lows), Some(ends)) = (self.lo.get(..self.len()), self.hi.get(..self.len())) else {
            return 0;
        };
        if self.level() > 0 {
            return lows.iter().map(|gap| gap.load(Relaxed)).fold(0, u64::max);
        }
        let Some((first, rest)) = lows.split_first() else { return 0 };
        let gaps = rest.iter().zip(ends).map(|(start, end)| start.load(Relaxed) - end.load(Relaxed));
        gaps.fold(first.load(Relaxed) - floor, u64::max)
    }
}

impl<const N: usize> Default for Node<N> {
    fn default() -> Self {
        Self::new()
    }
}
