//! The seam between Rux and the machine it runs on.
//!
//! Two halves. The *hot* half ([`Hot`], reached as [`Hw`]) is inlined and selected by target: the
//! real RISC-V hart on bare metal, a thread of the test process elsewhere. It is one type alias, so
//! that nothing above is generic over the machine. The *cold* half ([`cold`]) is a table of function
//! pointers that the kernel, or the simulator, registers once.
//!
//! Addresses are bare integers here and only here: the newtypes are the first room of `rux-mm`.

#![cfg_attr(target_os = "none", no_std)]

pub mod cold;
mod guard;
mod mask;
mod thread;

#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(target_os = "none")]
pub mod riscv;

pub use guard::{IrqGuard, PreemptGuard};
pub use mask::{AtomicHartMask, HartMask};
pub use thread::{HeldLock, MAX_HELD_LOCKS, Scope, ThreadInfo, set_hart_local};

/// The machine that this build runs on.
#[cfg(not(target_os = "none"))]
pub type Hw = host::Host;
/// The machine that this build runs on.
#[cfg(target_os = "none")]
pub type Hw = riscv::Riscv;

/// Bytes of a base page, on every paging mode of RISC-V.
pub const PAGE_SIZE: usize = 4096;

/// The largest number of harts that Rux drives; one bit each in a [`HartMask`]. Few for Miri, which looks at all that
/// a reference reaches each time it is made.
pub const MAX_HARTS: usize = if cfg!(miri) { 4 } else { 64 };

/// Whether interrupts were on, as the machine puts it.
#[derive(Clone, Copy, Debug)]
pub struct IrqState(usize);

/// What `mm` asks of the hardware on its hot paths. All of it is inlined.
pub trait Hot {
    /// The descriptor of the running thread. Never moves while the thread lives.
    fn thread() -> &'static ThreadInfo;

    /// Masks interrupts on this hart; says whether they were on.
    fn irq_disable() -> bool;

    /// Unmasks interrupts on this hart.
    fn irq_enable();

    /// Masks interrupts as [`Hot::irq_disable`] does; what it returns is for [`Hot::irq_restore`].
    fn irq_save() -> IrqState;

    /// Takes [`Hot::irq_save`] back: unmasks interrupts if they were on. No branch.
    fn irq_restore(state: IrqState);

    /// Whether interrupts are on.
    fn irqs_on() -> bool;

    /// The kernel's address of the byte at physical address `phys`.
    fn phys_to_virt(phys: u64) -> *mut u8;

    /// The inverse of [`Hot::phys_to_virt`].
    fn virt_to_phys(virt: *const u8) -> u64;

    /// Address of the array of page descriptors, indexed by frame number. Not all of it is mapped.
    fn vmemmap() -> *mut u8;

    /// Zeroes one page.
    ///
    /// # Safety
    /// `page` is page-aligned, mapped, and nobody else uses it.
    unsafe fn clear_page(page: *mut u8);

    /// Copies one page.
    ///
    /// # Safety
    /// Both are page-aligned and mapped, do not overlap, and nobody writes to either meanwhile.
    unsafe fn copy_page(dst: *mut u8, src: *const u8);

    /// Drops this hart's leaf translation of `virt` in address space `asid`.
    fn fence_page(virt: u64, asid: u16);

    /// Drops all of this hart's translations of address space `asid`, cached tables included.
    fn fence_asid(asid: u16);

    /// Drops all of this hart's translations.
    fn fence_all();

    /// Makes this hart fetch instructions anew (`fence.i`).
    fn fence_instructions();

    /// The root table's frame and the address space that this hart translates with, as in `satp`.
    fn satp() -> u64;

    /// Switches this hart to another root table. Fences nothing.
    ///
    /// # Safety
    /// The tables map the kernel as every address space does.
    unsafe fn set_satp(satp: u64);

    /// Tells the hart that it waits in a loop.
    fn relax();
}

impl<T: Hot + ?Sized> HotExt for T {}

/// What follows from [`Hot`] alone.
pub trait HotExt: Hot {
    /// This hart's index, below [`MAX_HARTS`]. Steady only while pre-emption or interrupts are off.
    #[inline(always)]
    fn hart() -> usize {
        Self::thread().hart()
    }

    /// The running thread's allocation scope.
    #[inline(always)]
    fn scope() -> Scope {
        // SAFETY: the word is written by its own thread only, and this is it: a plain load, which the
        // compiler can make part of a comparison, does.
        Scope(unsafe { *Self::thread().scope.as_ptr() })
    }
}
