//! What every debug build checks of every cache, at little cost: that what is freed is an object, of that
//! cache, and in use. `slab_debug=` finds more ([`super::debug`]).
//!
//! A free object says so itself, by a sign that goes with its address, behind where it names the next
//! free one. Only if an object that is freed has the sign is it looked for among those that are free, so
//! that a value that looks like the sign does no harm.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::freelist::Links;
use super::geometry::UNIT;
use super::info::harts;
use super::kmem::{KmemCache, Objects};
use super::pages::{slab_of, slab_word};
use super::state::sheaf_of;
use crate::page::{PageType, SlabArm};

const SIGN: usize = 0x7b1e_f3ee_0b1e_c7a5;

/// Where an object of that many bytes has its sign. Miri takes a look at what nobody wrote for a fault, so
/// with it no object has one.
fn sign_of(object: NonNull<u8>, bytes: usize) -> Option<*mut usize> {
    (bytes >= 2 * UNIT && !cfg!(miri)).then(|| object.as_ptr().wrapping_add(UNIT).cast())
}

/// Notes that an object with room for `bytes` is in use from now on. Nothing in release builds.
#[inline(always)]
pub(super) fn note_used(
    cache: impl FnOnce() -> Option<&'static KmemCache>,
    object: NonNull<u8>,
    bytes: usize,
) {
    if cfg!(debug_assertions)
        && cache().is_some_and(|cache| !cache.is_watched())
        && let Some(sign) = sign_of(object, bytes)
    {
        // SAFETY: within a new object; aligned, as the object is.
        unsafe { sign.write_volatile(0) };
    }
}

/// Checks that an object may be freed, and notes that it is. Nothing in release builds.
///
/// # Panics
/// It is no object of that cache, or free.
#[inline(always)]
#[track_caller]
pub(super) fn check_free(cache: &'static KmemCache, object: NonNull<u8>) {
    if cfg!(debug_assertions) && !cache.is_watched() {
        check(cache, object);
    }
}

#[track_caller]
fn check(cache: &'static KmemCache, object: NonNull<u8>) {
    let slab = slab_of(object.as_ptr());
    let name = cache.shape.name;
    assert!(slab.page_type() == Some(PageType::Slab), "{name}: {object:p} is no object: {slab:?}");
    let owner = slab.arm::<SlabArm>().cache.load(Relaxed);
    assert_eq!(owner, core::ptr::from_ref(cache).addr(), "{name}: {object:p} is another cache's");
    let geometry = cache.geometry();
    let offset = object.as_ptr().addr() - slab.pfn().as_ptr().addr();
    assert_eq!(offset % geometry.stride, 0, "{name}: {object:p} is within an object");
    let Some(sign) = sign_of(object, geometry.size) else {
        return assert!(!is_kept(cache, object), "{name}: double free of {object:p}");
    };
    let signed = object.addr().get() ^ SIGN;
    // SAFETY: within the object, which is aligned; whatever its bytes are.
    if unsafe { sign.read_volatile() } == signed {
        assert!(!is_kept(cache, object) && !is_on_chain(cache, object), "{name}: double free of {object:p}");
    }
    // SAFETY: as above; the object is the cache's from here on.
    unsafe { sign.write_volatile(signed) };
}

/// Whether a hart has it ready.
fn is_kept(cache: &'static KmemCache, object: NonNull<u8>) -> bool {
    let mut kept = harts().flat_map(|hart| sheaf_of(hart, cache.offset).objects());
    kept.any(|slot| slot.load(Relaxed) == object.as_ptr())
}

/// Whether its slab has it as free.
fn is_on_chain(cache: &'static KmemCache, object: NonNull<u8>) -> bool {
    // Nobody takes objects out meanwhile: what is behind the first stays as it is.
    let _lists = cache.lists.lock();
    let slab = slab_of(object.as_ptr());
    let (word, objects) = (slab_word(slab), Objects::of(cache, slab));
    let mut free = word.first();
    for _ in word.in_use()..word.carved() {
        if free == 0 {
            break;
        }
        if objects.pointer(free) == object.as_ptr() {
            return true;
        }
        free = objects.next(free);
    }
    false
}
