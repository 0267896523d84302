//! What must always hold, looked at node by node (for tests).

use core::ptr;

use super::node::{FREE, Node, Slot};
use super::root::Root;

/// Returns how many nodes the tree has.
///
/// # Panics
/// When something does not hold.
pub(super) fn validate<const N: usize>(root: &Root<N>, len: usize) -> usize {
    let mut walk = Walk { floor: 0, entries: 0, nodes: 0, last: None };
    if let Some(top) = root.top() {
        assert!(top.len() > 0 && (top.level() == 0 || top.len() > 1), "a top that is not needed");
        walk.look(top, true);
    }
    assert!(walk.last.is_none_or(|leaf| leaf.next_ptr().is_null()), "something follows the last leaf");
    assert_eq!(walk.entries, len, "the length");
    walk.nodes
}

struct Walk<'t, const N: usize> {
    /// Where the last entry so far ends.
    floor: u64,
    entries: usize,
    nodes: usize,
    last: Option<&'t Node<N>>,
}

impl<'t, const N: usize> Walk<'t, N> {
    /// Returns the largest gap. `is_last`: nothing in the tree is behind the node.
    fn look(&mut self, node: &'t Node<N>, is_last: bool) -> u64 {
        self.nodes += 1;
        let len = node.len();
        for at in len..N {
            let empty = Slot { hi: FREE, lo: 0, ptr: ptr::null_mut() };
            assert_eq!(node.get(at), empty, "a slot behind the last");
        }
        let mut largest = 0;
        if node.level() == 0 {
            assert!(len >= 2 || len == 1 && is_last, "a leaf of {len}");
            assert!(self.last.is_none_or(|last| ptr::eq(last.next_ptr(), node)), "the links between leaves");
            self.last = Some(node);
            for at in 0..len {
                let Slot { hi, lo, ptr } = node.get(at);
                assert!(self.floor <= lo && lo < hi && hi < FREE && !ptr.is_null(), "{lo:#x}..{hi:#x}");
                largest = largest.max(lo - self.floor);
                self.floor = hi;
            }
            self.entries += len;
            return largest;
        }
        assert!(len >= 2, "a node of {len} on level {}", node.level());
        for at in 0..len {
            let is_last = is_last && at == len - 1;
            let child = node.child(at).expect("a child");
            assert_eq!(child.level() + 1, node.level(), "the levels");
            let gap = self.look(child, is_last);
            assert_eq!(node.lo(at), gap, "the largest gap of a child on level {}", child.level());
            assert_eq!(node.hi(at), if is_last { FREE } else { self.floor }, "where a child ends");
            largest = largest.max(gap);
        }
        largest
    }
}
