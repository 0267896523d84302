//! The machine as a process sees it: a hart is a thread, memory is what a test gave.
//!
//! Everything is thread-local, so that several machines live in one test process; a thread that
//! works on a machine first says so with [`enter`]. The simulator does that for its harts.

use std::cell::Cell;

mod callers;

pub(crate) use callers::{callers, symbol, who};

use crate::{Hot, IrqState, PAGE_SIZE, ThreadInfo};

/// What one thread knows of the machine it works on.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Host address of physical address 0; RAM need not start there.
    pub ram: *mut u8,
    /// Host address of the descriptor of frame 0; not all of the array need exist.
    pub vmemmap: *mut u8,
    /// The simulator that listens, if there is one.
    pub fences: Option<&'static Fences>,
}

/// Where local fences, and what else the hardware has to do with, go when a simulator listens.
#[derive(Debug)]
pub struct Fences {
    /// See [`Hot::fence_page`].
    pub page: fn(virt: u64, asid: u16),
    /// See [`Hot::fence_asid`].
    pub asid: fn(asid: u16),
    /// See [`Hot::fence_all`].
    pub all: fn(),
    /// What the hart keeps of a value written to `satp`.
    pub satp: fn(satp: u64) -> u64,
    /// See [`Hot::relax`].
    pub relax: fn(),
}

thread_local! {
    static THREAD: ThreadInfo = const { ThreadInfo::new() };
    static PLACE: Cell<Place> = const {
        Cell::new(Place { ram: core::ptr::null_mut(), vmemmap: core::ptr::null_mut(), fences: None })
    };
    static IRQS_ON: Cell<bool> = const { Cell::new(true) };
    static SATP: Cell<u64> = const { Cell::new(0) };
}

/// Makes this thread hart `hart` of the machine at `place`.
pub fn enter(place: Place, hart: usize) {
    PLACE.set(place);
    <Host as Hot>::thread().set_hart(hart);
}

/// The machine that this thread works on.
pub fn place() -> Place {
    PLACE.get()
}

/// The host. See the head of the room.
#[derive(Debug)]
pub enum Host {}

impl Hot for Host {
    #[inline]
    fn thread() -> &'static ThreadInfo {
        // SAFETY: the descriptor lives as long as its thread, as on RISC-V; nobody keeps it longer.
        THREAD.with(|thread| unsafe { &*core::ptr::from_ref(thread) })
    }

    #[inline]
    fn irq_disable() -> bool {
        IRQS_ON.replace(false)
    }

    #[inline]
    fn irq_enable() {
        IRQS_ON.set(true);
    }

    #[inline]
    fn irq_save() -> IrqState {
        IrqState(IRQS_ON.replace(false) as usize)
    }

    #[inline]
    fn irq_restore(state: IrqState) {
        IRQS_ON.set(state.0 != 0);
    }

    #[inline]
    fn irqs_on() -> bool {
        IRQS_ON.get()
    }

    #[inline]
    fn phys_to_virt(phys: u64) -> *mut u8 {
        PLACE.get().ram.wrapping_add(phys as usize)
    }

    #[inline]
    fn virt_to_phys(virt: *const u8) -> u64 {
        (virt as usize).wrapping_sub(PLACE.get().ram as usize) as u64
    }

    #[inline]
    fn vmemmap() -> *mut u8 {
        PLACE.get().vmemmap
    }

    #[inline]
    unsafe fn clear_page(page: *mut u8) {
        // SAFETY: the caller owns the page.
        unsafe { page.write_bytes(0, PAGE_SIZE) }
    }

    #[inline]
    unsafe fn copy_page(dst: *mut u8, src: *const u8) {
        // SAFETY: the caller owns both pages, which do not overlap.
        unsafe { dst.copy_from_nonoverlapping(src, PAGE_SIZE) }
    }

    fn fence_page(virt: u64, asid: u16) {
        if let Some(fences) = PLACE.get().fences {
            (fences.page)(virt, asid)
        }
    }

    fn fence_asid(asid: u16) {
        if let Some(fences) = PLACE.get().fences {
            (fences.asid)(asid)
        }
    }

    fn fence_all() {
        if let Some(fences) = PLACE.get().fences {
            (fences.all)()
        }
    }

    fn fence_instructions() {}

    fn satp() -> u64 {
        SATP.get()
    }

    unsafe fn set_satp(satp: u64) {
        SATP.set(match PLACE.get().fences {
            Some(fences) => (fences.satp)(satp),
            None => satp,
        });
    }

    #[inline]
    fn relax() {
        match PLACE.get().fences {
            Some(fences) => (fences.relax)(),
            None => std::thread::yield_now(),
        }
    }
}
