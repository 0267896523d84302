//! Kernel objects: caches of equal objects, sized allocations, and the boxes that own them
//! (Linux: `mm/slub.c`, `include/linux/slab.h`).
//!
//! There is no global allocator: every object has an owner type from here, and every way to make one
//! takes a [`crate::gfp::Gfp`] and can fail.
//!
//! | type | owns |
//! |---|---|
//! | [`KBox`] | one object, also a slice or a trait object ([`kbox_dyn!`](crate::kbox_dyn)) |
//! | [`KArc`] | a share of one object ([`karc_dyn!`](crate::karc_dyn)) |
//! | [`KVec`], [`KString`] | a growing array, a growing text |
//! | [`Cache`] | the objects of one type: `static TASKS: Cache<Task> = Cache::new("task_struct")` |

mod arc;
mod boxed;
mod cache;
mod string;
mod vec;

pub use arc::{ArcCache, ArcInner, KArc};
pub use boxed::KBox;
pub use cache::{Cache, kfree, kmalloc, usable_size};
pub use string::KString;
pub use vec::{Drain, IntoIter, KVec};
