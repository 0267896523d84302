//! What slabs ask of the page allocator when memory is short, and what they leave to others.

use super::super::*;
use crate::addr::Order;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::karc_dyn;
use crate::memory::memory;
use crate::page_alloc::alloc_pages;
use crate::zone::{Watermark, ZoneId};

static ORDINARY: Cache<[u8; 512]> = Cache::new("ordinary");
/// A slab of these has two pages if there are, and one if there are not.
static LARGE: Cache<[u8; 2048]> = Cache::new("large");

/// A larger slab is a wish: it does not make an object of who may wait one of who may not, for whom blocks are kept.
#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn a_larger_slab_is_not_worth_the_reserve() {
    // A hundredth is one block, which may be kept for the urgent.
    let machine = HostMachine::new(256 << 20, 1);
    let zone = memory().zone(ZoneId::Dma32);
    let mut pages = Vec::new();
    while zone.free_pages() >= zone.watermark(Watermark::Low) {
        pages.push(alloc_pages(Gfp::KERNEL, Order::ZERO).unwrap());
    }
    let objects: Vec<_> = (0..50).map(|_| LARGE.alloc([1; 2048], Gfp::KERNEL).unwrap()).collect();
    assert_eq!(zone.info().highatomic, 0);
    drop((pages, objects));
    drop(machine);
}

/// Stands for another hart: gives pages back while this one counts.
struct Other(std::sync::Mutex<Vec<KBox<[u8; 512]>>>);

impl Shrinker for Other {
    fn count(&self, _: &ShrinkControl) -> usize {
        self.0.lock().unwrap().clear();
        drain();
        0
    }

    fn scan(&self, _: &mut ShrinkControl) -> Option<usize> {
        None
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; `short` has a little of all")]
fn what_other_harts_give_back_is_progress() {
    let machine = HostMachine::new(16 << 20, 1);
    let objects = (0..100).map(|_| ORDINARY.alloc([1; 512], Gfp::KERNEL).unwrap()).collect();
    let other = KArc::new(Other(std::sync::Mutex::new(objects)), Gfp::KERNEL).unwrap();
    let registered = register_shrinker("other", karc_dyn!(other => dyn Shrinker)).unwrap();
    assert!(reclaim(Gfp::KERNEL, Order::ZERO) >= 100 / 8);
    drop(registered);
    drop(machine);
}
