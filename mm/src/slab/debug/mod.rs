//! What a cache watches its objects for, when the command line says so (Linux: `slab_debug=`, the second
//! half of `mm/slub.c`).
//!
//! The harts' sheaves of such a cache are never set up, so that each of its operations comes the slow way
//! and ends here; a cache that is not watched pays nothing. All is done under the lock of the cache's
//! lists, one object at a time; slabs without a free object are on a list, too, so that all are found.
//!
//! A fault is reported with what was overwritten, who has the object and who had it, and the machine goes
//! on: zones and poison are put right, an object that was not as it should be is never used again.

mod check;
mod flags;
mod options;
mod owners;
mod report;
mod slot;
mod track;

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

#[cfg(test)]
pub(super) use check::OBJECTS_MOST;
pub use check::check_objects;
pub(super) use check::check_slab;
pub use flags::DebugFlags;
pub(super) use options::Options;
pub use owners::report_owners;
pub(super) use owners::report_remaining;
pub(super) use slot::record_size;

use super::freelist::{self, Object};
use super::kmem::{KmemCache, Lists, Objects};
use super::pages::{slab_of, slab_order_of, slab_word};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::memory::memory;
use crate::page::{PagePtr, PageType, SlabArm, virt_to_page};
use report::Fault;
use slot::Slot;
use track::Track;

/// How many faults were found on this machine.
pub fn faults() -> usize {
    memory().slab.faults.load(Relaxed)
}

impl KmemCache {
    /// An object of a cache that is watched, for a request of `size` bytes.
    pub(super) fn alloc_watched(&'static self, gfp: Gfp, size: usize) -> Result<NonNull<u8>, AllocError> {
        let watch = self.geometry().debug;
        let track = watch.contains(DebugFlags::STORE_USER).then(Track::new);
        let mut lists = self.lists.lock();
        loop {
            let Some(slab) = lists.partial.first() else {
                drop(lists);
                let slab = self.new_slab(gfp)?;
                lists = self.lists.lock();
                lists.partial.push(slab);
                continue;
            };
            if watch.contains(DebugFlags::CONSISTENCY)
                && let Err(what) = check::chain(self, slab)
            {
                report::chain(self, slab, what);
                self.isolate(&mut lists, slab);
                continue;
            }
            let Some(object) = self.take_one(&mut lists, slab) else { continue };
            let slot = Slot::of(self, slab, object);
            // One that was written to while it was free stays where it is, in use by nobody.
            if check::free_object(self, slab, slot) {
                slot.make_used(size);
                if let Some(track) = track {
                    slot.set_allocated(track);
                }
                if watch.contains(DebugFlags::TRACE) {
                    report::trace(self, slab, slot, "alloc");
                }
                return NonNull::new(slot.object()).ok_or(AllocError);
            }
        }
    }

    fn take_one(&self, lists: &mut Lists, slab: PagePtr) -> Option<Object> {
        let mut taken = None;
        let links = Objects::of(self, slab);
        let after = freelist::take(&slab.arm::<SlabArm>().freelist, &links, 1, |object| taken = Some(object));
        if after.is_full() {
            lists.partial.remove(slab);
            lists.full.push(slab);
        }
        taken
    }

    /// Takes all free objects of a slab out of use, since its chain leads nowhere.
    fn isolate(&self, lists: &mut Lists, slab: PagePtr) {
        let word = slab_word(slab);
        let full = word.with_first(0).with_in_use(word.objects()).with_carved(word.objects());
        slab.arm::<SlabArm>().freelist.store(full.into_bits(), Relaxed);
        lists.partial.remove(slab);
        lists.full.push(slab);
    }

    /// Takes an object of a cache that is watched back.
    pub(super) fn free_watched(&'static self, pointer: NonNull<u8>) {
        let watch = self.geometry().debug;
        if watch.contains(DebugFlags::CONSISTENCY) && !is_slab_of(self, virt_to_page(pointer.as_ptr())) {
            return report::stranger(self, pointer);
        }
        let track = watch.contains(DebugFlags::STORE_USER).then(Track::new);
        let mut lists = self.lists.lock();
        let slab = slab_of(pointer.as_ptr());
        let links = Objects::of(self, slab);
        if watch.contains(DebugFlags::CONSISTENCY) {
            if let Err(what) = check::chain(self, slab) {
                report::chain(self, slab, what);
                if !slab_word(slab).is_full() {
                    self.isolate(&mut lists, slab);
                }
                return report::not_freed(self, pointer);
            }
            if !check::is_object(self, slab, pointer) {
                Fault::InvalidPointer(pointer.as_ptr()).report(self, slab, None);
                return report::not_freed(self, pointer);
            }
            if check::is_free(self, slab, links.of_pointer(pointer.as_ptr())) {
                let slot = Slot::of(self, slab, links.of_pointer(pointer.as_ptr()));
                Fault::AlreadyFree.report(self, slab, Some(slot));
                return report::not_freed(self, pointer);
            }
        }
        let object = links.of_pointer(pointer.as_ptr());
        let slot = Slot::of(self, slab, object);
        if !check::used_object(self, slab, slot) {
            return report::not_freed(self, pointer);
        }
        if watch.contains(DebugFlags::TRACE) {
            report::trace(self, slab, slot, "free");
        }
        if let Some(track) = track {
            slot.set_freed(track);
        }
        slot.make_free();
        // The lock is held already, which is what it is for.
        let pushed = freelist::push(&slab.arm::<SlabArm>().freelist, &links, (object, object, 1), || ());
        if pushed.before.is_full() {
            lists.full.remove(slab);
            lists.partial.push(slab);
        }
        if pushed.after.is_empty() && self.keeps_enough(&lists.partial) {
            lists.partial.remove(slab);
            drop(lists);
            self.free_slab(slab);
        }
    }

    /// Writes zones, poison and records all over a new slab.
    pub(super) fn prepare_watched(&'static self, slab: PagePtr) {
        let geometry = self.geometry();
        let bytes = slab_order_of(slab).bytes();
        if geometry.debug.contains(DebugFlags::POISON) {
            // SAFETY: a new slab's memory, which nobody else knows.
            unsafe { slab.pfn().as_ptr().write_bytes(slot::PADDING, bytes) };
        }
        for index in 0..slab_word(slab).objects() {
            let slot = Slot::of(self, slab, freelist::Links::nth(&Objects::of(self, slab), index));
            slot.clear_record();
            slot.make_free();
        }
    }
}

/// Whether the page is of a slab of that cache.
fn is_slab_of(cache: &KmemCache, slab: PagePtr) -> bool {
    slab.page_type() == Some(PageType::Slab)
        && slab.arm::<SlabArm>().cache.load(Relaxed) == core::ptr::from_ref(cache).addr()
}
