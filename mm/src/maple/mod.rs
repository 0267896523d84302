//! Ranges of addresses with a value each, in order: the store of an address space's mappings (Linux:
//! `lib/maple_tree.c`).
//!
//! A B+ tree of [`FANOUT`] slots a node. All entries are in the leaves, which are linked; a node above knows of each
//! child where its last entry ends, and its largest gap. There is one writer at a time, who has the tree exclusively.
//! Readers are of two kinds: those who hold the lock that holds the writer off borrow the [`Tree`]; those without any
//! lock go by a [`Reader`], and find what was there at one moment, or that they have to take the lock ([`Retry`]).
//!
//! Changes are made in place, under one sequence count for the whole tree, which readers without a lock look at
//! before and after. Linux copies the node that it changes instead, so that its readers see the old one or the new
//! one. Here writers are serialised by `mmap_lock` in any case, a change in place costs a third of a copy, and
//! neither a fault nor anyone else has to look at more than one entry of one moment. A reader that meets a change,
//! which is some hundred instructions, is rare, and does what it would have done without this room: it takes the
//! lock. It never waits for the writer, so the writer may be pre-empted.
//!
//! What a reader may touch meanwhile: every word is an atomic; pointers are to nodes of the level below, or null; nodes
//! that were taken out are retired ([`Nodes::retire`]), that is, freed when no reader is left who could have found
//! them. So whatever mixture of old and new it reads, it reads nodes, and comes to an end; the count tells it that it
//! was none.
//!
//! Memory is reserved before ([`Tree::reserve`]): a change fails before it begins, or not at all. What was reserved
//! stays with the tree for the next change: one node more than it has levels.

mod balance;
mod gap;
mod iter;
mod node;
mod path;
mod pool;
mod raw;
mod root;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod validate;

pub use node::Node;
pub use root::Retry;
pub use source::{Nodes, Slab};
pub use tree::{Entry, InsertError, Iter, IterBack, Reader, Stored, Tree};

/// Slots of a node: with three words each, a node is twelve lines of 64 bytes and two words.
pub const FANOUT: usize = 32;

/// What the algorithms stand on; `mm/tests/loom_maple.rs` gives them loom's instead, and models the very same source.
mod shim {
    pub(super) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    pub(super) use crate::sync::SeqCount;
}
