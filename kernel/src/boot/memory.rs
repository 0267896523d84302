//! The real tables and the memory manager (Linux: `paging_init`, `mm_core_init`).

use rux_machine::riscv::{
    DIRECT_MAP, DIRECT_MAP_SIZE, KERNEL_IMAGE, VMALLOC, VMALLOC_SIZE, VMEMMAP, VMEMMAP_SIZE,
};
use rux_machine::{Hot, Hw, PAGE_SIZE};
use rux_mm::addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use rux_mm::early::EarlyMemory;
use rux_mm::error::AllocError;
use rux_mm::memory::{BootOptions, memory};
use rux_mm::page_alloc::debug::Checks;
use rux_mm::paging::{self, KernelTables, MaxLeaf, Mode, Prot};
use rux_mm::zone::Amount;

use super::Image;
use crate::cmdline;
use crate::dt::{PhysRange, Platform};

unsafe extern "C" {
    static _text_end: u8;
    static _rodata_end: u8;
}

/// The frames' addresses and the image's, less what cannot be mapped.
const DIRECT_END: u64 = DIRECT_MAP_SIZE;

/// Makes the kernel's tables, turns them on, starts the memory manager; returns `satp`.
#[inline(never)]
pub(super) fn init(platform: &Platform, image: Image) -> u64 {
    match try_init(platform, image) {
        Ok(satp) => satp,
        Err(AllocError) => panic!("not enough RAM to boot"),
    }
}

fn try_init(platform: &Platform, image: Image) -> Result<u64, AllocError> {
    let mut early = EarlyMemory::new();
    for range in &platform.memory {
        early.add_ram(range.start, range.len());
    }
    let image_range = PhysRange::new(image.start.get(), image.bytes());
    let taken = [Some(image_range), Some(platform.tree), platform.initrd];
    for range in platform.reserved.iter().copied().chain(taken.into_iter().flatten()) {
        early.reserve(range.start, range.len())?;
    }

    let mode = mode();
    let mut tables = KernelTables::new(mode, &mut || frame(&mut early))?;
    for (start, bytes) in [(VMEMMAP, VMEMMAP_SIZE), (VMALLOC, VMALLOC_SIZE)] {
        tables.reserve(range(start, bytes), &mut || frame(&mut early))?;
    }
    for ram in &platform.memory {
        map_direct(&mut tables, *ram, image_range, &mut early)?;
    }
    map_image(&mut tables, image, &mut early)?;
    // SAFETY: the tables map the image where it runs, and all RAM as the early ones do.
    unsafe { Hw::set_satp(tables.satp()) };
    Hw::fence_all();

    let satp = tables.satp();
    memory().boot(early, options(), platform.harts.len(), &mut |early, range, phys| {
        tables.map(range, phys, Prot::KERNEL_RW, MaxLeaf::Mega, &mut || frame(early))
    })?;
    tables.publish(range(VMALLOC, VMALLOC_SIZE));
    let asid_bits = paging::probe_asids(platform.harts.len());
    log::info!("paging: {mode:?}, {asid_bits} bits of ASID");
    log::info!(
        "memory: {} KiB of {} KiB free",
        rux_mm::page_alloc::free_pages_count() * 4,
        platform.memory.iter().map(|range| range.len() / 1024).sum::<u64>()
    );
    Ok(satp)
}

/// What the command line says of memory, with Linux's names.
fn options() -> BootOptions {
    let amount = |name| cmdline::value(name).and_then(Amount::parse);
    BootOptions {
        min_free_kbytes: cmdline::value("min_free_kbytes").and_then(|text| text.parse().ok()),
        kernelcore: amount("kernelcore"),
        movablecore: amount("movablecore"),
        checks: checks(),
        device: None,
        slab_debug: slab_debug(),
    }
}

/// What `slab_debug=` says; the second name is the older one, which Linux knows still.
fn slab_debug() -> Option<&'static str> {
    let given = |name| cmdline::value(name).or_else(|| cmdline::flag(name).then_some(""));
    given("slab_debug").or_else(|| given("slub_debug"))
}

/// What is checked and wiped as pages come and go. A debug kernel knows who had each page, unless told not to.
fn checks() -> Checks {
    let is_on = |name| matches!(cmdline::value(name), Some("1" | "on" | "y" | "Y"));
    let owner = match cmdline::value("page_owner") {
        None => cfg!(debug_assertions),
        Some(value) => value == "on",
    };
    [
        (owner, Checks::OWNER),
        (is_on("page_poison"), Checks::POISON),
        (is_on("init_on_alloc"), Checks::INIT_ON_ALLOC),
        (is_on("init_on_free"), Checks::INIT_ON_FREE),
    ]
    .into_iter()
    .fold(Checks::empty(), |checks, (is_on, check)| if is_on { checks | check } else { checks })
}

/// The most levels that the hart has, unless `rux.paging=` wants fewer.
fn mode() -> Mode {
    let most = Mode::with_levels((Hw::satp() >> 60) as u32 - 5).unwrap_or(Mode::Sv39);
    let wanted = match cmdline::value("rux.paging") {
        None => return most,
        Some("sv39") => Mode::Sv39,
        Some("sv48") => Mode::Sv48,
        Some("sv57") => Mode::Sv57,
        Some(other) => {
            log::warn!("rux.paging={other} is not a paging mode");
            return most;
        }
    };
    wanted.min(most)
}

fn range(start: u64, bytes: u64) -> VirtRange {
    VirtRange::new(VirtAddr::new(start), VirtAddr::new(start + bytes))
}

/// A zeroed frame for a table.
fn frame(early: &mut EarlyMemory) -> Result<Pfn, AllocError> {
    let frame = early.alloc(PAGE_SIZE as u64, PAGE_SIZE as u64)?;
    // SAFETY: the frame was free, so it is ours, and the direct map maps it.
    unsafe { Hw::clear_page(frame.as_ptr()) };
    Ok(frame.pfn())
}

/// Maps RAM at its place in the direct map: read and write, but for what the image maps without write.
fn map_direct(
    tables: &mut KernelTables,
    ram: PhysRange,
    image: PhysRange,
    early: &mut EarlyMemory,
) -> Result<(), AllocError> {
    // SAFETY: only the address is taken.
    let rodata_end = (&raw const _rodata_end).addr() as u64 - KERNEL_IMAGE;
    let fixed_end = image.start + rodata_end;
    let start = ram.start.page_ceil().ok_or(AllocError)?;
    let end = ram.end.page_floor().min(PhysAddr::new(DIRECT_END));
    let mut at = start;
    while at < end {
        let (to, prot) = if at < image.start {
            (image.start.min(end), Prot::KERNEL_RW)
        } else if at < fixed_end {
            (fixed_end.min(end), Prot::KERNEL_R)
        } else {
            (end, Prot::KERNEL_RW)
        };
        let virt = range(DIRECT_MAP + at.get(), to - at);
        tables.map(virt, at, prot, MaxLeaf::Giga, &mut || frame(early))?;
        at = to;
    }
    Ok(())
}

/// Maps the image at its linked address, each part with what it needs.
fn map_image(tables: &mut KernelTables, image: Image, early: &mut EarlyMemory) -> Result<(), AllocError> {
    let text_end = (&raw const _text_end).addr() as u64;
    let rodata_end = (&raw const _rodata_end).addr() as u64;
    let end = KERNEL_IMAGE + image.bytes();
    for (from, to, prot) in [
        (KERNEL_IMAGE, text_end, Prot::KERNEL_RX),
        (text_end, rodata_end, Prot::KERNEL_R),
        (rodata_end, end, Prot::KERNEL_RW),
    ] {
        let phys = image.phys_of(from as usize);
        tables.map(range(from, to - from), phys, prot, MaxLeaf::Mega, &mut || frame(early))?;
    }
    Ok(())
}
