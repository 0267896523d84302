//! Marks: a slot has one if any entry in it or below has (Linux: `xas_set_mark`, `xas_clear_mark`). An entry of several
//! slots has its marks in the first.

use super::node::{Mark, Node};
use super::store::Writer;

impl<const N: usize> Writer<'_, N> {
    /// Gives the entry of an index a mark; says whether there is one.
    pub(super) fn set_mark(&mut self, index: u64, mark: Mark) -> bool {
        let Some((place, mut at, _)) = self.locate(index) else { return false };
        let mut place = place;
        while let Some(node) = place {
            if node.is_marked(at, mark) {
                // So are those above.
                return true;
            }
            node.mark(at, mark, true);
            let above = node.parent();
            (place, at) = (above.map(|(parent, _)| parent), above.map_or(0, |(_, at)| at));
        }
        self.root.mark(mark, true);
        true
    }

    /// Takes a mark away from the entry of an index; says whether there is an entry.
    pub(super) fn clear_mark(&mut self, index: u64, mark: Mark) -> bool {
        let Some((node, at, _)) = self.locate(index) else { return false };
        match node {
            Some(node) => self.lower(node, at, mark),
            None => self.root.mark(mark, false),
        }
        true
    }

    /// Whether the entry of an index has a mark.
    pub(super) fn has_mark(&self, index: u64, mark: Mark) -> bool {
        match self.locate(index) {
            Some((Some(node), at, _)) => node.is_marked(at, mark),
            Some((None, ..)) => self.root.is_marked(mark),
            None => false,
        }
    }

    /// Takes all marks away from a slot, and from those above that have none left below.
    #[inline]
    pub(super) fn unmark(&self, node: &Node<N>, at: usize) {
        for mark in Mark::ALL {
            self.lower(node, at, mark);
        }
    }

    #[inline]
    fn lower(&self, mut node: &Node<N>, mut at: usize, mark: Mark) {
        while node.is_marked(at, mark) {
            node.mark(at, mark, false);
            if node.marks(mark) != 0 {
                return;
            }
            match node.parent() {
                Some(above) => (node, at) = above,
                None => return self.root.mark(mark, false),
            }
        }
    }
}
