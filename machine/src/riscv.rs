//! A RISC-V hart in supervisor mode.
//!
//! Sources: the RISC-V Privileged specification (`satp`, `sstatus`, SFENCE.VMA) and the Zicboz
//! chapter of the unprivileged one. `tp` holds the running thread's [`ThreadInfo`] whenever the
//! kernel runs; the trap entry sees to that.

use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{Hot, IrqState, PAGE_SIZE, ThreadInfo};

/// The kernel's address of physical address 0. The lowest address of the kernel's half under Sv39, so
/// that it is the same in every paging mode.
pub const DIRECT_MAP: u64 = 0xffff_ffc0_0000_0000;
/// Bytes of physical address space that the direct map has room for.
pub const DIRECT_MAP_SIZE: u64 = 128 << 30;
/// Where the descriptor of frame 0 is.
pub const VMEMMAP: u64 = 0xffff_ffe0_0000_0000;
/// Bytes kept for descriptors.
pub const VMEMMAP_SIZE: u64 = 16 << 30;
/// Where device registers and the kernel's own mappings are.
pub const VMALLOC: u64 = 0xffff_ffe8_0000_0000;
/// Bytes kept for [`VMALLOC`].
pub const VMALLOC_SIZE: u64 = 32 << 30;
/// Where the kernel's image is linked.
pub const KERNEL_IMAGE: u64 = 0xffff_ffff_8000_0000;

const SSTATUS_SIE: usize = 1 << 1;

/// How many blocks [`Hot::clear_page`] clears between two looks whether it is through.
const ZERO_UNROLL: usize = 8;

/// Bytes that one `cbo.zero` clears, or 0 where the harts lack Zicboz. Set once, at boot.
static ZERO_BLOCK: AtomicUsize = AtomicUsize::new(0);

/// Tells how many bytes one `cbo.zero` clears (`riscv,cboz-block-size` of the device tree).
/// Ignored unless a power of two of which a page has as many as are cleared at a time.
pub fn set_zero_block(bytes: usize) {
    if bytes.is_power_of_two() && (8..=PAGE_SIZE / ZERO_UNROLL).contains(&bytes) {
        ZERO_BLOCK.store(bytes, Relaxed);
    }
}

/// The RISC-V hart that this code runs on. See the head of the room.
#[derive(Debug)]
pub enum Riscv {}

impl Hot for Riscv {
    #[inline(always)]
    fn thread() -> &'static ThreadInfo {
        let thread: *const ThreadInfo;
        // SAFETY: reads a register. Pure: a thread that migrates keeps its `tp`.
        unsafe { asm!("mv {}, tp", out(reg) thread, options(pure, nomem, nostack, preserves_flags)) };
        // SAFETY: `tp` points to the running thread's descriptor while the kernel runs.
        unsafe { &*thread }
    }

    #[inline(always)]
    fn irq_disable() -> bool {
        let old: usize;
        // SAFETY: masking interrupts breaks nothing. Memory is clobbered, so that nothing moves out.
        unsafe { asm!("csrrci {}, sstatus, 2", out(reg) old, options(nostack)) };
        old & SSTATUS_SIE != 0
    }

    #[inline(always)]
    fn irq_enable() {
        // SAFETY: the trap entry is set up before the first guard is dropped.
        unsafe { asm!("csrsi sstatus, 2", options(nostack)) };
    }

    #[inline(always)]
    fn irq_save() -> IrqState {
        let old: usize;
        // SAFETY: as in `irq_disable`.
        unsafe { asm!("csrrci {}, sstatus, 2", out(reg) old, options(nostack)) };
        IrqState(old & SSTATUS_SIE)
    }

    #[inline(always)]
    fn irq_restore(state: IrqState) {
        // SAFETY: as in `irq_enable`; they were on before, or this sets no bit.
        unsafe { asm!("csrs sstatus, {}", in(reg) state.0, options(nostack)) };
    }

    #[inline(always)]
    fn irqs_on() -> bool {
        let now: usize;
        // SAFETY: reads a register.
        unsafe { asm!("csrr {}, sstatus", out(reg) now, options(nomem, nostack)) };
        now & SSTATUS_SIE != 0
    }

    #[inline(always)]
    fn phys_to_virt(phys: u64) -> *mut u8 {
        DIRECT_MAP.wrapping_add(phys) as *mut u8
    }

    #[inline(always)]
    fn virt_to_phys(virt: *const u8) -> u64 {
        (virt as u64).wrapping_sub(DIRECT_MAP)
    }

    #[inline(always)]
    fn vmemmap() -> *mut u8 {
        VMEMMAP as *mut u8
    }

    #[inline]
    unsafe fn clear_page(page: *mut u8) {
        let step = ZERO_BLOCK.load(Relaxed);
        if step == 0 {
            // SAFETY: the caller owns the page.
            return unsafe { page.cast::<[u64; PAGE_SIZE / 8]>().write([0; PAGE_SIZE / 8]) };
        }
        // SAFETY: the caller owns the page; the harts have Zicboz, as `step` is not 0.
        unsafe {
            asm!(
                ".option push",
                ".option arch, +zicboz",
                "2:",
                ".rept {unroll}",
                "cbo.zero ({at})",
                "add {at}, {at}, {step}",
                ".endr",
                "bltu {at}, {end}, 2b",
                ".option pop",
                at = inout(reg) page => _,
                step = in(reg) step,
                end = in(reg) page.wrapping_add(PAGE_SIZE),
                unroll = const ZERO_UNROLL,
                options(nostack),
            );
        }
    }

    #[inline]
    unsafe fn copy_page(dst: *mut u8, src: *const u8) {
        // SAFETY: the caller owns both pages, which do not overlap; both are aligned to 8.
        unsafe {
            asm!(
                "2:",
                ".irp block, 0, 64, 128, 192",
                "ld {a}, \\block + 0({src})",
                "ld {b}, \\block + 8({src})",
                "ld {c}, \\block + 16({src})",
                "ld {d}, \\block + 24({src})",
                "ld {e}, \\block + 32({src})",
                "ld {f}, \\block + 40({src})",
                "ld {g}, \\block + 48({src})",
                "ld {h}, \\block + 56({src})",
                "sd {a}, \\block + 0({dst})",
                "sd {b}, \\block + 8({dst})",
                "sd {c}, \\block + 16({dst})",
                "sd {d}, \\block + 24({dst})",
                "sd {e}, \\block + 32({dst})",
                "sd {f}, \\block + 40({dst})",
                "sd {g}, \\block + 48({dst})",
                "sd {h}, \\block + 56({dst})",
                ".endr",
                "addi {src}, {src}, 256",
                "addi {dst}, {dst}, 256",
                "bltu {src}, {end}, 2b",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                end = in(reg) src.wrapping_add(PAGE_SIZE),
                a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
                e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    fn fence_page(virt: u64, asid: u16) {
        // SAFETY: dropping a translation is always sound.
        unsafe { asm!("sfence.vma {}, {}", in(reg) virt, in(reg) asid as usize, options(nostack)) };
    }

    #[inline(always)]
    fn fence_asid(asid: u16) {
        // SAFETY: dropping translations is always sound.
        unsafe { asm!("sfence.vma x0, {}", in(reg) asid as usize, options(nostack)) };
    }

    #[inline(always)]
    fn fence_all() {
        // SAFETY: dropping translations is always sound.
        unsafe { asm!("sfence.vma", options(nostack)) };
    }

    #[inline(always)]
    fn fence_instructions() {
        // SAFETY: fetching anew is always sound. Every hart of the rva profiles has Zifencei.
        unsafe {
            asm!(".option push", ".option arch, +zifencei", "fence.i", ".option pop", options(nostack))
        };
    }

    #[inline(always)]
    fn satp() -> u64 {
        let satp;
        // SAFETY: reads a register.
        unsafe { asm!("csrr {}, satp", out(reg) satp, options(nomem, nostack)) };
        satp
    }

    #[inline(always)]
    unsafe fn set_satp(satp: u64) {
        // SAFETY: the caller vouches for the tables.
        unsafe { asm!("csrw satp, {}", in(reg) satp, options(nostack)) };
    }

    #[inline(always)]
    fn relax() {
        core::hint::spin_loop();
    }
}
