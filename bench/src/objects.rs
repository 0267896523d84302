//! Small objects: an operation is an allocation and a free.

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;

use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
use rux_mm::slab::{Cache, kfree, kmalloc};

use crate::measure::{Bench, Numbers};
use crate::peers::{Glibc, LinkedList, MiMalloc, Objects, Slabmalloc, Talc};

const GROUP: &str = "objects";
const PAIR: &str = "alloc+free 64 B";
const BATCH: usize = 256;
/// Objects of the churn that live at a time.
const LIVE: usize = 4096;

/// Ours, of sizes known at run time.
pub struct Rux {
    _machine: HostMachine,
}

impl Objects for Rux {
    const NAME: &'static str = "rux";

    fn new() -> Rux {
        Rux { _machine: HostMachine::new(256 << 20, 1) }
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> NonNull<u8> {
        kmalloc(layout, Gfp::KERNEL).expect("memory")
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, _: Layout) {
        // SAFETY: the caller has it from `alloc`, and uses it no more.
        unsafe { kfree(object) }
    }
}

/// Ours, of one type.
pub struct RuxTyped {
    _machine: HostMachine,
}

static TYPED: Cache<[u64; 8]> = Cache::new("bench");

impl Objects for RuxTyped {
    const NAME: &'static str = "rux, typed";

    fn new() -> RuxTyped {
        RuxTyped { _machine: HostMachine::new(256 << 20, 1) }
    }

    #[inline(always)]
    fn alloc(&mut self, _: Layout) -> NonNull<u8> {
        TYPED.alloc_raw(Gfp::KERNEL).expect("memory").cast()
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, _: Layout) {
        // SAFETY: the caller has it from `alloc`, and uses it no more.
        unsafe { TYPED.free_raw(object.cast()) }
    }
}

pub fn run(bench: &Bench) {
    bench.count_loop(GROUP, PAIR, bench.times(2_000));
    pair::<RuxTyped>(bench);
    batch::<RuxTyped>(bench);
    all::<Rux>(bench);
    all::<MiMalloc>(bench);
    all::<Talc>(bench);
    all::<Slabmalloc>(bench);
    all::<LinkedList>(bench);
    all::<Glibc>(bench);
    other_hart(bench);
}

fn all<O: Objects>(bench: &Bench) {
    pair::<O>(bench);
    batch::<O>(bench);
    churn::<O>(bench);
}

fn small() -> Layout {
    Layout::new::<[u64; 8]>()
}

fn pair<O: Objects>(bench: &Bench) {
    let times = bench.times(20_000);
    let mut objects = O::new();
    let mut work = |times: usize| {
        let layout = black_box(small());
        for _ in 0..times {
            let object = objects.alloc(layout);
            // SAFETY: allocated above, and not used.
            unsafe { objects.free(black_box(object), layout) };
        }
    };
    work(1024);
    bench.count(GROUP, PAIR, O::NAME, times, || work(times));
}

fn batch<O: Objects>(bench: &Bench) {
    let times = bench.times(40 * BATCH) / BATCH * BATCH;
    let times = times.max(BATCH);
    let mut objects = O::new();
    let mut held = Vec::with_capacity(BATCH);
    let mut work = |times: usize| {
        for _ in 0..times / BATCH {
            let layout = black_box(small());
            held.extend((0..BATCH).map(|_| objects.alloc(layout)));
            // SAFETY: allocated above, and not used.
            held.drain(..).for_each(|object| unsafe { objects.free(object, layout) });
        }
    };
    work(4 * BATCH);
    bench.count(GROUP, "batch of 256", O::NAME, times, || work(times));
}

fn churn<O: Objects>(bench: &Bench) {
    let times = bench.times(20_000);
    let mut objects = O::new();
    let mut numbers = Numbers::new();
    let mut layout = || Layout::from_size_align(8 + numbers.below(4089), 8).expect("a layout");
    let mut held: Vec<(NonNull<u8>, Layout)> = (0..LIVE)
        .map(|_| {
            let layout = layout();
            (objects.alloc(layout), layout)
        })
        .collect();
    let layouts: Vec<Layout> = (0..2 * times).map(|_| layout()).collect();
    let steps: Vec<(usize, Layout)> =
        layouts.into_iter().map(|layout| (numbers.below(LIVE), layout)).collect();
    let mut work = |steps: &[(usize, Layout)]| {
        for &(at, layout) in steps {
            let (object, old) = held[at];
            // SAFETY: it is taken out of `held`, where each is once.
            unsafe { objects.free(object, old) };
            held[at] = (objects.alloc(layout), layout);
        }
    };
    work(&steps[..times]);
    bench.count(GROUP, "churn 8-4096 B", O::NAME, times, || work(&steps[times..]));
}

/// Batches on two harts by turns, and batches that one hart allocates and the other frees, both beside one hart alone.
/// Turns, since threads would be counted differently in every run.
fn other_hart(bench: &Bench) {
    let times = (bench.times(40 * BATCH) / BATCH).max(1);
    let machine = HostMachine::new(256 << 20, 2);
    let mut held = Vec::with_capacity(BATCH);
    let shapes = [("batch, two harts by turns", 1, 0), ("batch, freed on another hart", 0, 1)];
    let one = shapes.map(|(shape, ..)| (shape, "rux, one hart", 0, 0));
    let two = shapes.map(|(shape, turn, across)| (shape, "rux", turn, across));
    for (shape, who, turn, across) in one.into_iter().chain(two) {
        let mut work = |times: usize| {
            for at in 0..times {
                let hart = at * turn % 2;
                machine.enter(hart);
                held.extend((0..BATCH).map(|_| TYPED.alloc_raw(Gfp::KERNEL).expect("memory")));
                machine.enter(hart + across);
                // SAFETY: allocated above, and not used.
                held.drain(..).for_each(|object| unsafe { TYPED.free_raw(object) });
            }
        };
        work(16);
        bench.count(GROUP, shape, who, times * BATCH, || work(times));
    }
}
