//! Putting entries in (Linux: `xas_create`, `xas_expand`, `xas_store`).
//!
//! A change looks first whether it may be made and whether there are nodes enough, and is then made as a whole.
//! An entry of order `o` is in the node whose slots stand for `1 << s` indices, `s` being `o` rounded down to a whole
//! number of levels: in one slot, and in the `(1 << (o - s)) - 1` slots after that, siblings of it.
//!
//! Models of `mm/tests/loom_xarray.rs` are of this very source.

use core::ptr::NonNull;

use super::erase::Retire;
use super::node::{Mark, Node};
use super::pool::Pool;
use super::root::Root;
use super::word::Word;

/// Why an entry was not put in; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// There is an entry that would have to go, or one of a higher order.
    Present,
    /// The pool has less than so many nodes.
    Nodes(usize),
}

/// What becomes of entries that are in the range already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// They stay, and nothing is put in.
    Nothing,
    /// They go, if none of them has indices beyond the range.
    Entries,
}

/// Who changes a tree: whoever has its lock.
#[derive(Debug)]
pub(super) struct Writer<'a, const N: usize> {
    pub(super) root: &'a Root<N>,
}

/// The indices that an entry is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    first: u64,
    last: u64,
    /// The shift of the node that has the entry.
    shift: u32,
    /// How many slots it takes there.
    span: usize,
}

impl Range {
    /// The `1 << order` indices, aligned to that, around `index`.
    pub(super) fn new<const N: usize>(index: u64, order: u32) -> Self {
        debug_assert!(order < u64::BITS);
        let mask = (1u64 << order) - 1;
        let rest = order % Node::<N>::BITS;
        Self { first: index & !mask, last: index | mask, shift: order - rest, span: 1 << rest }
    }

    /// The shift of the lowest top node that the range is below.
    fn top<const N: usize>(&self) -> u32 {
        let mut shift = self.shift;
        while self.last >> shift >= N as u64 {
            shift += Node::<N>::BITS;
        }
        shift
    }
}

/// How many levels lie between two shifts.
fn levels<const N: usize>(upper: u32, lower: u32) -> usize {
    ((upper - lower) / Node::<N>::BITS) as usize
}

impl<'a, const N: usize> Writer<'a, N> {
    /// # Safety
    /// Nobody else changes the tree while this lives.
    pub(super) unsafe fn new(root: &'a Root<N>) -> Self {
        Self { root }
    }

    /// Puts an entry in for one index if all nodes are there and it has none; says whether it did. What comes next is
    /// [`Writer::store`].
    #[inline(always)]
    pub(super) fn insert_at_once(&mut self, index: u64, word: Word) -> bool {
        let Some(mut node) = self.root.top() else { return false };
        let mut shift = node.shift();
        if index >> shift >= N as u64 {
            return false;
        }
        while shift > 0 {
            let Some(below) = node.word(Node::<N>::slot_of(shift, index)).node() else { return false };
            // SAFETY: it is in the tree.
            node = unsafe { below.as_ref() };
            shift -= Node::<N>::BITS;
        }
        let at = Node::<N>::slot_of(0, index);
        let is_empty = node.word(at).is_none();
        if is_empty {
            node.fill(at, word);
        }
        is_empty
    }

    /// Puts an entry in for all indices of a range. `old` gets what it replaces, once no reader can get it any more.
    /// The new entry has no marks.
    ///
    /// # Errors
    /// See [`Refused`].
    #[inline(never)]
    pub(super) fn store(
        &mut self,
        range: Range,
        word: Word,
        over: Over,
        pool: &mut Pool<N>,
        retire: &impl Retire<N>,
        mut old: impl FnMut(Word),
    ) -> Result<(), Refused> {
        debug_assert!(word.is_entry());
        let needed = self.look(&range, over)?;
        if needed > pool.len() {
            return Err(Refused::Nodes(needed));
        }
        if range.last == 0 && self.root.top().is_none() {
            let was = self.root.word();
            self.root.set(word);
            Mark::ALL.into_iter().for_each(|mark| self.root.mark(mark, false));
            if !was.is_none() {
                old(was);
            }
            return Ok(());
        }
        // The look said that there are nodes enough.
        let Some(node) = self.make_way(&range, pool) else { return Err(Refused::Nodes(needed)) };
        let from = node.offset(range.first);
        for at in from..from + range.span {
            let was = node.word(at);
            if !was.is_none() {
                self.unmark(node, at);
            }
            node.set(at, if at == from { word } else { Word::of_sibling(from) });
            if let Some(below) = was.node() {
                self.free_below(below, retire, &mut old);
            } else if was.is_entry() {
                old(was);
            }
        }
        Ok(())
    }

    /// How many nodes it takes to put an entry in.
    ///
    /// # Errors
    /// [`Refused::Present`].
    fn look(&self, range: &Range, over: Over) -> Result<usize, Refused> {
        let top = range.top::<N>();
        let word = self.root.word();
        let Some(mut node) = self.root.top() else {
            if word.is_none() {
                let is_head = range.first == 0 && range.last == 0;
                return Ok(if is_head { 0 } else { 1 + levels::<N>(top, range.shift) });
            }
            // The entry of index 0 goes down to a node of its own.
            if range.first == 0 && over == Over::Nothing {
                return Err(Refused::Present);
            }
            let is_head = range.last == 0;
            return Ok(if is_head { 0 } else { 1 + levels::<N>(top, 0) + self.beside(top, range) });
        };
        if top > node.shift() {
            // All that is there will be below the first slot of the new top.
            if range.first == 0 && over == Over::Nothing {
                return Err(Refused::Present);
            }
            return Ok(levels::<N>(top, node.shift()) + self.beside(top, range));
        }
        while node.shift() > range.shift {
            let word = node.word(node.offset(range.first));
            let Some(below) = word.node() else {
                return if word.is_none() {
                    Ok(levels::<N>(node.shift(), range.shift))
                } else {
                    Err(Refused::Present)
                };
            };
            // SAFETY: it is in the tree.
            node = unsafe { below.as_ref() };
        }
        let from = node.offset(range.first);
        match over {
            Over::Nothing if (from..from + range.span).any(|at| !node.word(at).is_none()) => {
                Err(Refused::Present)
            }
            Over::Entries if node.word(from).sibling().is_some() || node.span(from) > range.span => {
                Err(Refused::Present)
            }
            _ => Ok(0),
        }
    }

    /// How many nodes the way down from a new top takes. It is as low as can be, so that the range, unless it is in the
    /// top itself, is not below its first slot, where all is that was there.
    fn beside(&self, top: u32, range: &Range) -> usize {
        levels::<N>(top, range.shift)
    }

    /// The node that the range's slots are in, made if need be, as are those on the way. None if the pool does not
    /// have as many nodes as [`Writer::look`] said.
    fn make_way(&mut self, range: &Range, pool: &mut Pool<N>) -> Option<&'a Node<N>> {
        let top = range.top::<N>();
        let mut node = match self.root.top() {
            Some(node) => node,
            None if self.root.word().is_none() => {
                let node = take(pool)?;
                node.place(top, None, 0);
                self.root.set(Word::of_node(node.as_ptr()));
                node
            }
            None => self.grow(0, pool)?,
        };
        while node.shift() < top {
            node = self.grow(node.shift() + Node::<N>::BITS, pool)?;
        }
        while node.shift() > range.shift {
            let at = node.offset(range.first);
            node = match node.word(at).node() {
                // SAFETY: it is in the tree.
                Some(below) => unsafe { below.as_ref() },
                None => {
                    let below = take(pool)?;
                    below.place(node.shift() - Node::<N>::BITS, Some(node), at);
                    node.set(at, Word::of_node(below.as_ptr()));
                    below
                }
            };
        }
        // SAFETY: nodes are the tree's for longer than the writer is there, unless it takes them out itself.
        Some(unsafe { node.as_ptr().as_ref() })
    }

    /// A new top node, with all that there is below its first slot.
    fn grow(&mut self, shift: u32, pool: &mut Pool<N>) -> Option<&'a Node<N>> {
        let node = take(pool)?;
        node.place(shift, None, 0);
        node.set(0, self.root.word());
        for mark in Mark::ALL {
            node.mark(0, mark, self.root.is_marked(mark));
        }
        if let Some(below) = self.root.top() {
            below.set_parent(Some(node), 0);
        }
        self.root.set(Word::of_node(node.as_ptr()));
        Some(node)
    }
}

/// A node of the pool, as one that is put in a tree at once.
fn take<'a, const N: usize>(pool: &mut Pool<N>) -> Option<&'a Node<N>> {
    // SAFETY: nodes of the pool are valid, and nobody else knows this one.
    pool.take().map(|node: NonNull<Node<N>>| unsafe { node.as_ref() })
}
