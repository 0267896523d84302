//! [`Tree`]: the tree with typed values and with its memory; [`Reader`]: how readers without a lock see it.

use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::node::Node;
use super::raw::{RawTree, Refused, Retire};
use super::root::{Found, Retry, Root};
use super::source::{Nodes, Slab};
use super::{FANOUT, gap, iter};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::slab::{KArc, KBox};

/// An owner that a tree keeps as one word.
///
/// # Safety
/// What `into_value` returns stays valid as a `Target`, also when the owner moves, until `from_value` took it back.
pub unsafe trait Stored {
    /// What it owns.
    type Target;
    /// Gives the ownership away.
    fn into_value(self) -> NonNull<Self::Target>;
    /// Takes it back.
    ///
    /// # Safety
    /// `value` comes from `into_value`, and is taken back once.
    unsafe fn from_value(value: NonNull<Self::Target>) -> Self;
}

// SAFETY: a box's object stays where it is.
unsafe impl<T> Stored for KBox<T> {
    type Target = T;

    #[inline(always)]
    fn into_value(self) -> NonNull<T> {
        // SAFETY: the pointer of a box is not null.
        unsafe { NonNull::new_unchecked(Self::into_raw(self)) }
    }

    #[inline(always)]
    unsafe fn from_value(value: NonNull<T>) -> Self {
        // SAFETY: the caller vouches for it.
        unsafe { Self::from_raw(value.as_ptr()) }
    }
}

/// An entry: the addresses from `start` to below `end`, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<V> {
    /// The first address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// The value.
    pub value: V,
}

/// Why an entry was not put in; the value comes back.
#[derive(PartialEq, Eq)]
pub enum InsertError<V> {
    /// The range is empty, or another entry has an address of it.
    Overlap(V),
    /// Nobody reserved memory for it, and there is none.
    NoMemory(V),
}

impl<V> InsertError<V> {
    /// The value.
    pub fn into_value(self) -> V {
        match self {
            Self::Overlap(value) | Self::NoMemory(value) => value,
        }
    }
}

impl<V> fmt::Debug for InsertError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlap(_) => "Overlap",
            Self::NoMemory(_) => "NoMemory",
        })
    }
}

/// Ranges of addresses, disjoint, each with a value. Whoever has it exclusively is the writer; [`Tree::reader`]s take
/// no lock.
pub struct Tree<V: Stored, S: Nodes<N> = Slab, const N: usize = FANOUT> {
    raw: RawTree<KArc<Root<N>>, N>,
    source: S,
    values: PhantomData<V>,
}

// SAFETY: the tree owns its nodes and its values; readers elsewhere read atomics.
unsafe impl<V: Stored + Send, S: Nodes<N> + Send, const N: usize> Send for Tree<V, S, N> {}
// SAFETY: a shared tree gives out shared references to values, and changes nothing.
unsafe impl<V: Stored + Sync, S: Nodes<N> + Sync, const N: usize> Sync for Tree<V, S, N> {}

/// [`Nodes::retire`] as the writer knows it.
struct By<'a, S>(&'a S);

impl<S: Nodes<N>, const N: usize> Retire<N> for By<'_, S> {
    #[inline(always)]
    unsafe fn retire(&self, node: NonNull<Node<N>>) {
        // SAFETY: the writer vouches for it; all its nodes come from there.
        unsafe { self.0.retire(node) }
    }
}

impl<V: Stored, S: Nodes<N>, const N: usize> Tree<V, S, N> {
    /// An empty tree, its nodes to come from `source`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_in(source: S, gfp: Gfp) -> Result<Self, AllocError> {
        Ok(Self { raw: RawTree::new(KArc::new(Root::new(), gfp)?), source, values: PhantomData })
    }

    /// What readers without a lock go by. It stays valid when the tree is gone, and finds nothing then.
    pub fn reader(&self) -> Reader<V, S, N> {
        Reader { root: self.raw.base().clone(), values: PhantomData }
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes sure that the next insertion has all the memory that it can need.
    ///
    /// # Errors
    /// No memory, or as many levels as a tree can have; nothing has changed.
    #[inline]
    pub fn reserve(&mut self, gfp: Gfp) -> Result<(), AllocError> {
        let nodes = self.raw.nodes_to_insert().ok_or(AllocError)?;
        self.reserve_nodes(nodes, gfp)
    }

    /// Makes sure that `count` insertions into an empty tree, each above all those before, have all the memory that
    /// they need: for a copy of another tree.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn reserve_ascending(&mut self, count: usize, gfp: Gfp) -> Result<(), AllocError> {
        let mut on_level = count.div_ceil(N);
        let mut nodes = on_level;
        while on_level > 1 {
            // Above the leaves a node that is split keeps all children but one.
            on_level = if on_level <= N { 1 } else { (on_level - 1).div_ceil(N - 1) };
            nodes += on_level;
        }
        self.reserve_nodes(nodes, gfp)
    }

    #[inline]
    fn reserve_nodes(&mut self, nodes: usize, gfp: Gfp) -> Result<(), AllocError> {
        while self.raw.spare() < nodes {
            let node = self.source.alloc(gfp)?;
            // SAFETY: a new node, which nobody else knows.
            unsafe { self.raw.pool().put(node) };
        }
        Ok(())
    }

    /// Frees the nodes that were reserved and not used.
    pub fn free_reserve(&mut self) {
        while let Some(node) = self.raw.pool().take() {
            // SAFETY: nodes of the pool come from the source, and were in no tree.
            unsafe { self.source.free(node) };
        }
    }

    /// Puts an entry in.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing has changed. None but `Overlap` after [`Tree::reserve`].
    #[inline]
    pub fn insert(&mut self, start: u64, end: u64, value: V) -> Result<(), InsertError<V>> {
        self.put(value, |raw, value| raw.insert(start, end, value))
    }

    /// Makes two entries of the one that `addr` is in: its value keeps what is below `low_end`, and `value` gets what
    /// is from `high_start` on. Nothing has what is between. Cheaper than a change of the one's range and an
    /// insertion.
    ///
    /// # Errors
    /// See [`InsertError`]; nothing has changed. `Overlap`: there is no such entry, or nothing would be left for one
    /// of the two. None but that after [`Tree::reserve`].
    #[inline]
    pub fn split(
        &mut self,
        addr: u64,
        low_end: u64,
        high_start: u64,
        value: V,
    ) -> Result<(), InsertError<V>> {
        self.put(value, |raw, value| raw.split(addr, low_end, high_start, value))
    }

    #[inline]
    fn put(
        &mut self,
        value: V,
        put: impl Fn(&mut RawTree<KArc<Root<N>>, N>, NonNull<()>) -> Result<(), Refused>,
    ) -> Result<(), InsertError<V>> {
        let value = value.into_value();
        let mut done = put(&mut self.raw, value.cast());
        if done == Err(Refused::Nodes) && self.reserve(Gfp::KERNEL).is_ok() {
            done = put(&mut self.raw, value.cast());
        }
        // SAFETY: given away above, and not in the tree.
        let back = || unsafe { V::from_value(value) };
        match done {
            Ok(()) => Ok(()),
            Err(Refused::Overlap) => Err(InsertError::Overlap(back())),
            Err(Refused::Nodes) => Err(InsertError::NoMemory(back())),
        }
    }

    /// The first entry that ends above `addr`.
    #[inline]
    pub fn find(&self, addr: u64) -> Option<Entry<&V::Target>> {
        // SAFETY: values of entries are the tree's, and it is borrowed.
        self.raw.root().find_locked(addr).map(|found| unsafe { borrowed(found) })
    }

    /// The entry that `addr` is in.
    #[inline]
    pub fn lookup(&self, addr: u64) -> Option<Entry<&V::Target>> {
        self.find(addr).filter(|entry| entry.start <= addr)
    }

    /// The value of the entry that `addr` is in, to be changed.
    #[inline]
    pub fn lookup_mut(&mut self, addr: u64) -> Option<&mut V::Target> {
        let found = self.raw.root().find_locked(addr).filter(|found| found.start <= addr);
        // SAFETY: values of entries are the tree's, and it is borrowed exclusively.
        found.map(|found| unsafe { found.value.cast().as_mut() })
    }

    /// The last entry that ends at or below `addr`.
    #[inline]
    pub fn before(&self, addr: u64) -> Option<&V::Target> {
        // SAFETY: values of entries are the tree's, which is borrowed.
        iter::last_before(self.raw.root(), addr).map(|value| unsafe { value.cast().as_ref() })
    }

    /// The values of all entries, ascending.
    #[inline]
    pub fn iter(&self) -> Iter<'_, V, N> {
        self.iter_in(0, u64::MAX)
    }

    /// The values of the entries that have an address from `start` to below `end`, ascending.
    #[inline]
    pub fn iter_in(&self, start: u64, end: u64) -> Iter<'_, V, N> {
        Iter { raw: iter::Ascending::new(self.raw.root(), start, end), values: PhantomData }
    }

    /// The values of the entries that end at or below `addr`, descending.
    #[inline]
    pub fn iter_back(&self, addr: u64) -> IterBack<'_, V, N> {
        IterBack { raw: iter::Descending::new(self.raw.root(), addr), values: PhantomData }
    }

    /// Takes the entry out that `addr` is in.
    #[inline]
    pub fn remove(&mut self, addr: u64) -> Option<Entry<V>> {
        // SAFETY: it was an entry's, which is gone.
        self.raw.remove(addr, &By(&self.source)).map(|found| unsafe { owned(found) })
    }

    /// Takes all entries out that have an address from `start` to below `end`, and gives them to `out`, ascending.
    pub fn remove_range(&mut self, start: u64, end: u64, mut out: impl FnMut(Entry<V>)) {
        // SAFETY: they were entries', which are gone.
        self.raw.remove_range(start, end, &By(&self.source), |found| out(unsafe { owned(found) }));
    }

    /// Gives the entry that `addr` is in the range from `start` to below `end`. Says whether it could: the range is not
    /// empty, and no other entry has an address of it, nor one between. Never needs memory.
    #[must_use]
    pub fn resize(&mut self, addr: u64, start: u64, end: u64) -> bool {
        self.raw.resize(addr, start, end)
    }

    /// The highest `size` addresses within `low..high` that no entry has; where they start.
    pub fn highest_gap(&self, size: u64, low: u64, high: u64) -> Option<u64> {
        gap::highest(self.raw.root(), size, low, high)
    }

    /// The lowest `size` addresses within `low..high` that no entry has; where they start.
    pub fn lowest_gap(&self, size: u64, low: u64, high: u64) -> Option<u64> {
        gap::lowest(self.raw.root(), size, low, high)
    }

    /// Takes all entries out and gives them to `out`, ascending. The tree is empty then already.
    pub fn clear(&mut self, mut out: impl FnMut(Entry<V>)) {
        // SAFETY: they were entries', which are gone.
        self.raw.clear(&By(&self.source), |found| out(unsafe { owned(found) }));
    }

    /// Checks what must always hold; returns how many nodes there are, the reserved ones among them.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn validate(&self) -> usize {
        super::validate::validate(self.raw.root(), self.raw.len()) + self.raw.spare()
    }
}

impl<V: Stored> Tree<V> {
    /// An empty tree.
    ///
    /// # Errors
    /// No memory.
    pub fn new(gfp: Gfp) -> Result<Self, AllocError> {
        Self::new_in(Slab, gfp)
    }
}

impl<V: Stored, S: Nodes<N>, const N: usize> Drop for Tree<V, S, N> {
    fn drop(&mut self) {
        self.clear(drop);
        self.free_reserve();
    }
}

impl<V: Stored, S: Nodes<N>, const N: usize> fmt::Debug for Tree<V, S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} entries)", self.len())
    }
}

/// # Safety
/// Its value is an entry's for as long as `'t`.
#[inline(always)]
unsafe fn borrowed<'t, T>(found: Found) -> Entry<&'t T> {
    // SAFETY: the caller vouches for it.
    Entry { start: found.start, end: found.end, value: unsafe { found.value.cast().as_ref() } }
}

/// # Safety
/// Its value was that of an entry which is gone.
#[inline(always)]
unsafe fn owned<V: Stored>(found: Found) -> Entry<V> {
    // SAFETY: it comes from `into_value`, and the entry that had it is gone.
    Entry { start: found.start, end: found.end, value: unsafe { V::from_value(found.value.cast()) } }
}

/// See [`Tree::iter`].
pub struct Iter<'t, V: Stored, const N: usize = FANOUT> {
    raw: iter::Ascending<'t, N>,
    values: PhantomData<&'t V>,
}

impl<'t, V: Stored, const N: usize> Iterator for Iter<'t, V, N> {
    type Item = &'t V::Target;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: values of entries are the tree's, which is borrowed.
        self.raw.next().map(|value| unsafe { value.cast().as_ref() })
    }

    #[inline(always)]
    fn fold<A, F: FnMut(A, Self::Item) -> A>(self, sum: A, mut add: F) -> A {
        // SAFETY: as above.
        self.raw.fold(sum, |sum, value| add(sum, unsafe { value.cast().as_ref() }))
    }
}

impl<V: Stored, const N: usize> FusedIterator for Iter<'_, V, N> {}

/// See [`Tree::iter_back`].
pub struct IterBack<'t, V: Stored, const N: usize = FANOUT> {
    raw: iter::Descending<'t, N>,
    values: PhantomData<&'t V>,
}

impl<'t, V: Stored, const N: usize> Iterator for IterBack<'t, V, N> {
    type Item = &'t V::Target;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: values of entries are the tree's, which is borrowed.
        self.raw.next().map(|value| unsafe { value.cast().as_ref() })
    }
}

impl<V: Stored, const N: usize> FusedIterator for IterBack<'_, V, N> {}

/// Looks into a tree without a lock, while its writer may change it.
pub struct Reader<V: Stored, S: Nodes<N> = Slab, const N: usize = FANOUT> {
    root: KArc<Root<N>>,
    values: PhantomData<fn(V, S)>,
}

impl<V: Stored, S: Nodes<N>, const N: usize> Reader<V, S, N> {
    /// The first entry that ends above `addr`, as it was at one moment of the call. Its value may have been taken out
    /// meanwhile; whether it may be looked at is for the owner of the tree to say.
    ///
    /// # Errors
    /// The writer is at work: look under the lock that holds it off.
    #[inline]
    pub fn find(&self, _guard: &S::Guard, addr: u64) -> Result<Option<Entry<NonNull<V::Target>>>, Retry> {
        // SAFETY: while there is a guard, the source frees no node that was in the tree.
        let found = unsafe { self.root.find(addr) }?;
        Ok(found.map(|found| Entry { start: found.start, end: found.end, value: found.value.cast() }))
    }

    /// The entry that `addr` is in; as [`Reader::find`].
    ///
    /// # Errors
    /// As [`Reader::find`].
    #[inline]
    pub fn lookup(&self, guard: &S::Guard, addr: u64) -> Result<Option<Entry<NonNull<V::Target>>>, Retry> {
        Ok(self.find(guard, addr)?.filter(|entry| entry.start <= addr))
    }
}

impl<V: Stored, S: Nodes<N>, const N: usize> Clone for Reader<V, S, N> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), values: PhantomData }
    }
}

impl<V: Stored, S: Nodes<N>, const N: usize> fmt::Debug for Reader<V, S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}
