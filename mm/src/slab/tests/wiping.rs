//! `init_on_alloc=1` and `init_on_free=1`: what an owner finds in an object, and what he leaves.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::super::*;
use crate::gfp::Gfp;
use crate::host::{HostMachine, RAM_BASE};
use crate::memory::BootOptions;
use crate::page_alloc::debug::Checks;

type Thing = [u8; 120];

static THINGS: Cache<Thing> = Cache::new("wiped_things");

fn machine(checks: Checks, slab_debug: Option<&'static str>) -> HostMachine {
    let options = BootOptions { checks, slab_debug, ..BootOptions::default() };
    HostMachine::with_ram(&[(RAM_BASE, 4 << 20)], 1, options)
}

/// The bytes of an object that is in use, or was a moment ago.
fn peek(object: NonNull<u8>, bytes: usize) -> Vec<u8> {
    // SAFETY: memory of the machine, which nobody writes to meanwhile.
    (0..bytes).map(|at| unsafe { object.add(at).read() }).collect()
}

/// Takes and frees `count` objects twice over, dirty in between; says whether the second round's were all zero, and
/// whether what the first round left behind the link of free objects was.
fn turn(
    count: usize,
    take: impl Fn() -> NonNull<u8>,
    give: impl Fn(NonNull<u8>),
    bytes: usize,
) -> (bool, bool) {
    let first: Vec<_> = (0..count).map(|_| take()).collect();
    for object in &first {
        // SAFETY: just taken, and of that size.
        unsafe { object.write_bytes(0x77, bytes) };
    }
    let kept = first[0];
    // The slab stays: the last of its objects is still in use.
    first[1..].iter().for_each(|object| give(*object));
    let left = first[1..].iter().all(|object| peek(*object, bytes)[8..].iter().all(|byte| *byte == 0));
    let second: Vec<_> = (1..count).map(|_| take()).collect();
    let found = second.iter().all(|object| peek(*object, bytes).iter().all(|byte| *byte == 0));
    second.into_iter().for_each(&give);
    give(kept);
    (found, left)
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn objects_are_wiped_as_pages_are() {
    for (checks, slab_debug, found, left) in [
        (Checks::empty(), None, false, false),
        (Checks::INIT_ON_ALLOC, None, true, false),
        (Checks::INIT_ON_FREE, None, true, true),
        (Checks::INIT_ON_ALLOC | Checks::INIT_ON_FREE, None, true, true),
        (Checks::INIT_ON_ALLOC, Some("U"), true, false),
        (Checks::INIT_ON_FREE, Some("ZU"), true, true),
        // Poison is stronger, in objects and in pages.
        (Checks::INIT_ON_ALLOC, Some("P"), false, false),
        (Checks::INIT_ON_FREE, Some("FZPU"), false, false),
        (Checks::INIT_ON_FREE | Checks::POISON, None, false, false),
    ] {
        let machine = machine(checks, slab_debug);
        let layout = Layout::new::<[u64; 4]>();
        let sized = turn(
            20,
            || kmalloc(layout, Gfp::KERNEL).unwrap(),
            // SAFETY: each is given back once.
            |object| unsafe { kfree(object) },
            32,
        );
        let typed = turn(
            20,
            || THINGS.alloc_raw(Gfp::KERNEL).unwrap().cast(),
            // SAFETY: each is given back once.
            |object| unsafe { THINGS.free_raw(object.cast()) },
            120,
        );
        assert_eq!((sized, typed), ((found, left), (found, left)), "{checks:?}, slab_debug={slab_debug:?}");
        assert_eq!(faults(), 0);
        validate();
        drop(machine);
    }
}
