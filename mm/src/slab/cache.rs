//! [`Cache`]: the objects of one type, for a `static`.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rux_machine::IrqGuard;

use super::KBox;
use super::kmalloc::check_free;
use super::kmem::{KmemCache, Shape};
use super::state::{SheafOffset, sheaf};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::inject;
use crate::memory::memory;

/// A cache of objects of one type (Linux: `KMEM_CACHE`). For a `static`; it sets itself up when first
/// used, on every machine of the process by itself.
#[derive(Debug)]
pub struct Cache<T> {
    name: &'static str,
    reclaimable: bool,
    /// The [`SheafOffset`], once it has one.
    offset: AtomicUsize,
    objects: PhantomData<fn(T) -> T>,
}

impl<T> Cache<T> {
    /// A cache that `/proc/slabinfo` shows as `name`.
    pub const fn new(name: &'static str) -> Self {
        const { assert!(size_of::<T>() <= 256 << 10, "an object that large comes from pages") };
        Self {
            name,
            reclaimable: false,
            offset: AtomicUsize::new(SheafOffset::NONE.bytes()),
            objects: PhantomData,
        }
    }

    /// The same, its objects accounted as such that a shrinker can free (Linux:
    /// `SLAB_RECLAIM_ACCOUNT`).
    pub const fn reclaimable(self) -> Self {
        Self { reclaimable: true, ..self }
    }

    /// The name in `/proc/slabinfo`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Puts `value` into an object of the cache. The box gives it back to this cache.
    ///
    /// # Errors
    /// No memory; `value` is dropped.
    #[inline]
    pub fn alloc(&'static self, value: T, gfp: Gfp) -> Result<KBox<T>, AllocError> {
        let object = self.alloc_raw(gfp)?;
        // SAFETY: a new object for a `T`, which nobody else knows; filled before it is a box.
        unsafe {
            object.write(value);
            Ok(KBox::from_raw(object.as_ptr()))
        }
    }

    /// An object with nothing in it, for who builds an owner of its own. `ZERO` in `gfp` is honoured.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn alloc_raw(&'static self, gfp: Gfp) -> Result<NonNull<T>, AllocError> {
        if cfg!(debug_assertions) && inject::due(gfp) {
            return Err(AllocError);
        }
        let object = {
            let irqs = IrqGuard::new();
            sheaf(&irqs, self.offset()).pop()
        };
        let object = match object {
            Some(object) => object.cast(),
            None => self.alloc_slow(gfp)?,
        };
        if gfp.contains(Gfp::ZERO) {
            // SAFETY: a new object of that size.
            unsafe { object.write_bytes(0, 1) };
        }
        Ok(object)
    }

    /// Gives an object back, whose value was dropped or moved out.
    ///
    /// # Safety
    /// It comes from this cache, and nobody uses it any more.
    #[inline]
    pub unsafe fn free_raw(&'static self, object: NonNull<T>) {
        if cfg!(debug_assertions)
            && let Ok(cache) = self.cache(Gfp::NOWAIT)
        {
            check_free(cache, object.cast());
        }
        let pushed = {
            let irqs = IrqGuard::new();
            sheaf(&irqs, self.offset()).push(object.cast())
        };
        if !pushed {
            self.free_slow(object);
        }
    }

    #[inline(always)]
    fn offset(&self) -> SheafOffset {
        SheafOffset::from_bytes(self.offset.load(Relaxed))
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&'static self, gfp: Gfp) -> Result<NonNull<T>, AllocError> {
        Ok(self.cache(gfp)?.alloc_slow(gfp)?.cast())
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&'static self, object: NonNull<T>) {
        // The cache is there, as the object came from it: this allocates nothing.
        if let Ok(cache) = self.cache(Gfp::NOWAIT) {
            cache.free_slow(object.cast());
        }
    }

    fn cache(&'static self, gfp: Gfp) -> Result<&'static KmemCache, AllocError> {
        let shape = Shape {
            name: self.name,
            size: size_of::<T>(),
            align: align_of::<T>(),
            reclaimable: self.reclaimable,
        };
        memory().slab.register(shape, &self.offset, gfp)
    }
}
