//! A little of everything: what Miri has the time for in every run.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use std::sync::mpsc;

use super::super::*;
use crate::gfp::Gfp;
use crate::host::{HostMachine, RAM_BASE};
use crate::kbox_dyn;
use crate::memory::BootOptions;

type Thing = [u32; 7];

static THINGS: Cache<Thing> = Cache::new("short_things");

fn machine(slab_debug: Option<&'static str>) -> HostMachine {
    let options = BootOptions { slab_debug, ..BootOptions::default() };
    HostMachine::with_ram(&[(RAM_BASE, 1 << 20)], 2, options)
}

fn everything(machine: &HostMachine) {
    // Sized, typed, large, many at once.
    for (size, align) in [(1, 1), (24, 8), (96, 32), (100, 128), (2000, 8), (9000, 4096)] {
        let layout = Layout::from_size_align(size, align).unwrap();
        let objects = [(); 3].map(|()| kmalloc(layout, Gfp::KERNEL | Gfp::ZERO).unwrap());
        for object in objects {
            // SAFETY: just allocated, of that size, zeroed; and given back once.
            unsafe {
                assert_eq!((object.read(), object.add(size - 1).read()), (0, 0));
                object.write_bytes(0xee, size);
                kfree(object);
            }
        }
    }
    let mut things: Vec<_> = (0..40).map(|n| THINGS.alloc([n; 7], Gfp::KERNEL).unwrap()).collect();
    let mut many = [MaybeUninit::uninit(); 20];
    THINGS.alloc_bulk(Gfp::KERNEL | Gfp::ZERO, &mut many).unwrap();
    // SAFETY: all are filled.
    let many = many.map(|object| unsafe { object.assume_init() });
    // SAFETY: zeroed, and given back once.
    unsafe {
        assert!(many.iter().all(|object| object.read() == [0; 7]));
        THINGS.free_bulk(&many);
    }
    // Freed by another hart, some of them after their slab was full.
    let (sender, receiver) = mpsc::channel::<KBox<Thing>>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            machine.enter(1);
            for thing in receiver {
                assert!(thing.iter().all(|n| *n == thing[0]));
            }
            drain();
        });
        for _ in 0..25 {
            sender.send(things.swap_remove(things.len() / 2)).unwrap();
        }
        drop(sender);
    });
    drop(things);
    let mut vec = KVec::new();
    (0..30u64).for_each(|n| vec.push(n, Gfp::KERNEL).unwrap());
    let arc = KArc::new(vec, Gfp::KERNEL).unwrap();
    assert_eq!(arc.clone().iter().sum::<u64>(), 435);
    drop(arc);
    drop(kbox_dyn!(KBox::new(5u64, Gfp::KERNEL).unwrap() => dyn Send));
    assert!(KBox::<[u8]>::zeroed(50, Gfp::KERNEL).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0)));
    drain();
    assert_eq!(THINGS.destroy(), Ok(()));
    assert_eq!((check_objects(), faults()), (0, 0));
}

#[test]
fn everything_a_little() {
    let machine = machine(None);
    everything(&machine);
}

#[test]
fn everything_a_little_under_watch() {
    // One cache, as Miri takes its time for each byte that is looked at.
    let machine = machine(Some(if cfg!(miri) { "FZP,short_things" } else { "FZP" }));
    everything(&machine);
}
