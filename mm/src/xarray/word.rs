//! What is in a slot: one word, told by its low three bits, so that a reader knows a node by one comparison (Linux:
//! the comment at the top of `include/linux/xarray.h`; two bits there).
//!
//! | bits | what |
//! |---|---|
//! | all 0 | nothing |
//! | `…000` | an item: a pointer that is a multiple of 8 |
//! | `…xx1` | a [`Value`], shifted up by one |
//! | `…010` | a node |
//! | `…110`, number below 64 | a sibling: which slot of the same node has the entry of this one, too |
//! | `…110`, number 64 | [`Word::MOVED`]: the node was taken out, and what was here is elsewhere |
//!
//! Models of `mm/tests/loom_xarray.rs` are of this very source.

use core::ptr::{NonNull, null_mut, without_provenance_mut};

use super::node::Node;

const TAGS: usize = 7;
const NODE: usize = 2;
const NUMBER: usize = 6;
const NUMBER_SHIFT: u32 = 3;
/// Above all slots.
const MOVED: usize = 64;

const fn number(number: usize) -> *mut () {
    without_provenance_mut(number << NUMBER_SHIFT | NUMBER)
}

/// A number that an index holds in place of an item, of 63 bits: where in swap a page is, or when it was evicted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Value(u64);

impl Value {
    /// `None` if it has more than 63 bits.
    pub const fn new(value: u64) -> Option<Self> {
        if value >> 63 == 0 { Some(Self(value)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The word of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(*mut ());

impl Word {
    pub(super) const NONE: Self = Self(null_mut());
    pub(super) const MOVED: Self = Self(number(MOVED));

    #[inline(always)]
    pub(super) const fn from_raw(raw: *mut ()) -> Self {
        Self(raw)
    }

    #[inline(always)]
    pub(super) const fn into_raw(self) -> *mut () {
        self.0
    }

    /// `item` is a multiple of 8.
    #[inline(always)]
    pub(super) fn of_item(item: NonNull<()>) -> Self {
        debug_assert!(item.addr().get() & TAGS == 0, "an item that is not aligned");
        Self(item.as_ptr())
    }

    #[inline(always)]
    pub(super) fn of_value(value: Value) -> Self {
        Self(without_provenance_mut((value.0 as usize) << 1 | 1))
    }

    #[inline(always)]
    pub(super) fn of_sibling(slot: usize) -> Self {
        Self(number(slot))
    }

    #[inline(always)]
    pub(super) fn of_node<const N: usize>(node: NonNull<Node<N>>) -> Self {
        Self(node.as_ptr().cast::<()>().wrapping_byte_add(NODE))
    }

    #[inline(always)]
    pub(super) fn is_none(self) -> bool {
        self.0.is_null()
    }

    #[inline(always)]
    pub(super) fn item(self) -> Option<NonNull<()>> {
        if self.0.addr() & TAGS == 0 { NonNull::new(self.0) } else { None }
    }

    #[inline(always)]
    pub(super) fn value(self) -> Option<Value> {
        (self.0.addr() & 1 != 0).then(|| Value((self.0.addr() >> 1) as u64))
    }

    /// Whether it is an item or a value.
    #[inline(always)]
    pub(super) fn is_entry(self) -> bool {
        self.item().is_some() || self.value().is_some()
    }

    #[inline(always)]
    pub(super) fn sibling(self) -> Option<usize> {
        let addr = self.0.addr();
        (addr & TAGS == NUMBER && addr >> NUMBER_SHIFT < MOVED).then_some(addr >> NUMBER_SHIFT)
    }

    #[inline(always)]
    pub(super) fn node<const N: usize>(self) -> Option<NonNull<Node<N>>> {
        // SAFETY: such a word was made of a node's pointer, which is not null.
        (self.0.addr() & TAGS == NODE)
            .then(|| unsafe { NonNull::new_unchecked(self.0.wrapping_byte_sub(NODE).cast()) })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_thing() {
        let node = Node::<64>::new();
        let words = [
            Word::NONE,
            Word::MOVED,
            Word::of_item(NonNull::from(&4u64).cast()),
            Word::of_value(Value::new(0).unwrap()),
            Word::of_value(Value::new((1 << 63) - 1).unwrap()),
            Word::of_sibling(0),
            Word::of_sibling(63),
            Word::of_node(NonNull::from(&node)),
        ];
        for word in words {
            let kinds = [
                word.is_none(),
                word == Word::MOVED,
                word.item().is_some(),
                word.value().is_some(),
                word.sibling().is_some(),
                word.node::<64>().is_some(),
            ];
            assert_eq!(kinds.into_iter().filter(|is| *is).count(), 1, "{word:?}");
            assert_eq!(word.is_entry(), word.item().is_some() || word.value().is_some());
        }
        assert_eq!(words[4].value().map(Value::get), Some((1 << 63) - 1));
        assert_eq!(words[6].sibling(), Some(63));
        assert_eq!(words[7].node(), Some(NonNull::from(&node)));
        assert_eq!(Value::new(1 << 63), None);
    }
}
