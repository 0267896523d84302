//! Sequences of all operations against a model that knows which bytes are whose.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::free_after_drain;
use crate::gfp::Gfp;
use crate::host::{HostMachine, RAM_BASE};
use crate::inject::{self, Then};
use crate::memory::BootOptions;
use crate::stat::{self, Item};

const MIB: usize = 1 << 20;
const RAM: usize = if cfg!(miri) { 4 * MIB } else { 8 * MIB };
const CASES: u32 = if cfg!(miri) { 2 } else { 48 };
const STEPS: usize = if cfg!(miri) { 40 } else { 400 };
const HARTS: usize = 3;
const SLOTS: usize = 64;

type Small = [u8; 24];
type Large = [u8; 700];

static SMALL: Cache<Small> = Cache::new("model_small").reclaimable();
static LARGE: Cache<Large> = Cache::new("model_large");

#[derive(Clone, Debug)]
enum Step {
    /// What is in the slot is freed; then one of that size and alignment takes its place.
    Sized {
        slot: usize,
        size: usize,
        align: usize,
        gfp: Gfp,
    },
    Small {
        slot: usize,
    },
    Large {
        slot: usize,
    },
    /// Many at once, in slots from there on; with only so many allocations until one fails.
    Bulk {
        slot: usize,
        count: usize,
        fail_after: Option<u64>,
    },
    /// All small ones in slots from there on.
    FreeBulk {
        slot: usize,
    },
    Free {
        slot: usize,
    },
    /// Who does what follows.
    Enter {
        hart: usize,
    },
    Drain,
    Shrink,
    ShrinkSlab {
        priority: u32,
    },
    Validate,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    let size = prop_oneof![1usize..300, 300usize..9000, 8180usize..8200, Just(40_000usize)];
    let gfp = prop_oneof![
        Just(Gfp::KERNEL),
        Just(Gfp::KERNEL | Gfp::ZERO),
        Just(Gfp::KERNEL | Gfp::RECLAIMABLE),
        Just(Gfp::NOWAIT | Gfp::ZERO | Gfp::RECLAIMABLE)
    ];
    prop_oneof![
        8 => (slot(), size, 0u32..13, gfp)
            .prop_map(|(slot, size, align, gfp)| Step::Sized { slot, size, align: 1 << align, gfp }),
        6 => slot().prop_map(|slot| Step::Small { slot }),
        3 => slot().prop_map(|slot| Step::Large { slot }),
        2 => (slot(), 0..SLOTS, prop::option::of(0u64..4))
            .prop_map(|(slot, count, fail_after)| Step::Bulk { slot, count, fail_after }),
        1 => slot().prop_map(|slot| Step::FreeBulk { slot }),
        6 => slot().prop_map(|slot| Step::Free { slot }),
        3 => (0..HARTS).prop_map(|hart| Step::Enter { hart }),
        1 => Just(Step::Drain),
        1 => Just(Step::Shrink),
        1 => (0u32..13).prop_map(|priority| Step::ShrinkSlab { priority }),
        1 => Just(Step::Validate),
    ]
}

/// Whose an object is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sized,
    Small,
    Large,
}

#[derive(Clone, Copy)]
struct Held {
    at: NonNull<u8>,
    bytes: usize,
    sign: u8,
    kind: Kind,
}

/// What is in use, by slot and by address.
#[derive(Default)]
struct Model {
    slots: BTreeMap<usize, Held>,
    ranges: BTreeMap<usize, usize>,
    signs: u8,
}

impl Model {
    fn take(&mut self, slot: usize, at: NonNull<u8>, bytes: usize, kind: Kind) {
        let start = at.addr().get();
        let before = self.ranges.range(..start + bytes).next_back();
        assert!(before.is_none_or(|(at, bytes)| at + bytes <= start), "two owners of a byte");
        self.ranges.insert(start, bytes);
        self.signs = self.signs.wrapping_add(7);
        // SAFETY: just allocated, of that size.
        unsafe { at.write_bytes(self.signs, bytes) };
        assert!(self.slots.insert(slot, Held { at, bytes, sign: self.signs, kind }).is_none());
    }

    /// Takes it out, untouched by others.
    fn remove(&mut self, slot: usize) -> Option<Held> {
        let held = self.slots.remove(&slot)?;
        // SAFETY: allocated, of that size, and written.
        let bytes = unsafe { core::slice::from_raw_parts(held.at.as_ptr(), held.bytes) };
        assert!(bytes.iter().all(|byte| *byte == held.sign), "somebody else wrote to it");
        self.ranges.remove(&held.at.addr().get());
        Some(held)
    }

    fn free(&mut self, slot: usize) {
        let Some(held) = self.remove(slot) else { return };
        // SAFETY: allocated there, and forgotten above.
        unsafe {
            match held.kind {
                Kind::Sized => kfree(held.at),
                Kind::Small => SMALL.free_raw(held.at.cast()),
                Kind::Large => LARGE.free_raw(held.at.cast()),
            }
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.slots.values().filter(|held| held.kind == kind).count()
    }

    fn check(&self) {
        validate();
        for_each_cache(|cache| match cache.name {
            "model_small" => assert_eq!(cache.active_objects, self.count(Kind::Small)),
            "model_large" => assert_eq!(cache.active_objects, self.count(Kind::Large)),
            _ => {}
        });
        assert_eq!(faults(), 0);
    }
}

fn run(steps: Vec<Step>, slab_debug: Option<&'static str>) {
    let options = BootOptions { slab_debug, ..BootOptions::default() };
    let machine = HostMachine::with_ram(&[(RAM_BASE, RAM as u64)], HARTS, options);
    // So that the caches are there, which are objects, too.
    drop(SMALL.alloc([0; 24], Gfp::KERNEL).unwrap());
    drop(LARGE.alloc([0; 700], Gfp::KERNEL).unwrap());
    let free = free_after_drain(&machine);
    let slab_pages = || stat::read(Item::SlabReclaimable) + stat::read(Item::SlabUnreclaimable);
    let before = slab_pages();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Sized { slot, size, align, gfp } => {
                model.free(slot);
                let layout = Layout::from_size_align(size, align).unwrap();
                let at = kmalloc(layout, gfp).unwrap();
                assert!(at.addr().get().is_multiple_of(align), "{layout:?}");
                if gfp.contains(Gfp::ZERO) {
                    // SAFETY: just allocated, and all zero.
                    let bytes = unsafe { core::slice::from_raw_parts(at.as_ptr(), size) };
                    assert!(bytes.iter().all(|byte| *byte == 0));
                }
                model.take(slot, at, size, Kind::Sized);
            }
            Step::Small { slot } => {
                model.free(slot);
                model.take(slot, SMALL.alloc_raw(Gfp::KERNEL).unwrap().cast(), 24, Kind::Small);
            }
            Step::Large { slot } => {
                model.free(slot);
                model.take(slot, LARGE.alloc_raw(Gfp::NOWAIT).unwrap().cast(), 700, Kind::Large);
            }
            Step::Bulk { slot, count, fail_after } => {
                let slots = slot..(slot + count).min(SLOTS);
                slots.clone().for_each(|slot| model.free(slot));
                let mut out = [MaybeUninit::uninit(); SLOTS];
                let out = &mut out[..slots.len()];
                let got = match fail_after {
                    Some(n) => {
                        let _injection = inject::fail_after(n, Then::Fail);
                        SMALL.alloc_bulk(Gfp::KERNEL, out)
                    }
                    None => SMALL.alloc_bulk(Gfp::KERNEL, out),
                };
                if got.is_ok() {
                    for (slot, object) in slots.zip(out) {
                        // SAFETY: filled.
                        model.take(slot, unsafe { object.assume_init() }.cast(), 24, Kind::Small);
                    }
                } else {
                    assert!(fail_after.is_some());
                }
            }
            Step::FreeBulk { slot } => {
                let of_kind = |(slot, held): (&usize, &Held)| (held.kind == Kind::Small).then_some(*slot);
                let slots: Vec<_> = model.slots.range(slot..).filter_map(of_kind).collect();
                let objects: Vec<_> =
                    slots.into_iter().filter_map(|slot| Some(model.remove(slot)?.at.cast())).collect();
                // SAFETY: allocated there, and forgotten.
                unsafe { SMALL.free_bulk(&objects) };
            }
            Step::Free { slot } => model.free(slot),
            Step::Enter { hart } => machine.enter(hart),
            Step::Drain => {
                drain();
            }
            Step::Shrink => {
                SMALL.shrink();
            }
            Step::ShrinkSlab { priority } => {
                shrink_slab(Gfp::KERNEL, priority);
            }
            Step::Validate => model.check(),
        }
    }
    model.check();
    (0..SLOTS).for_each(|slot| model.free(slot));
    model.check();
    assert_eq!(check_objects(), 0);
    let after = free_after_drain(&machine);
    assert_eq!((after, slab_pages()), (free, before));
    assert_eq!(stat::read(Item::SlabReclaimable), 0);
    for_each_cache(|cache| assert!(cache.slabs == 0 || cache.active_objects > 0, "{cache}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() })]

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
    fn objects_are_as_ranges_of_bytes(steps in prop::collection::vec(step(), 1..STEPS)) {
        run(steps, None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
    fn so_they_are_under_watch(steps in prop::collection::vec(step(), 1..STEPS)) {
        run(steps, Some("FZP"));
    }
}
