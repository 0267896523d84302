//! Many objects at once (Linux: `kmem_cache_alloc_bulk`, `kmem_cache_free_bulk`): what the hart has ready,
//! and the rest straight from the slabs and to them.

use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};

use rux_machine::IrqGuard;

use super::checks::{check_free, note_used};
use super::kmem::{BATCH_MOST, KmemCache};
use super::state::sheaf;
use crate::error::AllocError;
use crate::gfp::Gfp;

impl KmemCache {
    /// Fills `out`, or nothing of it: from this hart's sheaf, and from the slabs.
    pub(super) fn alloc_bulk(
        &'static self,
        gfp: Gfp,
        size: usize,
        out: &mut [MaybeUninit<NonNull<u8>>],
    ) -> Result<(), AllocError> {
        let mut done = 0;
        if !self.is_watched() {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            while done < out.len()
                && let Some(object) = sheaf.pop()
            {
                out[done].write(object);
                done += 1;
            }
        }
        let mut batch = [null_mut(); BATCH_MOST];
        while done < out.len() {
            let most = batch.len().min(out.len() - done);
            let got = if self.is_watched() {
                self.alloc_watched(gfp, size).map(|object| {
                    batch[0] = object.as_ptr();
                    1
                })
            } else {
                self.take_or_grow(gfp, &mut batch[..most])
            };
            let Ok(got) = got else {
                // SAFETY: these were filled.
                let filled = out[..done].iter().map(|object| unsafe { object.assume_init() });
                filled.for_each(|object| self.free_one(object));
                return Err(AllocError);
            };
            for object in batch[..got].iter().copied().filter_map(NonNull::new) {
                out[done].write(object);
                done += 1;
            }
        }
        for object in out {
            // SAFETY: all are filled.
            note_used(|| Some(self), unsafe { object.assume_init() }, self.geometry().size);
        }
        Ok(())
    }

    /// Takes many objects back.
    pub(super) fn free_bulk(&'static self, objects: &[NonNull<u8>]) {
        let mut left = objects;
        if self.is_watched() {
            return left.iter().for_each(|object| self.free_watched(*object));
        }
        left.iter().for_each(|object| check_free(self, *object));
        {
            let irqs = IrqGuard::new();
            let sheaf = sheaf(&irqs, self.offset);
            while let [object, rest @ ..] = left
                && sheaf.push(*object)
            {
                left = rest;
            }
        }
        let mut batch = [null_mut(); BATCH_MOST];
        for chunk in left.chunks(BATCH_MOST) {
            batch.iter_mut().zip(chunk).for_each(|(to, from)| *to = from.as_ptr());
            self.give(&batch[..chunk.len()]);
        }
    }

    fn free_one(&'static self, object: NonNull<u8>) {
        if self.is_watched() { self.free_watched(object) } else { self.give(&[object.as_ptr()]) }
    }
}
