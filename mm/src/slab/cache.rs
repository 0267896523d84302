//! [`Cache`]: the objects of one type, for a `static`.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rux_machine::IrqGuard;

use super::KBox;
use super::checks::{check_free, note_used};
use super::debug::report_remaining;

use super::kmem::{KmemCache, Shape};
use super::state::{SheafOffset, sheaf};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::inject;
use crate::memory::memory;

/// [`Cache::destroy`] of a cache that has objects in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{count} objects remain")]
pub struct ObjectsRemain {
    /// How many.
    pub count: usize,
}

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

    /// As [`Cache::alloc`] of what `make` returns, which is called only once there is memory for it, so that it is made
    /// where it stays.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn alloc_with(&'static self, gfp: Gfp, make: impl FnOnce() -> T) -> Result<KBox<T>, AllocError> {
        let object = self.alloc_raw(gfp)?;
        // SAFETY: as in `alloc`.
        unsafe {
            object.write(make());
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
        note_used(|| self.known(), object.cast(), size_of::<T>());
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

    /// As many objects as `out` has room for, or none: then `out` is left as it was (Linux:
    /// `kmem_cache_alloc_bulk`). Cheaper than one after the other. `ZERO` in `gfp` is honoured.
    ///
    /// # Errors
    /// No memory for all of them.
    pub fn alloc_bulk(
        &'static self,
        gfp: Gfp,
        out: &mut [MaybeUninit<NonNull<T>>],
    ) -> Result<(), AllocError> {
        if cfg!(debug_assertions) && inject::due(gfp) {
            return Err(AllocError);
        }
        let cache = self.cache(gfp)?;
        // SAFETY: places for pointers, and pointers are what is put there.
        let places = unsafe {
            core::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<MaybeUninit<NonNull<u8>>>(), out.len())
        };
        cache.alloc_bulk(gfp, size_of::<T>(), places)?;
        if gfp.contains(Gfp::ZERO) {
            for place in out {
                // SAFETY: filled just now, with a new object of that size.
                unsafe { place.assume_init().write_bytes(0, 1) };
            }
        }
        Ok(())
    }

    /// Gives all objects back, whose values were dropped or moved out (Linux: `kmem_cache_free_bulk`).
    ///
    /// # Safety
    /// As for [`Cache::free_raw`], for each.
    pub unsafe fn free_bulk(&'static self, objects: &[NonNull<T>]) {
        // The cache is there if an object came from it: this allocates nothing.
        if let (false, Ok(cache)) = (objects.is_empty(), self.cache(Gfp::NOWAIT)) {
            // SAFETY: pointers are pointers.
            let objects =
                unsafe { core::slice::from_raw_parts(objects.as_ptr().cast::<NonNull<u8>>(), objects.len()) };
            cache.free_bulk(objects);
        }
    }

    /// Gives back to the page allocator what no object needs, on all harts; says how many pages (Linux:
    /// `kmem_cache_shrink`). Waits for the other harts, so interrupts are on and no spinlock is held.
    pub fn shrink(&'static self) -> usize {
        match self.known() {
            Some(cache) => cache.drain_all(),
            None => 0,
        }
    }

    /// Ends the cache on this machine: its memory goes, and `/proc/slabinfo` shows it no more, until it is
    /// used again (Linux: `kmem_cache_destroy`). Waits for the other harts.
    ///
    /// # Errors
    /// Objects are in use: the log names them, by owner if owners are stored (`slab_debug=U`), and the
    /// cache stays.
    pub fn destroy(&'static self) -> Result<(), ObjectsRemain> {
        let Some(cache) = self.known() else { return Ok(()) };
        cache.drain_all();
        if cache.slabs.load(Relaxed) == 0 {
            cache.retired.store(true, Relaxed);
            return Ok(());
        }
        let count = cache.in_use();
        report_remaining(cache, count);
        Err(ObjectsRemain { count })
    }

    /// The cache, if this machine used it.
    fn known(&self) -> Option<&'static KmemCache> {
        memory().slab.known(self.offset())
    }

    #[inline(always)]
    fn offset(&self) -> SheafOffset {
        SheafOffset::from_bytes(self.offset.load(Relaxed))
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&'static self, gfp: Gfp) -> Result<NonNull<T>, AllocError> {
        Ok(self.cache(gfp)?.alloc_slow(gfp, size_of::<T>())?.cast())
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
