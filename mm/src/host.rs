//! A machine on the host: RAM and descriptors from the host's allocator, for tests and for `rux-sim`.
//!
//! A thread works on the machine that it entered, as one of its harts. Two threads may not be the same
//! hart at once: a hart's own lists have no lock.

use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{NonNull, null};
use std::sync::Mutex;

use rux_machine::host::{self, Place};

use crate::addr::{Order, PhysAddr};
use crate::early::EarlyMemory;
use crate::memory::{BootOptions, HartMemory, Memory};
use crate::page::{PAGES_PER_SECTION, Page, SECTION_SIZE};

/// Where a [`HostMachine`]'s RAM starts, as on QEMU's `virt` board.
pub const RAM_BASE: PhysAddr = PhysAddr::new(0x8000_0000);

thread_local! {
    static MEMORY: Cell<*const Memory> = const { Cell::new(null()) };
    static HART: Cell<*const HartMemory> = const { Cell::new(&raw const NOWHERE) };
}

/// The hart of a thread that entered no machine: it has no page, and asking it for one ends in
/// [`memory`]'s panic.
static NOWHERE: HartMemory = HartMemory::new();

/// `Memory`s of machines that are gone. They are never freed, as [`memory`] hands out references without
/// end; they are used again.
static SPARE: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

struct Spare(*mut Memory);

// SAFETY: nobody uses it any more.
unsafe impl Send for Spare {}

/// The memory of the machine that this thread works on.
///
/// # Panics
/// The thread entered none.
#[inline(always)]
pub fn memory() -> &'static Memory {
    let memory = MEMORY.get();
    assert!(!memory.is_null(), "this thread works on no machine: HostMachine::enter comes first");
    // SAFETY: set by `enter`, and never freed.
    unsafe { &*memory }
}

/// What the hart that this thread is has for itself.
#[inline(always)]
pub(crate) fn this_hart() -> &'static HartMemory {
    // SAFETY: set by `enter`, and never freed.
    unsafe { &*HART.get() }
}

/// Memory of the host, all zeroes, that is freed with the value. What is not touched costs nothing.
#[derive(Debug)]
struct Area {
    start: NonNull<u8>,
    /// What was asked for, which `start` is within.
    whole: NonNull<u8>,
    layout: Layout,
}

impl Area {
    fn new(bytes: usize, align: usize) -> Self {
        // Room to align it here: the host's allocator touches all of what it aligns itself.
        let layout = Layout::from_size_align(bytes + align, 8).expect("a size that fits");
        // SAFETY: the size is not 0.
        let whole = NonNull::new(unsafe { lazy::map(layout) }).expect("host memory");
        let start = whole.as_ptr().wrapping_add(whole.as_ptr().align_offset(align));
        Self { start: NonNull::new(start).expect("host memory"), whole, layout }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped with that layout.
        unsafe { lazy::unmap(self.whole.as_ptr(), self.layout) }
    }
}

/// Memory that the host promises nothing for until it is touched: more of it than the host has.
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
mod lazy {
    use std::alloc::Layout;
    use std::ffi::{c_int, c_long, c_void};

    unsafe extern "C" {
        fn mmap(
            at: *mut c_void,
            len: usize,
            prot: c_int,
            flags: c_int,
            fd: c_int,
            offset: c_long,
        ) -> *mut c_void;
        fn munmap(at: *mut c_void, len: usize) -> c_int;
    }

    const PROT_READ_WRITE: c_int = 3;
    /// Private, anonymous, no reserve: the same on all of Linux's 64-bit machines that Rust's host may be.
    const FLAGS: c_int = 0x2 | 0x20 | 0x4000;

    pub(super) unsafe fn map(layout: Layout) -> *mut u8 {
        // SAFETY: a new mapping wherever there is room.
        let at = unsafe { mmap(std::ptr::null_mut(), layout.size(), PROT_READ_WRITE, FLAGS, -1, 0) };
        // Failure is -1.
        if at.addr() == usize::MAX { std::ptr::null_mut() } else { at.cast() }
    }

    pub(super) unsafe fn unmap(at: *mut u8, layout: Layout) {
        // SAFETY: the caller mapped it, and uses it no more.
        unsafe { munmap(at.cast(), layout.size()) };
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(miri))))]
mod lazy {
    pub(super) use std::alloc::{alloc_zeroed as map, dealloc as unmap};
}

/// RAM, descriptors and a [`Memory`]; booted. Drop it when no thread works on it any more and nothing
/// that was allocated on it is left.
#[derive(Debug)]
pub struct HostMachine {
    memory: *mut Memory,
    ram: Area,
    map: Area,
    harts: usize,
}

// SAFETY: `Memory` may be used by all; the areas are only freed.
unsafe impl Send for HostMachine {}
// SAFETY: as above.
unsafe impl Sync for HostMachine {}

impl HostMachine {
    /// A machine with `ram_bytes` from [`RAM_BASE`] on, and `harts` harts; this thread is its hart 0.
    ///
    /// # Panics
    /// The host has not that much memory. What is not touched costs nothing.
    pub fn new(ram_bytes: usize, harts: usize) -> Self {
        Self::with_ram(&[(RAM_BASE, ram_bytes as u64)], harts, BootOptions::default())
    }

    /// A machine with these ranges of RAM, at [`RAM_BASE`] or above and ascending.
    ///
    /// # Panics
    /// As [`HostMachine::new`].
    pub fn with_ram(ranges: &[(PhysAddr, u64)], harts: usize, options: BootOptions) -> Self {
        let device = options.device.map(|range| range.1.phys());
        let end = ranges.iter().map(|range| range.0 + range.1).chain(device).max().unwrap_or(RAM_BASE);
        let bytes = end - RAM_BASE;
        let sections = bytes.div_ceil(SECTION_SIZE) as usize;
        let map_bytes = sections * PAGES_PER_SECTION as usize * size_of::<Page>();
        let spare = SPARE.lock().map(|mut spare| spare.pop()).unwrap_or(None);
        let machine = Self {
            memory: spare.map_or_else(|| Box::into_raw(Box::new(Memory::new())), |spare| spare.0),
            ram: Area::new(bytes as usize, Order::MAX.bytes()),
            // As a section's descriptors are on RISC-V: aligned to their size.
            map: Area::new(map_bytes, PAGES_PER_SECTION as usize * size_of::<Page>()),
            harts,
        };
        // SAFETY: nobody else has it: it is new, or of a machine that is gone.
        unsafe { machine.memory.write(Memory::new()) };
        machine.enter(0);
        let mut early = EarlyMemory::new();
        for &(start, bytes) in ranges {
            early.add_ram(start, bytes);
        }
        memory().boot(early, options, harts, &mut |_, _, _| Ok(())).expect("descriptors need no RAM here");
        memory().allow_sleep();
        machine
    }

    /// Makes this thread hart `hart` of the machine.
    pub fn enter(&self, hart: usize) {
        assert!(hart < self.harts, "hart {hart} of {}", self.harts);
        host::enter(self.place(), hart);
        MEMORY.set(self.memory);
        HART.set(memory().hart(hart));
        memory().this_hart_arrives();
    }

    /// The machine as the seam to the hardware knows it. To change `fences`, enter the place again after
    /// [`HostMachine::enter`].
    pub fn place(&self) -> Place {
        let first = (RAM_BASE.pfn().get() as usize) * size_of::<Page>();
        Place {
            ram: self.ram.start.as_ptr().wrapping_sub(RAM_BASE.get() as usize),
            vmemmap: self.map.start.as_ptr().wrapping_sub(first),
            fences: None,
        }
    }

    /// How many harts it has.
    pub fn harts(&self) -> usize {
        self.harts
    }

    /// Gives the lists of all harts back to the zones. No other thread works on the machine meanwhile.
    pub fn drain_still(&mut self) {
        for hart in 0..self.harts {
            self.enter(hart);
            crate::page_alloc::drain_pcp();
        }
        self.enter(0);
    }
}

impl Drop for HostMachine {
    fn drop(&mut self) {
        if std::ptr::eq(MEMORY.get(), self.memory) {
            MEMORY.set(null());
            HART.set(&raw const NOWHERE);
        }
        if let Ok(mut spare) = SPARE.lock() {
            spare.push(Spare(self.memory));
        }
    }
}
