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
mod bulk;
mod cache;
mod checks;
mod debug;
mod freelist;
mod geometry;
mod info;
mod kmalloc;
mod kmem;
mod list;
mod pages;
mod sheaf;
mod shrinker;
mod state;
mod string;
#[cfg(test)]
mod tests;
mod vec;

pub use arc::{ArcCache, ArcInner, KArc};
pub use boxed::KBox;
pub use cache::{Cache, ObjectsRemain};
pub use debug::{DebugFlags, check_objects, faults, report_owners};
pub use info::{CacheInfo, HartCacheInfo, SLABINFO_HEADER, for_each_cache, validate};
pub use kmalloc::{kfree, kmalloc, usable_size};
pub use shrinker::{
    PRIORITY_DEFAULT, Registration, ShrinkControl, Shrinker, reclaim, register_shrinker, shrink_slab,
};
pub(crate) use state::SlabState;
pub use state::{drain, drain_all};
pub use string::KString;
pub use vec::{Drain, IntoIter, KVec};

/// What [`freelist`] and [`sheaf`] stand on; `mm/tests/loom` gives them loom's instead.
mod shim {
    pub(super) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
}
