//! [`KArc`]: a kernel object that several own, by a reference count (Linux: `refcount_t`, `kref`).

use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, offset_of};
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use super::{Cache, KBox, kfree};
use crate::error::AllocError;
use crate::gfp::Gfp;

/// A count at or above this one sticks: the object is never freed, which is better than freeing it
/// too early (Linux: `REFCOUNT_SATURATED`). Half of the numbers below it are never reached, as no 2^30
/// harts can be between their addition and the look at what it gave.
const SATURATED: u32 = 0xc000_0000;
const LIMIT: u32 = 0x8000_0000;

/// What a [`KArc`] points to. Public only for the type of an [`ArcCache`].
#[repr(C)]
#[derive(Debug)]
pub struct ArcInner<T: ?Sized> {
    refs: AtomicU32,
    value: T,
}

/// A cache of counted objects: `static FILES: ArcCache<File> = ArcCache::new("filp")`.
pub type ArcCache<T> = Cache<ArcInner<T>>;

/// Owns a share of one object in kernel memory.
#[repr(transparent)]
pub struct KArc<T: ?Sized> {
    inner: NonNull<ArcInner<T>>,
    owns: PhantomData<ArcInner<T>>,
}

// SAFETY: shares of an object may be on several threads, and the last one drops it where it is.
unsafe impl<T: ?Sized + Send + Sync> Send for KArc<T> {}
// SAFETY: as above, since a shared reference can be cloned.
unsafe impl<T: ?Sized + Send + Sync> Sync for KArc<T> {}

impl<T> KArc<T> {
    /// Puts `value` into a new object with one owner.
    ///
    /// # Errors
    /// No memory; `value` is dropped.
    #[inline]
    pub fn new(value: T, gfp: Gfp) -> Result<Self, AllocError> {
        Self::new_with(gfp, || value)
    }

    /// As [`KArc::new`], from a cache.
    ///
    /// # Errors
    /// No memory; `value` is dropped.
    #[inline]
    pub fn new_in(cache: &'static ArcCache<T>, value: T, gfp: Gfp) -> Result<Self, AllocError> {
        let object = cache.alloc_raw(gfp)?;
        // SAFETY: a new object of that cache.
        Ok(unsafe { Self::fill(object, || value) })
    }

    /// As [`KArc::new`] of what `make` returns, which is called only once there is memory for it.
    ///
    /// # Errors
    /// No memory.
    #[inline]
    pub fn new_with(gfp: Gfp, make: impl FnOnce() -> T) -> Result<Self, AllocError> {
        let object = KBox::<ArcInner<T>>::new_uninit(gfp)?;
        // SAFETY: the pointer of a box, which is not null.
        let object = unsafe { NonNull::new_unchecked(KBox::into_raw(object).cast()) };
        // SAFETY: a new object.
        Ok(unsafe { Self::fill(object, make) })
    }

    /// Fills a new object. Count and value are written one after the other: put together, they would be moved there.
    ///
    /// # Safety
    /// `object` is the caller's alone, was allocated for what it points to, and is given away here.
    #[inline(always)]
    unsafe fn fill(object: NonNull<ArcInner<T>>, make: impl FnOnce() -> T) -> Self {
        let inner = object.as_ptr();
        // SAFETY: as the caller vouches.
        unsafe {
            (&raw mut (*inner).refs).write(AtomicU32::new(1));
            (&raw mut (*inner).value).write(make());
        }
        Self { inner: object, owns: PhantomData }
    }

    /// The value, if this was the only owner.
    pub fn into_inner(this: Self) -> Option<T> {
        let this = ManuallyDrop::new(this);
        if !this.put() {
            return None;
        }
        // SAFETY: the last owner; the value is moved out, and the rest of the object needs no drop.
        unsafe {
            let value = (&raw const (*this.inner.as_ptr()).value).read();
            kfree(this.inner.cast());
            Some(value)
        }
    }
}

impl<T: ?Sized> KArc<T> {
    #[inline(always)]
    fn refs(&self) -> &AtomicU32 {
        // SAFETY: the object is there as long as a share of it is.
        unsafe { &(*self.inner.as_ptr()).refs }
    }

    /// Where the header of a value is.
    ///
    /// # Safety
    /// `value` comes from [`KArc::into_raw`] and the object is still there, its count perhaps at 0.
    #[inline(always)]
    unsafe fn inner_of(value: *const T) -> NonNull<ArcInner<T>> {
        // SAFETY: the value is there as the caller says, dropped perhaps.
        let align = unsafe { align_of_val(&*(value as *const ManuallyDrop<T>)) };
        let offset = offset_of!(ArcInner<()>, value).next_multiple_of(align);
        // SAFETY: the header is in front of the value, in the same allocation.
        unsafe { NonNull::new_unchecked(value.byte_sub(offset) as *mut ArcInner<T>) }
    }

    /// Where the object is. It stays there while any share of it lives.
    #[inline(always)]
    pub fn as_ptr(this: &Self) -> *const T {
        // SAFETY: the object is there as long as a share of it is.
        unsafe { &raw const (*this.inner.as_ptr()).value }
    }

    /// Lets go of the handle but not of the share, which the pointer stands for from now on.
    #[inline(always)]
    pub fn into_raw(this: Self) -> *const T {
        KArc::as_ptr(&ManuallyDrop::new(this))
    }

    /// The reverse of [`KArc::into_raw`].
    ///
    /// # Safety
    /// `ptr` comes from [`KArc::into_raw`], perhaps cast to a trait object, and the caller gives away the
    /// share that it stands for.
    #[inline(always)]
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: as the caller says.
        Self { inner: unsafe { Self::inner_of(ptr) }, owns: PhantomData }
    }

    /// A share more of an object that the caller knows to be shared (through a raw pointer that
    /// somebody keeps a share for).
    ///
    /// # Safety
    /// `ptr` comes from [`KArc::into_raw`] or [`KArc::as_ptr`], and somebody owns a share throughout.
    pub unsafe fn clone_raw(ptr: *const T) -> Self {
        // SAFETY: as the caller says; the borrowed handle is not dropped.
        let borrowed = ManuallyDrop::new(unsafe { Self::from_raw(ptr) });
        KArc::clone(&borrowed)
    }

    /// A share of an object that may be on its way out, unless it is (Linux:
    /// `refcount_inc_not_zero`).
    ///
    /// # Safety
    /// `ptr` comes from [`KArc::into_raw`] or [`KArc::as_ptr`], and the memory is not given back
    /// meanwhile (a lock under which the last owner unlinks it, or RCU).
    pub unsafe fn try_clone_raw(ptr: *const T) -> Option<Self> {
        // SAFETY: as the caller says.
        let inner = unsafe { Self::inner_of(ptr) };
        // SAFETY: the memory is there, as the caller says.
        let refs = unsafe { &(*inner.as_ptr()).refs };
        refs.try_update(Ordering::Acquire, Ordering::Relaxed, |refs| {
            (refs != 0).then_some(if refs < LIMIT { refs + 1 } else { SATURATED })
        })
        .ok()
        .map(|_| Self { inner, owns: PhantomData })
    }

    /// Whether both are shares of one object.
    #[inline]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.inner.addr() == other.inner.addr()
    }

    /// How many shares there are, at this moment.
    #[inline]
    pub fn strong_count(this: &Self) -> usize {
        this.refs().load(Ordering::Relaxed) as usize
    }

    /// The value, if this is the only share.
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        // Acquire: pairs with the release of those that gave their shares back.
        if this.refs().load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: no other share, so nobody else can come by one.
        Some(unsafe { &mut (*this.inner.as_ptr()).value })
    }

    /// Gives the share back; says whether it was the last.
    #[inline(always)]
    fn put(&self) -> bool {
        match self.refs().fetch_sub(1, Ordering::Release) {
            1 => {
                // Everything that other owners did happens before the object goes.
                fence(Ordering::Acquire);
                true
            }
            2..LIMIT => false,
            _ => {
                self.saturate();
                false
            }
        }
    }

    #[cold]
    fn saturate(&self) {
        if self.refs().swap(SATURATED, Ordering::Relaxed) != SATURATED {
            log::error!("reference count of {:p} out of range; the object leaks", self.inner);
        }
    }

    #[cold]
    fn drop_slow(&mut self) {
        // SAFETY: that was the last share: the value is dropped once, and its memory given back.
        unsafe {
            (&raw mut (*self.inner.as_ptr()).value).drop_in_place();
            kfree(self.inner.cast());
        }
    }
}

/// Turns a `KArc<T>` into a `KArc<dyn Trait>`: `karc_dyn!(KArc::new(value, gfp)? => dyn Trait)`.
#[macro_export]
macro_rules! karc_dyn {
    ($arc:expr => $Trait:ty) => {{
        let raw = $crate::slab::KArc::into_raw($arc);
        // SAFETY: the pointer of a share, unsized by the compiler.
        unsafe { $crate::slab::KArc::from_raw(raw as *const $Trait) }
    }};
}

impl<T: ?Sized> Clone for KArc<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        if self.refs().fetch_add(1, Ordering::Relaxed) >= LIMIT {
            self.saturate();
        }
        Self { inner: self.inner, owns: PhantomData }
    }
}

impl<T: ?Sized> Drop for KArc<T> {
    #[inline]
    fn drop(&mut self) {
        if self.put() {
            self.drop_slow();
        }
    }
}

impl<T: ?Sized> Deref for KArc<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the object is there as long as a share of it is.
        unsafe { &(*self.inner.as_ptr()).value }
    }
}

impl<T: ?Sized> AsRef<T> for KArc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized> Unpin for KArc<T> {}

impl<T: ?Sized + fmt::Debug> fmt::Debug for KArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
