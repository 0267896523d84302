//! What hangs on [`Memory`] for the slab allocator: the caches, and where each hart's sheaves are.
//!
//! A cache has a number, the same on every machine of the process; it says where its sheaf is within
//! a hart's sheaves, and its place in the table. Number 0 is no cache's: its sheaves stay idle, so that
//! a cache that has no number yet goes the slow way and gets one.

use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use rux_machine::{IrqGuard, cold};

use super::KBox;
use super::debug::Options;
use super::kmalloc::{CLASSES, kmalloc_caches};
use super::kmem::{KmemCache, Shape};
use super::sheaf::{SHEAF_SIZE, Sheaf};
use super::shrinker::{OwnDeferred, Shrinkers};
use crate::addr::Order;
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::memory::{HartMemory, Memory, memory, this_hart};
use crate::page_alloc::alloc_pages;
use crate::sync::{IrqSpinLock, Rank};

/// The most caches that there can be.
pub(super) const CACHES: usize = 128;

/// Where a cache's sheaf is within a hart's sheaves, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SheafOffset(usize);

impl SheafOffset {
    /// Of a cache that has no number yet.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn of(number: usize) -> Self {
        assert!(number < CACHES);
        Self(number * SHEAF_SIZE)
    }

    pub(super) const fn from_bytes(bytes: usize) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(self) -> usize {
        self.0
    }

    pub(super) const fn number(self) -> usize {
        self.0 / SHEAF_SIZE
    }
}

/// The part of [`Memory`].
#[derive(Debug)]
pub(crate) struct SlabState {
    /// The caches of sized allocations, which have the numbers from 1 on.
    pub(super) kmalloc: [KmemCache; CLASSES],
    /// All other caches by number, once this machine used them.
    caches: [AtomicPtr<KmemCache>; CACHES],
    /// What the command line says is to be watched.
    pub(super) options: Options,
    /// How many faults were found.
    pub(super) faults: AtomicUsize,
    pub(super) shrinkers: IrqSpinLock<Shrinkers>,
    pub(super) own_deferred: OwnDeferred,
}

/// Numbers given so far, to caches of any machine.
static NUMBERS: IrqSpinLock<usize> = IrqSpinLock::new(Rank::SlabCaches, CLASSES + 1);

impl SlabState {
    pub(crate) const fn new() -> Self {
        Self {
            kmalloc: kmalloc_caches(),
            caches: [const { AtomicPtr::new(null_mut()) }; CACHES],
            options: Options::new(),
            faults: AtomicUsize::new(0),
            shrinkers: IrqSpinLock::new(Rank::SlabCaches, Shrinkers::new()),
            own_deferred: OwnDeferred::new(),
        }
    }

    /// All caches that this machine used so far, the newest first; those of sized allocations last.
    pub(super) fn iter(&'static self) -> impl Iterator<Item = &'static KmemCache> {
        let typed = self.caches.iter().rev().filter_map(|cache| {
            // SAFETY: caches stay once they are there.
            unsafe { cache.load(Acquire).as_ref() }
        });
        typed.chain(self.kmalloc.iter().rev())
    }

    /// The cache with that number, if this machine used it.
    pub(super) fn known(&'static self, at: SheafOffset) -> Option<&'static KmemCache> {
        // SAFETY: caches stay once they are there.
        unsafe { self.caches[at.number()].load(Acquire).as_ref() }
    }

    /// The cache with that number, made if need be.
    fn cache(
        &'static self,
        shape: Shape,
        at: SheafOffset,
        gfp: Gfp,
    ) -> Result<&'static KmemCache, AllocError> {
        if let Some(cache) = self.known(at) {
            if cache.retired.load(Relaxed) {
                cache.retired.store(false, Relaxed);
            }
            return Ok(cache);
        }
        let cache = KBox::new(KmemCache::new(shape, at), gfp)?;
        // SAFETY: nobody else has it yet.
        unsafe { cache.watch(self.options.flags_for(&shape)) };
        let new = KBox::into_raw(cache);
        // Release: who finds it sees all of it.
        let cache = match self.caches[at.number()].compare_exchange(null_mut(), new, Release, Acquire) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: made above; another hart was quicker and nobody saw it.
                drop(unsafe { KBox::from_raw(new) });
                other
            }
        };
        // SAFETY: as above.
        Ok(unsafe { &*cache })
    }

    /// The cache of that shape, whose number `known` it is or gets.
    #[cold]
    pub(super) fn register(
        &'static self,
        shape: Shape,
        known: &AtomicUsize,
        gfp: Gfp,
    ) -> Result<&'static KmemCache, AllocError> {
        if known.load(Relaxed) == SheafOffset::NONE.bytes() {
            let mut numbers = NUMBERS.lock();
            if known.load(Relaxed) == SheafOffset::NONE.bytes() {
                if *numbers == CACHES {
                    log::error!("slab: no room for cache {}: there are {CACHES}", shape.name);
                    return Err(AllocError);
                }
                known.store(SheafOffset::of(*numbers).bytes(), Relaxed);
                *numbers += 1;
            }
        }
        self.cache(shape, SheafOffset::from_bytes(known.load(Relaxed)), gfp)
    }
}

impl Memory {
    /// Gives harts 0 to `harts - 1` their sheaves, and watches and wipes what `slab_debug` and the checks of pages
    /// say. Called once, when pages can be allocated.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn boot_slab(
        &'static self,
        harts: usize,
        slab_debug: Option<&'static str>,
    ) -> Result<(), AllocError> {
        if let Some(text) = slab_debug {
            self.slab.options.set(text);
        }
        self.slab.options.set_wiping(self.debug.checks());
        for cache in &self.slab.kmalloc {
            // SAFETY: nobody can allocate before the harts have sheaves.
            unsafe { cache.watch(self.slab.options.flags_for(&cache.shape)) };
        }
        let order = Order::of_bytes(CACHES * SHEAF_SIZE).ok_or(AllocError)?;
        for hart in 0..harts {
            let sheaves = alloc_pages(Gfp::KERNEL | Gfp::ZERO, order)?;
            let first = sheaves.as_ptr().cast::<Sheaf>();
            for number in 0..CACHES {
                // SAFETY: zeroed memory of that size is a valid sheaf; nobody else has it.
                unsafe { (*first.add(number)).reset() };
            }
            let _ = sheaves.into_raw();
            self.hart(hart).sheaves.store(first.cast(), Release);
        }
        Ok(())
    }
}

/// This hart's sheaf of a cache.
#[inline(always)]
pub(super) fn sheaf(irqs: &IrqGuard, at: SheafOffset) -> &'static Sheaf {
    let _ = irqs;
    sheaf_in(this_hart(), at)
}

/// A hart's sheaf of a cache; all but its own hart only look.
#[inline(always)]
pub(super) fn sheaf_of(hart: usize, at: SheafOffset) -> &'static Sheaf {
    sheaf_in(memory().hart(hart), at)
}

#[inline(always)]
fn sheaf_in(hart: &'static HartMemory, at: SheafOffset) -> &'static Sheaf {
    let sheaves = hart.sheaves.load(Relaxed);
    debug_assert!(!sheaves.is_null(), "a hart has no sheaves");
    // SAFETY: `boot_slab` gave every hart that runs as many sheaves as there are numbers.
    unsafe { &*sheaves.byte_add(at.0).cast::<Sheaf>() }
}

/// Gives what this hart keeps ready back to the slabs, and empty slabs to the page allocator; says how
/// many pages. For when memory is short.
pub fn drain() -> usize {
    let caches = memory().slab.iter();
    caches
        .map(|cache| {
            cache.drain_sheaf();
            cache.shrink(usize::MAX)
        })
        .sum()
}

/// As [`drain`], of all harts. Waits for them, so interrupts are on and no spinlock is held.
pub fn drain_all() -> usize {
    cold::run_on(
        cold::online(),
        |_| {
            drain();
        },
        null_mut(),
    );
    drain()
}
