//! A little of everything, on a machine of few pages: what Miri has the time for in every run.

use std::sync::mpsc;

use super::*;

const SMALL: usize = MB;

#[test]
fn everything_a_little() {
    let machine = HostMachine::new(SMALL, 2);
    drain_pcp();
    let free = free_pages_count();
    // Raw and compound blocks, from the lists and from the zone.
    for o in [0, 1, 3, 4, 5] {
        for gfp in [Gfp::KERNEL, Gfp::KERNEL | Gfp::COMP, Gfp::ATOMIC] {
            let block = alloc_pages(gfp, order(o)).unwrap();
            // SAFETY: the block is ours.
            unsafe { block.as_ptr().add(block.bytes() - 1).write(o as u8) };
            assert!(FolioRef::try_get(block.pfn()).is_some());
        }
    }
    let block = alloc_pages(Gfp::KERNEL | Gfp::ZERO, Order::ZERO).unwrap();
    // SAFETY: the block is ours.
    assert_eq!(unsafe { block.as_ptr().cast::<[u8; PAGE_SIZE]>().read() }, [0; PAGE_SIZE]);
    drop(block);
    // Folios, by any page, through a raw frame number, and frozen.
    let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, order(2)).unwrap();
    let other = FolioRef::try_get(folio.pfn() + 3).unwrap();
    let raw = other.clone().into_raw();
    // SAFETY: `into_raw` just now.
    drop(unsafe { FolioRef::from_raw(raw) });
    drop(other);
    assert!(folio.freeze(1) && FolioRef::try_get(folio.pfn()).is_none());
    folio.unfreeze(1);
    assert_eq!((folio.map_page(1), folio.unmap_page(1)), (Some(0), 0));
    drop(folio);
    assert_eq!(free_pages_count(), free);
    assert_eq!(validate_still(), Ok(()));
    drop(machine);
}

#[test]
fn harts_give_each_other_pages() {
    let mut machine = HostMachine::new(SMALL, 2);
    machine.drain_still();
    let free = normal().free_pages();
    let (sender, receiver) = mpsc::channel::<PageBlock>();
    std::thread::scope(|scope| {
        let machine = &machine;
        scope.spawn(move || {
            machine.enter(1);
            receiver.iter().enumerate().for_each(|(n, block)| {
                drop(block);
                if n % 8 == 0 {
                    serve_drain();
                }
            });
            hart_leaves();
        });
        alloc_pages_bulk(Gfp::KERNEL, 12, |page| sender.send(page).unwrap());
        for o in [0, 1, 0, 2, 0, 0, 3, 0] {
            sender.send(alloc_pages(Gfp::KERNEL, order(o)).unwrap()).unwrap();
            // A stranger who looks at any frame.
            drop(FolioRef::try_get(RAM_BASE.pfn() + 40 + o as u64));
        }
        drain_all();
        drop(sender);
    });
    drain_all();
    assert_eq!(normal().free_pages(), free);
    assert_eq!(validate_still(), Ok(()));
}
