//! Taking entries out, and the nodes that nobody needs then (Linux: `xas_delete_node`, `xas_shrink`,
//! `xas_free_nodes`).
//!
//! A node that is taken out may have readers, who come to an end in it: it is empty, or they find that what was there
//! has moved. What is wanted of them: they get no item from it.
//!
//! Models of `mm/tests/loom_xarray.rs` are of this very source.

use core::ptr::NonNull;

use super::node::{Mark, Node};
use super::store::Writer;
use super::word::Word;

/// Who gets nodes that were taken out, while readers without a lock may be in them.
pub(super) trait Retire<const N: usize> {
    /// Frees the node once no reader is in it.
    ///
    /// # Safety
    /// It was in a tree, no reader finds it there any more, and the caller does not touch it again.
    unsafe fn retire(&self, node: NonNull<Node<N>>);
}

impl<const N: usize> Writer<'_, N> {
    /// Takes out the entry of an index, with all its indices and marks.
    pub(super) fn erase(&mut self, index: u64, retire: &impl Retire<N>) -> Option<Word> {
        let (node, at, word) = self.locate(index)?;
        let Some(node) = node else {
            self.root.set(Word::NONE);
            Mark::ALL.into_iter().for_each(|mark| self.root.mark(mark, false));
            return Some(word);
        };
        self.unmark(node, at);
        for slot in at..at + node.span(at) {
            node.set(slot, Word::NONE);
        }
        self.tidy(node, retire);
        Some(word)
    }

    /// Where the entry of an index is: the node and the slot, or the head; and its word.
    #[inline]
    pub(super) fn locate(&self, index: u64) -> Option<(Option<&Node<N>>, usize, Word)> {
        let Some(mut node) = self.root.top() else {
            let word = self.root.word();
            return (index == 0 && !word.is_none()).then_some((None, 0, word));
        };
        if index >> node.shift() >= N as u64 {
            return None;
        }
        loop {
            let at = node.offset(index);
            let word = node.word(at);
            if let Some(below) = word.node() {
                // SAFETY: it is in the tree.
                node = unsafe { below.as_ref() };
                continue;
            }
            let at = word.sibling().unwrap_or(at);
            let word = node.word(at);
            return word.is_entry().then_some((Some(node), at, word));
        }
    }

    /// Takes the node out if it is empty, and then the one above likewise; lowers the tree if the top has nothing but
    /// its first slot.
    fn tidy(&self, mut node: &Node<N>, retire: &impl Retire<N>) {
        while node.count() == 0 {
            let parent = node.parent();
            match parent {
                Some((parent, at)) => parent.set(at, Word::NONE),
                None => self.root.set(Word::NONE),
            }
            // SAFETY: it was taken out just now; its parent is still there.
            unsafe { retire.retire(node.as_ptr()) };
            let Some((parent, _)) = parent else { return };
            node = parent;
        }
        if node.parent().is_none() {
            self.shrink(node, retire);
        }
    }

    fn shrink(&self, mut top: &Node<N>, retire: &impl Retire<N>) {
        loop {
            let word = top.word(0);
            let below = word.node();
            // An entry of more than one index has to stay where it is.
            if top.count() != 1 || word.is_none() || (below.is_none() && top.shift() != 0) {
                return;
            }
            // SAFETY: it is in the tree.
            let below = below.map(|below| unsafe { below.as_ref() });
            if let Some(below) = below {
                below.set_parent(None, 0);
            }
            self.root.set(word);
            // Whoever is in the node would find for ever what was there last.
            top.set(0, Word::MOVED);
            // SAFETY: the root goes by it.
            unsafe { retire.retire(top.as_ptr()) };
            let Some(below) = below else { return };
            top = below;
        }
    }

    /// Gives the entries below a node that was taken out to `old`, and the nodes back. As deep as the tree is high.
    pub(super) fn free_below(
        &self,
        node: NonNull<Node<N>>,
        retire: &impl Retire<N>,
        old: &mut impl FnMut(Word),
    ) {
        {
            // SAFETY: it was in the tree until just now, and is retired below.
            let node = unsafe { node.as_ref() };
            for at in 0..N {
                let word = node.word(at);
                node.set(at, Word::MOVED);
                if let Some(below) = word.node() {
                    self.free_below(below, retire, old);
                } else if word.is_entry() {
                    old(word);
                }
            }
        }
        // SAFETY: nobody finds it any more.
        unsafe { retire.retire(node) };
    }

    /// Takes all nodes out and gives the entries to `old`.
    pub(super) fn clear(&mut self, retire: &impl Retire<N>, mut old: impl FnMut(Word)) {
        let word = self.root.word();
        self.root.set(Word::NONE);
        Mark::ALL.into_iter().for_each(|mark| self.root.mark(mark, false));
        if let Some(top) = word.node() {
            self.free_below(top, retire, &mut old);
        } else if !word.is_none() {
            old(word);
        }
    }
}
