//! The vDSO: a small shared object that the kernel maps into every program (Linux:
//! `arch/riscv/kernel/vdso/`, `lib/vdso/`).
//!
//! It is where signal handlers return to, as RISC-V has no `SA_RESTORER`, and it tells the time without a
//! system call. The ELF file is laid out by hand in the assembly below, so that nothing but the compiler
//! is needed to make it. Its one page also holds what the clocks need, which the kernel alone can write.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release};

use rux_mm::addr::{Order, PAGE_SIZE, VirtAddr};
use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::page_alloc::alloc_folio;
use rux_mm::slab::{KArc, KVec};
use rux_mm::space::Space;
use rux_mm::sync::{IrqSpinLock, Rank};
use rux_mm::vma::SpecialMapping;

use crate::errno::Result;
use crate::process;
use crate::time;

/// Where the clocks' data lies in the page.
const CLOCK_OFFSET: usize = 0xfc0;

/// What the clocks need, as the assembly knows it.
#[repr(C)]
struct Clock {
    /// Odd while the rest changes.
    sequence: AtomicU32,
    unused: u32,
    /// Nanoseconds of one tick of `time`, as a fraction of 2^32.
    nanos_per_tick: AtomicU64,
    /// What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC.
    realtime: AtomicU64,
}

/// The mapping that all programs share, and its page.
struct Image {
    mapping: KArc<SpecialMapping>,
    clock: &'static Clock,
}

static IMAGE: spin::Once<Image> = spin::Once::new();
/// Writers of the clocks' data.
static WRITER: IrqSpinLock<()> = IrqSpinLock::new(Rank::Timer, ());

unsafe extern "C" {
    static _vdso_start: [u8; PAGE_SIZE];
    static _vdso_sigreturn: u8;
}

/// Makes the page. Once, at boot, when the clocks run.
///
/// # Errors
/// No memory for it.
pub fn init() -> core::result::Result<(), AllocError> {
    let folio = alloc_folio(Gfp::KERNEL | Gfp::ZERO, Order::ZERO)?;
    let page = folio.as_ptr();
    // SAFETY: the image below is a page long, and the folio is a page that is only ours.
    unsafe { page.copy_from_nonoverlapping((&raw const _vdso_start).cast(), PAGE_SIZE) };
    // SAFETY: the page stays: the mapping that owns it is never dropped. The data is in it, aligned, and zero
    // is valid for it.
    let clock = unsafe { &*page.add(CLOCK_OFFSET).cast::<Clock>() };
    clock.nanos_per_tick.store(time::nanos_per_tick(), Relaxed);
    clock.realtime.store(time::realtime_offset(), Relaxed);
    let mut folios = KVec::new();
    folios.push(folio, Gfp::KERNEL)?;
    let mapping = KArc::new(SpecialMapping::new("[vdso]", folios), Gfp::KERNEL)?;
    IMAGE.call_once(|| Image { mapping, clock });
    Ok(())
}

/// Tells the programs' clocks that CLOCK_REALTIME was set.
pub fn update_realtime() {
    let Some(image) = IMAGE.get() else { return };
    let _writer = WRITER.lock();
    let clock = image.clock;
    let sequence = clock.sequence.load(Relaxed);
    clock.sequence.store(sequence.wrapping_add(1), Relaxed);
    core::sync::atomic::fence(Release);
    clock.realtime.store(time::realtime_offset(), Relaxed);
    clock.sequence.store(sequence.wrapping_add(2), Release);
}

/// Maps it into an address space; returns where its ELF header is (`AT_SYSINFO_EHDR`), 0 before [`init`].
///
/// # Errors
/// No memory, no room.
pub fn map(space: &Space) -> Result<VirtAddr> {
    let Some(image) = IMAGE.get() else { return Ok(VirtAddr::new(0)) };
    let prot = linux_raw_sys::general::PROT_READ | linux_raw_sys::general::PROT_EXEC;
    Ok(space.map_special(image.mapping.clone(), prot)?)
}

/// Where a handler of the running program returns to; `None` when the program has no vDSO.
pub fn sigreturn_address() -> Option<VirtAddr> {
    let base = process::current().ok()?.process().vdso.load(Relaxed);
    let offset = (&raw const _vdso_sigreturn).addr() - (&raw const _vdso_start).addr();
    (base != 0).then(|| VirtAddr::new(base + offset as u64))
}

global_asm!(
    r#"
    .pushsection .rodata.vdso, "a"
    .option push
    .option norvc
    .option norelax
    .option arch, +m
    .balign 4096
    .globl _vdso_start
    .globl _vdso_sigreturn
_vdso_start:
    // Elf64_Ehdr: ELF64, little endian, version 1, shared object, RISC-V (243), flags RVC | double float.
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    .half 3, 243
    .word 1
    .dword 0
    .dword 9f - _vdso_start
    .dword 0
    .word 5
    .half 64, 56, 2, 64, 0, 0

    // Elf64_Phdr: all of it, readable and executable; the dynamic section.
9:  .word 1, 5
    .dword 0, 0, 0, 4096, 4096, 4096
    .word 2, 4
    .dword 8f - _vdso_start, 8f - _vdso_start, 8f - _vdso_start
    .dword 7f - 8f, 7f - 8f, 8

    // Elf64_Dyn: SONAME, HASH, STRTAB, SYMTAB, STRSZ, SYMENT, VERSYM, VERDEF, VERDEFNUM, NULL.
8:  .dword 14, .Lvdso_soname - .Lvdso_strings
    .dword 4, .Lvdso_hash - _vdso_start
    .dword 5, .Lvdso_strings - _vdso_start
    .dword 6, .Lvdso_symbols - _vdso_start
    .dword 10, .Lvdso_strings_end - .Lvdso_strings
    .dword 11, 24
    .dword 0x6ffffff0, .Lvdso_versym - _vdso_start
    .dword 0x6ffffffc, .Lvdso_verdef - _vdso_start
    .dword 0x6ffffffd, 2
    .dword 0, 0
7:

    // Elf64_Sym: name, type FUNC and binding GLOBAL, section (any that is not 0), value, size.
    .macro vdso_symbol name
    .word .Lvdso_name_\name - .Lvdso_strings
    .byte 0x12, 0
    .half 1
    .dword .Lvdso_\name - _vdso_start
    .dword .Lvdso_end_\name - .Lvdso_\name
    .endm
.Lvdso_symbols:
    .word 0
    .byte 0, 0
    .half 0
    .dword 0, 0
    vdso_symbol rt_sigreturn
    vdso_symbol clock_gettime
    vdso_symbol gettimeofday
    vdso_symbol clock_getres
    vdso_symbol getcpu
    vdso_symbol flush_icache
    vdso_symbol riscv_hwprobe

    // The hash table: one bucket, in which all symbols are chained.
.Lvdso_hash:
    .word 1, 8
    .word 1
    .word 0, 2, 3, 4, 5, 6, 7, 0

    // Elf64_Versym: all of version 2.
.Lvdso_versym:
    .half 0, 2, 2, 2, 2, 2, 2, 2

    // Elf64_Verdef and Elf64_Verdaux: 1 is the object itself, 2 is LINUX_4.15.
    .balign 4
.Lvdso_verdef:
    .half 1, 1, 1, 1
    .word {soname_hash}, 20, 28
    .word .Lvdso_soname - .Lvdso_strings, 0
    .half 1, 0, 2, 1
    .word {version_hash}, 20, 0
    .word .Lvdso_version - .Lvdso_strings, 0

    .macro vdso_name name
.Lvdso_name_\name:
    .asciz "__vdso_\name"
    .endm
.Lvdso_strings:
    .byte 0
.Lvdso_soname:
    .asciz "linux-vdso.so.1"
.Lvdso_version:
    .asciz "LINUX_4.15"
    vdso_name rt_sigreturn
    vdso_name clock_gettime
    vdso_name gettimeofday
    vdso_name clock_getres
    vdso_name getcpu
    vdso_name flush_icache
    vdso_name riscv_hwprobe
.Lvdso_strings_end:

    // Unwinders know a signal's frame by these two very instructions.
    .balign 16
_vdso_sigreturn:
.Lvdso_rt_sigreturn:
    li a7, 139
    ecall
.Lvdso_end_rt_sigreturn:

    // t4 = nanoseconds since boot, t3 = what CLOCK_REALTIME is ahead. Returns to t5.
    .balign 4
.Lvdso_read_clock:
1:  auipc t6, 0
    // The data is at {clock} from the start of the page, which holds all of this.
    srli t6, t6, 12
    slli t6, t6, 12
    li t0, {clock}
    add t6, t6, t0
2:  lw t0, 0(t6)
    andi t1, t0, 1
    bnez t1, 2b
    fence r, r
    rdtime t1
    ld t2, 8(t6)
    ld t3, 16(t6)
    fence r, r
    lw t4, 0(t6)
    bne t4, t0, 2b
    mulhu t4, t1, t2
    mul t1, t1, t2
    slli t4, t4, 32
    srli t1, t1, 32
    or t4, t4, t1
    jr t5

    // int clock_gettime(clockid_t a0, struct timespec *a1)
    .balign 4
.Lvdso_clock_gettime:
    // REALTIME 0, MONOTONIC 1, MONOTONIC_RAW 4, both COARSE 5 and 6, BOOTTIME 7.
    li t0, 7
    bgtu a0, t0, 3f
    li t1, 0xf3
    srl t1, t1, a0
    andi t1, t1, 1
    beqz t1, 3f
    jal t5, .Lvdso_read_clock
    beqz a0, 1f
    li t0, 5
    bne a0, t0, 2f
1:  add t4, t4, t3
2:  li t0, 1000000000
    divu t1, t4, t0
    remu t2, t4, t0
    sd t1, 0(a1)
    sd t2, 8(a1)
    li a0, 0
    ret
3:  li a7, 113
    ecall
    ret
.Lvdso_end_clock_gettime:

    // int gettimeofday(struct timeval *a0, struct timezone *a1)
    .balign 4
.Lvdso_gettimeofday:
    beqz a0, 1f
    bnez a1, 1f
    jal t5, .Lvdso_read_clock
    add t4, t4, t3
    li t0, 1000000000
    divu t1, t4, t0
    remu t2, t4, t0
    li t0, 1000
    divu t2, t2, t0
    sd t1, 0(a0)
    sd t2, 8(a0)
    li a0, 0
    ret
1:  li a7, 169
    ecall
    ret
.Lvdso_end_gettimeofday:

    // int clock_getres(clockid_t a0, struct timespec *a1)
    .balign 4
.Lvdso_clock_getres:
    li a7, 114
    ecall
    ret
.Lvdso_end_clock_getres:

    .balign 4
.Lvdso_getcpu:
    li a7, 168
    ecall
    ret
.Lvdso_end_getcpu:

    .balign 4
.Lvdso_flush_icache:
    li a7, 259
    ecall
    ret
.Lvdso_end_flush_icache:

    .balign 4
.Lvdso_riscv_hwprobe:
    li a7, 258
    ecall
    ret
.Lvdso_end_riscv_hwprobe:

    // An error if the code reaches into the data.
    .org _vdso_start + {clock}
    .balign 4096
    .option pop
    .popsection
    "#,
    clock = const CLOCK_OFFSET,
    soname_hash = const elf_hash(b"linux-vdso.so.1"),
    version_hash = const elf_hash(b"LINUX_4.15"),
);

/// The hash of a name in an ELF file (System V ABI, "Hash Table").
const fn elf_hash(name: &[u8]) -> u32 {
    let mut hash: u32 = 0;
    let mut i = 0;
    while i < name.len() {
        hash = (hash << 4).wrapping_add(name[i] as u32);
        let high = hash & 0xf000_0000;
        hash ^= high >> 24;
        hash &= !high;
        i += 1;
    }
    hash
}
