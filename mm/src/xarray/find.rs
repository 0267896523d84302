//! From entry to entry (Linux: `xas_find`, `xas_find_marked`). Each search begins at the root by a number, so the
//! lock may be dropped between two.

use super::node::{Mark, Node};
use super::store::Writer;
use super::word::Word;

/// Which entries are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// All.
    All,
    /// Those with a mark.
    Marked(Mark),
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Its first index.
    pub(super) index: u64,
    /// log2 of how many indices it has.
    pub(super) order: u32,
    pub(super) word: Word,
}

impl<const N: usize> Writer<'_, N> {
    /// The first wanted entry with an index from `from` to `last`.
    pub(super) fn find(&self, from: u64, last: u64, want: Want) -> Option<Found> {
        let Some(mut node) = self.root.top() else {
            let word = self.root.word();
            let is_wanted = match want {
                Want::All => true,
                Want::Marked(mark) => self.root.is_marked(mark),
            };
            return (from == 0 && !word.is_none() && is_wanted).then_some(Found { index: 0, order: 0, word });
        };
        if from > last || from >> node.shift() >= N as u64 {
            return None;
        }
        // The first index that is looked at.
        let mut index = from;
        let mut at = node.offset(index);
        loop {
            // An entry with `from` in its midst counts, too.
            at = node.word(at).sibling().unwrap_or(at);
            match next_slot(node, at, want) {
                Some(found) => {
                    if found != node.offset(index) {
                        index = node.index_of(index, found);
                    }
                    at = found;
                }
                // On behind the node, on the level above.
                None => {
                    (node, at) = node.parent()?;
                    index = node.index_of(index, at);
                    while at + 1 == N {
                        (node, at) = node.parent()?;
                        index = node.index_of(index, at);
                    }
                    at += 1;
                    index = node.index_of(index, at);
                    continue;
                }
            }
            if index > last {
                return None;
            }
            let word = node.word(at);
            let Some(below) = word.node() else {
                let order = node.shift() + node.span(at).trailing_zeros();
                return Some(Found { index: node.index_of(index, at), order, word });
            };
            // SAFETY: it is in the tree.
            node = unsafe { below.as_ref() };
            at = node.offset(index);
        }
    }
}

/// The first slot from `at` on that is wanted, or has something below that is.
#[inline]
fn next_slot<const N: usize>(node: &Node<N>, at: usize, want: Want) -> Option<usize> {
    match want {
        Want::All => (at..N).find(|&at| {
            let word = node.word(at);
            !word.is_none() && word.sibling().is_none()
        }),
        Want::Marked(mark) => {
            let marks = node.marks(mark) >> at;
            (marks != 0).then(|| at + marks.trailing_zeros() as usize)
        }
    }
}
