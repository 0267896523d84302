//! The range tree's readers without a lock under loom, which tries all interleavings that the memory model allows:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p rux-mm --test loom_maple --release --target-dir target/loom
//! ```
//!
//! The files under test are the very ones that the kernel compiles, with nodes of four slots; only what they stand on
//! is loom's.

#![cfg(loom)]
#![allow(dead_code, unreachable_pub)]

use core::ptr::{NonNull, without_provenance_mut};

use loom::sync::Arc;
use loom::thread;

#[path = "../src/maple/balance.rs"]
mod balance;
#[path = "../src/maple/node.rs"]
mod node;
#[path = "../src/maple/path.rs"]
mod path;
#[path = "../src/maple/pool.rs"]
mod pool;
#[path = "../src/maple/raw.rs"]
mod raw;
#[path = "../src/maple/root.rs"]
mod root;
#[path = "../src/sync/seq.rs"]
mod seq;
#[path = "../src/maple/validate.rs"]
mod validate;

mod shim {
    pub(super) use super::seq::SeqCount;
    pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    pub(super) fn relax() {
        loom::thread::yield_now();
    }
}

use shim::{AtomicU32, Ordering, fence};

type Node = node::Node<4>;
type Tree = raw::RawTree<Arc<root::Root<4>>, 4>;

/// Readers say when they are in, and what is retired while none is, is poisoned at once: whoever comes later must not
/// find it any more. What is retired while one is stays as it is.
struct Grace {
    readers: Vec<AtomicU32>,
}

impl Grace {
    fn new(readers: usize) -> Arc<Self> {
        Arc::new(Self { readers: (0..readers).map(|_| AtomicU32::new(0)).collect() })
    }

    fn enter(&self, reader: usize) {
        self.readers[reader].store(1, Ordering::Relaxed);
        // Pairs with that in `retire`: either the writer sees the reader, or the reader what the writer did.
        fence(Ordering::SeqCst);
    }

    fn leave(&self, reader: usize) {
        self.readers[reader].store(0, Ordering::Release);
    }
}

impl raw::Retire<4> for Arc<Grace> {
    unsafe fn retire(&self, node: NonNull<Node>) {
        fence(Ordering::SeqCst);
        if self.readers.iter().all(|reader| reader.load(Ordering::Acquire) == 0) {
            // SAFETY: nodes are leaked.
            unsafe { node.as_ref() }.poison();
        }
    }
}

/// What a reader finds at `addr`; none where the writer was in the way.
fn find(root: &root::Root<4>, grace: &Grace, reader: usize, addr: u64) -> Option<Option<(u64, u64, usize)>> {
    grace.enter(reader);
    // SAFETY: nodes are not poisoned while the reader is in.
    let found = unsafe { root.find(addr) }.ok();
    grace.leave(reader);
    found.map(|found| found.map(|found| (found.start, found.end, found.value.addr().get())))
}

/// The entry that is put in for a number: three of four addresses.
fn entry(number: u64) -> (u64, u64, usize) {
    (number * 4, number * 4 + 3, number as usize + 1)
}

fn insert(tree: &mut Tree, number: u64) {
    let (start, end, value) = entry(number);
    let value = NonNull::new(without_provenance_mut(value)).unwrap();
    tree.insert(start, end, value).unwrap();
}

fn tree_of(numbers: impl IntoIterator<Item = u64>) -> Tree {
    let mut tree = Tree::new(Arc::new(root::Root::new()));
    // As many as any of the models needs.
    for _ in 0..8 {
        // SAFETY: leaked, so that it is there also when it was retired.
        unsafe { tree.pool().put(NonNull::from(Box::leak(Box::<Node>::default()))) };
    }
    numbers.into_iter().for_each(|number| insert(&mut tree, number));
    tree
}

/// Runs `change` on a tree of the entries `before`, while readers look for the entries `steady`, which are always
/// there.
fn model(
    before: &'static [u64],
    steady: &'static [u64],
    change: fn(&mut Tree, &Arc<Grace>),
    entries_after: usize,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 50_000;
    builder.check(move || {
        let mut tree = tree_of(before.iter().copied());
        let grace = Grace::new(steady.len());
        let threads: Vec<_> = steady
            .iter()
            .enumerate()
            .map(|(reader, &number)| {
                let (root, grace) = (tree.base().clone(), grace.clone());
                thread::spawn(move || {
                    if let Some(found) = find(&root, &grace, reader, number * 4) {
                        assert_eq!(found, Some(entry(number)));
                    }
                })
            })
            .collect();
        change(&mut tree, &grace);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(tree.len(), entries_after);
        validate::validate(tree.root(), tree.len());
    });
}

#[test]
fn the_first_entry() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let mut tree = tree_of([]);
        let grace = Grace::new(1);
        let (root, readers) = (tree.base().clone(), grace.clone());
        let reader = thread::spawn(move || {
            if let Some(Some(found)) = find(&root, &readers, 0, 0) {
                assert_eq!(found, entry(1));
            }
        });
        insert(&mut tree, 1);
        reader.join().unwrap();
    });
}

#[test]
fn an_insertion_shifts_what_is_behind() {
    model(&[1, 3, 4], &[4], |tree, _| insert(tree, 2), 4);
}

#[test]
fn a_leaf_is_split_and_the_tree_grows() {
    model(&[1, 2, 4, 5], &[5], |tree, _| insert(tree, 3), 5);
}

#[test]
fn a_leaf_is_split_under_a_top() {
    model(&[1, 2, 4, 5, 6, 7], &[5], |tree, _| insert(tree, 3), 7);
}

#[test]
fn a_removal_shifts_what_is_behind() {
    model(&[1, 2, 3], &[3], |tree, grace| assert!(tree.remove(8, grace).is_some()), 2);
}

#[test]
fn leaves_are_merged_and_the_tree_shrinks() {
    // Two leaves, of four and one: one and two are gone when the readers come.
    let shrink = |tree: &mut Tree, grace: &Arc<Grace>| {
        tree.remove(4, grace).unwrap();
        tree.remove(8, grace).unwrap();
    };
    model(&[1, 2, 3, 4, 5], &[4], shrink, 3);
}

#[test]
fn what_was_retired_before_a_reader_came_is_not_found() {
    // The merge retires two nodes, and the next insertion takes others.
    let shrink = |tree: &mut Tree, grace: &Arc<Grace>| {
        tree.remove(20, grace).unwrap();
        insert(tree, 6);
    };
    model(&[1, 2, 3, 4, 5], &[2], shrink, 5);
}

#[test]
fn leaves_are_evened_out() {
    model(&[1, 2, 3, 4, 5, 6, 7], &[3], |tree, grace| tree.remove_range(20, 28, grace, |_| ()), 5);
}

#[test]
fn an_entry_is_resized() {
    let resize = |tree: &mut Tree, _: &Arc<Grace>| {
        assert!(tree.resize(8, 8, 10));
        assert!(tree.resize(8, 8, 11));
    };
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let mut tree = tree_of([1, 2, 3]);
        let grace = Grace::new(1);
        let (root, readers) = (tree.base().clone(), grace.clone());
        let reader = thread::spawn(move || {
            if let Some(found) = find(&root, &readers, 0, 8) {
                assert!(found == Some((8, 11, 3)) || found == Some((8, 10, 3)), "{found:?}");
            }
        });
        resize(&mut tree, &grace);
        reader.join().unwrap();
    });
}

/// The node that a split takes was freed by somebody else, and all its pointers are to nowhere still: it is made anew
/// while the readers look on.
#[test]
fn what_was_in_a_node_before_is_not_found() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 50_000;
    builder.check(|| {
        // A top of four full leaves: an insertion splits a leaf and the top.
        let mut tree = tree_of((1..=7).map(|number| number * 2).chain([16, 18, 20, 22, 24, 26, 28, 30, 32]));
        assert!(tree.root().top().is_some_and(|top| top.len() == 4 && top.level() == 1));
        while tree.pool().take().is_some() {}
        let old: Vec<&'static Node> = (0..3).map(|_| &*Box::leak(Box::<Node>::default())).collect();
        old.iter().for_each(|node| node.poison());
        let grace = Grace::new(1);
        let (root, readers) = (tree.base().clone(), grace.clone());
        let reader = thread::spawn(move || {
            if let Some(found) = find(&root, &readers, 0, 32 * 4) {
                assert_eq!(found, Some(entry(32)));
            }
        });
        for node in old {
            node.cure();
            // SAFETY: leaked, and in no tree.
            unsafe { tree.pool().put(NonNull::from(node)) };
        }
        insert(&mut tree, 3);
        assert!(tree.root().top().is_some_and(|top| top.level() == 2));
        reader.join().unwrap();
        validate::validate(tree.root(), tree.len());
    });
}

#[test]
fn two_readers() {
    model(&[1, 2, 3, 4, 5], &[2, 5], |tree, grace| assert!(tree.remove(12, grace).is_some()), 4);
}

#[test]
fn all_is_cleared() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let mut tree = tree_of([1, 2, 3, 4, 5]);
        let grace = Grace::new(1);
        let (root, readers) = (tree.base().clone(), grace.clone());
        let reader = thread::spawn(move || {
            if let Some(Some(found)) = find(&root, &readers, 0, 12) {
                assert_eq!(found, entry(3));
            }
        });
        tree.clear(&grace, |_| ());
        reader.join().unwrap();
    });
}
