//! An array of 2^64 places for pointers and numbers, most of them empty: the index of a page cache (Linux:
//! `lib/xarray.c`).
//!
//! A radix tree of [`FANOUT`] slots a node, as high as its highest index needs: with index 0 alone there is no node.
//! Writers take the array's lock. Readers take none: they go down by words that are atomics, under a guard that keeps
//! nodes from being freed, get a reference of what they find if there is one left, and look again whether it is still
//! there (`root`). An entry may stand for an aligned power of two of indices, as a folio of several pages does
//! (`store`). Each has three marks, of which every slot above knows, so that a search for the next marked one passes
//! by all others (`marks`). All else is found from entry to entry, each time from the root by number: nothing is kept
//! across a search, so the lock may be dropped between two (`find`).
//!
//! Memory is had before the lock is taken: a change says how many nodes it needs and fails before it begins, the caller
//! gets them ([`Spare`]) and tries again.

mod array;
mod erase;
mod find;
mod item;
mod marks;
mod node;
mod pool;
mod root;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod validate;
mod word;

pub use array::{Found, Locked, StoreError, XArray};
pub use item::{Entry, Item};
pub use node::{Mark, Node};
pub use source::{Nodes, Slab, Spare};
pub use word::Value;

/// Slots of a node: eight lines of 64 bytes.
pub const FANOUT: usize = 64;

/// What the algorithms stand on; `mm/tests/loom_xarray.rs` gives them loom's instead, and models the very same source.
mod shim {
    pub(super) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
}
