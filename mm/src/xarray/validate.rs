//! The walk over all that looks whether the nodes agree. For tests, and for whoever has the tree locked.

use super::node::{Mark, Node};
use super::root::Root;
use super::word::Word;

/// How many entries, and how many indices that have one. Whoever calls has the lock.
///
/// # Panics
/// If a slot has what does not belong there, a count or a mark is wrong, or a node is not needed.
pub(super) fn validate<const N: usize>(root: &Root<N>) -> (u64, u64) {
    let Some(top) = root.top() else {
        let word = root.word();
        assert!(word.is_none() || word.is_entry(), "the head has {word:?}");
        let any = Mark::ALL.into_iter().any(|mark| root.is_marked(mark));
        assert!(word.is_entry() || !any, "nothing has a mark");
        let count = u64::from(word.is_entry());
        return (count, count);
    };
    assert!(top.parent().is_none(), "the top has a parent");
    assert!(
        top.count() > 1 || top.word(0).is_none() || (top.word(0).is_entry() && top.shift() > 0),
        "the tree is higher than need be"
    );
    for mark in Mark::ALL {
        assert_eq!(root.is_marked(mark), top.marks(mark) != 0, "{mark:?} of the root");
    }
    validate_node(top)
}

fn validate_node<const N: usize>(node: &Node<N>) -> (u64, u64) {
    let shift = node.shift();
    assert!(shift.is_multiple_of(Node::<N>::BITS) && shift < u64::BITS, "shift {shift}");
    assert!(node.count() > 0, "an empty node");
    let (mut entries, mut indices, mut used) = (0, 0, 0);
    let mut at = 0;
    while at < N {
        let word = node.word(at);
        let span = node.span(at);
        let has = |mark| node.is_marked(at, mark);
        assert!(word != Word::MOVED && word.sibling().is_none(), "slot {at} has {word:?}");
        if let Some(below) = word.node::<N>() {
            // SAFETY: it is in the tree, which nobody changes.
            let below = unsafe { below.as_ref() };
            assert_eq!(below.shift() + Node::<N>::BITS, shift, "a level is missing");
            let parent = below.parent().map(|(parent, at)| (parent.as_ptr(), at));
            assert_eq!(parent, Some((node.as_ptr(), at)), "the node below does not know its place");
            for mark in Mark::ALL {
                assert_eq!(has(mark), below.marks(mark) != 0, "{mark:?} of slot {at}");
            }
            let (more_entries, more_indices) = validate_node(below);
            entries += more_entries;
            indices += more_indices;
        } else if word.is_entry() {
            entries += 1;
            indices += (span as u64) << shift;
        } else {
            assert!(!Mark::ALL.into_iter().any(has), "an empty slot {at} has a mark");
        }
        if !word.is_none() {
            used += span;
        }
        assert!(word.is_entry() || span == 1, "slots have nothing in common with {at}");
        assert!(span.is_power_of_two() && at.is_multiple_of(span), "{span} slots from {at}");
        for sibling in at + 1..at + span {
            assert!(!Mark::ALL.into_iter().any(|mark| node.is_marked(sibling, mark)), "a sibling has a mark");
        }
        at += span;
    }
    assert_eq!(node.count(), used, "the count of slots in use");
    (entries, indices)
}
