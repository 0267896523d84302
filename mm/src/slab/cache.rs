//! Typed caches and sized allocations.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::KBox;
use crate::error::AllocError;
use crate::gfp::Gfp;

/// A cache of objects of one type, for a `static`. It sets itself up when first used.
#[derive(Debug)]
pub struct Cache<T> {
    name: &'static str,
    objects: PhantomData<fn(T) -> T>,
}

impl<T> Cache<T> {
    /// A cache that `/proc/slabinfo` shows as `name`.
    pub const fn new(name: &'static str) -> Self {
        Self { name, objects: PhantomData }
    }

    /// The name in `/proc/slabinfo`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Puts `value` into an object of the cache. The box gives it back to this cache.
    ///
    /// # Errors
    /// No memory; `value` is dropped.
    pub fn alloc(&'static self, value: T, gfp: Gfp) -> Result<KBox<T>, AllocError> {
        let _ = (value, gfp);
        unimplemented!()
    }
}

/// Allocates memory for `layout`; of size 0 it is a dangling pointer. `ZERO` in `gfp` is honoured.
///
/// # Errors
/// No memory, or more than the page allocator's largest block.
pub fn kmalloc(layout: Layout, gfp: Gfp) -> Result<NonNull<u8>, AllocError> {
    let _ = (layout, gfp);
    unimplemented!()
}

/// Gives memory back.
///
/// # Safety
/// `ptr` comes from [`kmalloc`] with a size above 0 or from a [`Cache`], and nobody uses it any more.
pub unsafe fn kfree(ptr: NonNull<u8>) {
    let _ = ptr;
    unimplemented!()
}

/// How many bytes an allocation of `bytes` really has (Linux: `kmalloc_size_roundup`).
pub fn usable_size(bytes: usize) -> usize {
    bytes
}
