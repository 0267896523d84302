//! Each of the checks that the command line turns on finds the fault that it is for, and names the owner.

use super::*;
use crate::page_alloc::debug::{Checks, POISON};

fn machine(checks: Checks) -> HostMachine {
    HostMachine::with_ram(&[(RAM_BASE, RAM as u64)], 1, BootOptions { checks, ..Default::default() })
}

fn bytes(block: &mut PageBlock) -> &mut [u8] {
    // SAFETY: the block is ours, and borrowed alone.
    unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), block.bytes()) }
}

/// The bytes of a frame that is free.
fn peek(pfn: Pfn) -> [u8; PAGE_SIZE] {
    // SAFETY: it is memory, and nobody writes to it.
    unsafe { pfn.as_ptr().cast::<[u8; PAGE_SIZE]>().read() }
}

#[test]
fn the_owner_is_known() {
    let machine = machine(Checks::OWNER);
    let block = alloc_pages(Gfp::KERNEL | Gfp::NOWARN, order(1)).unwrap();
    let here = line!() - 1;
    let owner = debug::owner(block.pfn() + 1).unwrap();
    assert_eq!((owner.site.line(), owner.order, owner.in_use), (here, 1, true));
    assert!(owner.site.file().ends_with("checks.rs") && owner.gfp == Gfp::KERNEL | Gfp::NOWARN);
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order(9)).unwrap();
    assert_eq!(debug::owner(folio.pfn() + 511).unwrap().site.line(), line!() - 1);
    let large = alloc_pages(Gfp::KERNEL, order(5)).unwrap();
    assert_eq!(debug::owner(large.pfn()).unwrap().site.line(), line!() - 1);
    let mut many = Vec::new();
    alloc_pages_bulk(Gfp::KERNEL, 3, |page| many.push(page));
    assert_eq!(debug::owner(many[2].pfn()).unwrap().site.line(), line!() - 1);
    // A leak: what is in use at the end, and whose it is.
    let mut leaks = Vec::new();
    debug::for_each_owned(|pfn, owner| {
        if owner.site.file().ends_with("checks.rs") {
            leaks.push((pfn, owner.site.line()));
        }
    });
    assert_eq!(leaks.len(), 2 + 512 + 32 + 3);
    assert!(leaks.contains(&(block.pfn(), here)));
    let pfn = block.pfn();
    drop((block, folio, large, many));
    assert!(!debug::owner(pfn).unwrap().in_use);
    let text = debug::owner(pfn).unwrap().to_string();
    assert!(text.contains(&format!("checks.rs:{here}")) && text.contains("freed last by thread"), "{text}");
    drain_pcp();
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn free_memory_is_poisoned_and_fresh_memory_zero() {
    for checks in [Checks::POISON | Checks::INIT_ON_FREE, Checks::INIT_ON_FREE, Checks::INIT_ON_ALLOC] {
        let machine = machine(checks);
        for size in [0, 2, 5, 9] {
            let mut block = alloc_pages(Gfp::KERNEL, order(size)).unwrap();
            let fresh = if checks.contains(Checks::POISON) { POISON } else { 0 };
            assert!(bytes(&mut block).iter().all(|&byte| byte == fresh), "{checks:?}, order {size}");
            bytes(&mut block).fill(7);
            let pfn = block.pfn();
            drop(block);
            let left = if checks == Checks::INIT_ON_ALLOC { 7 } else { fresh };
            assert_eq!(peek(pfn), [left; PAGE_SIZE], "{checks:?}, order {size}");
            let mut zeroed = alloc_pages(Gfp::KERNEL | Gfp::ZERO, order(size)).unwrap();
            assert!(bytes(&mut zeroed).iter().all(|&byte| byte == 0));
        }
        drain_pcp();
        assert_eq!(validate_still(), Ok(()));
        drop(machine);
    }
}

#[cfg(debug_assertions)]
mod planted {
    use super::super::caught::caught;
    use super::*;

    #[test]
    fn a_write_after_free_names_who_had_the_page() {
        let machine = machine(Checks::POISON | Checks::OWNER);
        for size in [0, 6] {
            let block = alloc_pages(Gfp::KERNEL, order(size)).unwrap();
            let here = line!() - 1;
            let last = (block.pfn() + ((1 << size) - 1)).as_ptr().wrapping_add(PAGE_SIZE - 1);
            let (pfn, size) = (block.pfn(), block.order());
            drop(block);
            // SAFETY: none: it is what is to be caught. The frame is memory of this machine.
            unsafe { *last ^= 1 };
            caught(&format!("checks.rs:{here}"), || {
                let mut held = Vec::new();
                // All of it, until the page comes.
                while let Ok(block) = alloc_pages(Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN, size) {
                    held.push(block);
                }
                panic!("{pfn:?} came back unseen");
            });
        }
        drop(machine);
    }

    #[test]
    fn a_double_free_names_who_had_the_page() {
        let machine = machine(Checks::OWNER);
        let block = alloc_pages(Gfp::ATOMIC, order(2)).unwrap();
        let here = line!() - 1;
        let (pfn, order) = (block.pfn(), block.order());
        drop(block);
        // SAFETY: none: it is what is to be caught.
        caught(&format!("checks.rs:{here}"), || drop(unsafe { PageBlock::from_raw(pfn, order) }));
        // A wrong order is seen by its alignment, or by whose pages the rest are.
        let pages: Vec<_> = (0..64).map(|_| alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap()).collect();
        let low = pages.iter().map(PageBlock::pfn).find(|pfn| {
            let pair = super::order(1);
            pfn.is_aligned(pair) && pages.iter().any(|other| other.pfn() == *pfn + 1)
        });
        let low = low.unwrap();
        caught("freed with a reference", || {
            // SAFETY: none: as above.
            drop(unsafe { PageBlock::from_raw(low, super::order(1)) })
        });
        std::mem::forget(pages);
        drop(machine);
    }
}
