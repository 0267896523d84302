//! The page index's readers without a lock under loom, which tries all interleavings that the memory model allows. See
//! `loom_maple.rs` for how it is run.
//!
//! The files under test are the very ones that the kernel compiles, with nodes of four slots; only what they stand on
//! is loom's.

#![cfg(loom)]
#![allow(dead_code, unreachable_pub)]

use core::ptr::{NonNull, null_mut};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

#[path = "../src/xarray/erase.rs"]
mod erase;
#[path = "../src/xarray/find.rs"]
mod find;
#[path = "../src/xarray/item.rs"]
mod item;
#[path = "../src/xarray/marks.rs"]
mod marks;
#[path = "../src/xarray/node.rs"]
mod node;
#[path = "../src/xarray/pool.rs"]
mod pool;
#[path = "../src/xarray/root.rs"]
mod root;
#[path = "../src/xarray/store.rs"]
mod store;
#[path = "../src/xarray/validate.rs"]
mod validate;
#[path = "../src/xarray/word.rs"]
mod word;

mod shim {
    pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
}

use item::{Entry, Item};
use loom::sync::atomic::fence;
use shim::{AtomicPtr, AtomicU32, Ordering};
use store::{Over, Range, Writer};

type Node = node::Node<4>;
type Root = root::Root<4>;

/// Counted as a folio is. Whoever is the last to have it may make it another's; loom tells when a reader looks at it
/// meanwhile.
#[repr(align(8))]
struct Thing {
    owners: AtomicU32,
    number: UnsafeCell<u64>,
}

struct Token(NonNull<Thing>);

impl Token {
    fn new(number: u64) -> Self {
        let thing = Thing { owners: AtomicU32::new(1), number: UnsafeCell::new(number) };
        // Leaked, as it may be looked at when it is nobody's.
        Self(NonNull::from(Box::leak(Box::new(thing))))
    }

    fn thing(&self) -> &'static Thing {
        // SAFETY: leaked.
        unsafe { self.0.as_ref() }
    }

    fn number(&self) -> u64 {
        // SAFETY: loom says if somebody writes to it.
        self.thing().number.with(|number| unsafe { *number })
    }

    /// Makes it one for another number, if nobody else has it.
    fn reuse(self, number: u64) -> Option<Self> {
        let thing = self.thing();
        drop(self);
        if thing.owners.load(Ordering::Acquire) != 0 {
            return None;
        }
        // SAFETY: loom says if somebody looks at it.
        thing.number.with_mut(|place| unsafe { *place = number });
        thing.owners.store(1, Ordering::Release);
        Some(Self(NonNull::from(thing)))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert!(self.thing().owners.fetch_sub(1, Ordering::AcqRel) > 0, "nobody's");
    }
}

// SAFETY: things are leaked.
unsafe impl Item for Token {
    type Target = Thing;

    fn into_ptr(self) -> NonNull<Thing> {
        core::mem::ManuallyDrop::new(self).0
    }

    unsafe fn from_ptr(ptr: NonNull<Thing>) -> Self {
        Self(ptr)
    }

    unsafe fn get(ptr: NonNull<Thing>) -> Self {
        // SAFETY: leaked.
        unsafe { ptr.as_ref() }.owners.fetch_add(1, Ordering::Relaxed);
        Self(ptr)
    }

    unsafe fn try_get(ptr: NonNull<Thing>) -> Option<Self> {
        // SAFETY: leaked.
        let owners = unsafe { &ptr.as_ref().owners };
        let more = |owners| (owners > 0).then(|| owners + 1);
        owners.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok().then(|| Self(ptr))
    }
}

/// Readers say when they are in, and what is retired while none is, is poisoned at once: whoever comes later must not
/// find it any more. What is retired while one is stays as it is.
struct Grace {
    readers: Vec<AtomicU32>,
}

impl Grace {
    fn enter(&self, reader: usize) {
        self.readers[reader].store(1, Ordering::Relaxed);
        // Pairs with that in `retire`: either the writer sees the reader, or the reader what the writer did.
        fence(Ordering::SeqCst);
    }

    fn leave(&self, reader: usize) {
        self.readers[reader].store(0, Ordering::Release);
    }
}

impl erase::Retire<4> for Grace {
    unsafe fn retire(&self, node: NonNull<Node>) {
        fence(Ordering::SeqCst);
        if self.readers.iter().all(|reader| reader.load(Ordering::Acquire) == 0) {
            // SAFETY: nodes are leaked.
            unsafe { node.as_ref() }.poison();
        }
    }
}

struct Shared {
    root: Root,
    grace: Grace,
}

/// The one writer.
struct Change<'a> {
    writer: Writer<'a, 4>,
    pool: pool::Pool<4>,
    grace: &'a Grace,
}

impl<'a> Change<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut pool = pool::Pool::new();
        // As many as any of the models needs.
        for _ in 0..10 {
            // SAFETY: leaked, so that it is there also when it was retired.
            unsafe { pool.put(NonNull::from(Box::leak(Box::<Node>::default()))) };
        }
        // SAFETY: the one writer.
        Self { writer: unsafe { Writer::new(&shared.root) }, pool, grace: &shared.grace }
    }

    /// Returns what had to go for it.
    fn put(&mut self, index: u64, order: u32, token: Token) -> Vec<Token> {
        let mut gone = Vec::new();
        let word = Entry::Item(token).into_word();
        let old = |word| gone.push(taken(word));
        let done = self.writer.store(
            Range::new::<4>(index, order),
            word,
            Over::Entries,
            &mut self.pool,
            self.grace,
            old,
        );
        assert_eq!(done, Ok(()));
        gone
    }

    fn take(&mut self, index: u64) -> Token {
        taken(self.writer.erase(index, self.grace).unwrap())
    }
}

fn taken(word: word::Word) -> Token {
    // SAFETY: it was in the tree until now.
    unsafe { Entry::from_word(word) }.and_then(Entry::item).unwrap()
}

/// What a reader finds at an index: `Err` where a change was in the way.
fn find(shared: &Shared, reader: usize, index: u64) -> Result<Option<u64>, ()> {
    shared.grace.enter(reader);
    // SAFETY: nodes are not poisoned while the reader is in.
    let found = unsafe { shared.root.get::<Token>(index) };
    shared.grace.leave(reader);
    found.map(|entry| entry.and_then(Entry::item).map(|token| token.number())).map_err(|_| ())
}

/// What is there before: index, order, and number.
type Start = &'static [(u64, u32, u64)];
/// What a reader looks for, and what it may find there.
type Look = (u64, &'static [Option<u64>]);

fn model(start: Start, looks: &'static [Look], change: fn(&mut Change<'_>)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 50_000;
    builder.check(move || {
        let shared = Arc::new(Shared {
            root: Root::new(AtomicPtr::new(null_mut()), AtomicU32::new(0)),
            grace: Grace { readers: looks.iter().map(|_| AtomicU32::new(0)).collect() },
        });
        let mut writer = Change::new(&shared);
        for &(index, order, number) in start {
            writer.put(index, order, Token::new(number));
        }
        let threads: Vec<_> = looks
            .iter()
            .enumerate()
            .map(|(reader, &(index, may))| {
                let shared = shared.clone();
                thread::spawn(move || {
                    if let Ok(found) = find(&shared, reader, index) {
                        assert!(may.contains(&found), "{found:?} at {index}");
                    }
                })
            })
            .collect();
        change(&mut writer);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        validate::validate(&shared.root);
        // With nobody in the way, each finds one of them for certain.
        for (reader, &(index, may)) in looks.iter().enumerate() {
            assert!(may.contains(&find(&shared, reader, index).unwrap()));
        }
    });
}

#[test]
fn the_first_entry() {
    model(&[], &[(0, &[None, Some(1)])], |tree| drop(tree.put(0, 0, Token::new(1))));
}

#[test]
fn the_tree_grows_over_an_entry_that_stays() {
    model(&[(0, 0, 1)], &[(0, &[Some(1)])], |tree| drop(tree.put(20, 0, Token::new(2))));
}

#[test]
fn nodes_are_made_on_the_way_to_an_entry() {
    let looks: &[Look] = &[(5, &[Some(2)]), (9, &[None, Some(3)])];
    model(&[(0, 0, 1), (5, 0, 2)], looks, |tree| drop(tree.put(9, 0, Token::new(3))));
}

/// What it was becomes another's at once.
#[test]
fn an_entry_is_erased_and_its_item_used_again() {
    let looks: &[Look] = &[(1, &[Some(1), None])];
    model(&[(1, 0, 1), (2, 0, 2)], looks, |tree| {
        let again = tree.take(1).reuse(7);
        again.map(|token| tree.put(3, 0, token));
    });
}

/// The node has no other entry, and what is put there next is in a new one.
#[test]
fn a_node_goes_and_comes_again() {
    let looks: &[Look] = &[(5, &[Some(1), None, Some(2)]), (0, &[Some(0)])];
    model(&[(0, 0, 0), (5, 0, 1), (9, 0, 9)], looks, |tree| {
        drop(tree.take(5));
        tree.put(5, 0, Token::new(2));
    });
}

#[test]
fn the_tree_shrinks_over_an_entry_that_stays() {
    model(&[(0, 0, 1), (5, 0, 2)], &[(0, &[Some(1)])], |tree| drop(tree.take(5)));
}

/// Whoever is in the node that was the top finds what was its last entry there no more.
#[test]
fn the_tree_shrinks_to_its_head_and_the_item_is_used_again() {
    let looks: &[Look] = &[(0, &[Some(1), None])];
    model(&[(0, 0, 1), (2, 0, 2)], looks, |tree| {
        drop(tree.take(2));
        let again = tree.take(0).reuse(7);
        again.map(|token| tree.put(3, 0, token));
    });
}

#[test]
fn what_was_retired_before_a_reader_came_is_not_found() {
    let looks: &[Look] = &[(1, &[Some(1)])];
    model(&[(1, 0, 1), (5, 0, 2), (20, 0, 3)], looks, |tree| {
        drop(tree.take(20));
        drop(tree.take(5));
        tree.put(9, 0, Token::new(4));
    });
}

#[test]
fn an_entry_of_an_order_takes_the_place_of_smaller_ones() {
    let looks: &[Look] = &[(1, &[Some(1), Some(9)])];
    model(&[(0, 0, 0), (1, 0, 1), (5, 0, 5)], looks, |tree| {
        for token in tree.put(0, 1, Token::new(9)) {
            drop(token.reuse(77));
        }
    });
}

#[test]
fn an_entry_of_an_order_takes_the_place_of_a_node() {
    let looks: &[Look] = &[(5, &[Some(5), Some(9)])];
    model(&[(0, 0, 0), (5, 0, 5), (6, 0, 6)], looks, |tree| {
        for token in tree.put(4, 2, Token::new(9)) {
            drop(token.reuse(77));
        }
    });
}

/// What has its first slot afterwards is not what its other slots were of.
#[test]
fn an_entry_of_an_order_goes_and_one_of_its_indices_comes() {
    let looks: &[Look] = &[(3, &[Some(2), None])];
    // The node stays.
    model(&[(0, 0, 0), (1, 0, 1), (2, 1, 2)], looks, |tree| {
        drop(tree.take(3));
        tree.put(2, 0, Token::new(7));
    });
}

#[test]
fn two_readers() {
    let looks: &[Look] = &[(1, &[Some(1), None]), (0, &[Some(0)])];
    model(&[(0, 0, 0), (1, 0, 1)], looks, |tree| drop(tree.take(1)));
}
