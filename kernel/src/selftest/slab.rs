//! Faults planted for `slab_debug=`: `rux.selftest=slab` on the command line does each once, before init, and the log
//! then has a report of each that names the function here that did it. They are in caches of their own.

use core::hint::black_box;
use core::ptr::NonNull;

use rux_mm::gfp::Gfp;
use rux_mm::slab::{Cache, check_objects, faults, validate};

type Cell = [u64; 6];

static CELLS: Cache<Cell> = Cache::new("selftest_cells");
static LEAKY: Cache<Cell> = Cache::new("selftest_leaky");

/// Plants all faults. Only with `slab_debug=FZPU,selftest_*`, or without names: otherwise they would break things.
pub(crate) fn plant() {
    let Some(slab_debug) = crate::cmdline::value("slab_debug") else {
        return log::error!("rux.selftest=slab: wants slab_debug=FZPU,selftest_*");
    };
    assert!(slab_debug.starts_with("FZPU"), "rux.selftest=slab wants slab_debug=FZPU,selftest_*");
    let before = faults();
    double_free();
    overrun();
    write_after_free();
    leak();
    validate();
    assert_eq!(faults() - before, 3, "each fault is found once");
    log::info!("selftest: slab_debug: passed");
}

fn cell() -> NonNull<Cell> {
    match CELLS.alloc_raw(Gfp::KERNEL) {
        Ok(cell) => cell,
        Err(error) => panic!("{error}"),
    }
}

#[inline(never)]
fn owner_of_cell() -> NonNull<Cell> {
    black_box(cell())
}

#[inline(never)]
fn frees_first(cell: NonNull<Cell>) {
    // SAFETY: from this cache. If it is done twice: that is what is tested.
    unsafe { CELLS.free_raw(cell) };
    black_box(1);
}

#[inline(never)]
fn frees_again(cell: NonNull<Cell>) {
    // SAFETY: none: that is what is tested.
    unsafe { CELLS.free_raw(cell) };
    black_box(2);
}

fn double_free() {
    let cell = owner_of_cell();
    frees_first(cell);
    frees_again(cell);
}

fn overrun() {
    let cell = owner_of_cell();
    // SAFETY: none: the byte behind the object, which the red zone is there for.
    unsafe { cell.as_ptr().cast::<u8>().add(size_of::<Cell>()).write_volatile(0x2a) };
    frees_first(cell);
}

#[inline(never)]
fn write_after_free() {
    let cell = owner_of_cell();
    frees_first(cell);
    // SAFETY: none: the object was freed, and its poison is there for this.
    unsafe { cell.as_ptr().cast::<u8>().add(3).write_volatile(0x41) };
    assert_eq!(check_objects(), 1);
}

#[inline(never)]
fn leak() {
    let lost = LEAKY.alloc_raw(Gfp::KERNEL);
    assert!(lost.is_ok() && LEAKY.destroy().is_err(), "it has an object in use");
    if let Ok(lost) = lost {
        // SAFETY: from this cache, and nobody uses it any more.
        unsafe { LEAKY.free_raw(lost) };
    }
    assert!(LEAKY.destroy().is_ok());
}
