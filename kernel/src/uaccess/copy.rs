//! The instructions that touch user memory, and where to go on when one faults
//! (Linux: `arch/riscv/lib/uaccess.S`, `arch/riscv/mm/extable.c`).

use core::arch::global_asm;

unsafe extern "C" {
    /// Copies `bytes` from `src` to `dst`, one of which is in user space; returns how many are left
    /// when a byte could not be reached.
    ///
    /// # Safety
    /// The kernel's side is valid for `bytes`; the other side is in user space throughout.
    pub(super) fn _user_copy(dst: *mut u8, src: *const u8, bytes: usize) -> usize;
    /// Zeroes `bytes` from `dst` on in user space; returns how many are left.
    ///
    /// # Safety
    /// The range is in user space.
    pub(super) fn _user_clear(dst: *mut u8, bytes: usize) -> usize;
    /// Compares the word at `addr` with `old` and stores `new` if it is equal; what was there goes to `found`.
    /// Returns 0, or 1 when the word could not be reached.
    ///
    /// # Safety
    /// `addr` is aligned and in user space; `found` is valid.
    pub(super) fn _user_cmpxchg(addr: *mut u32, old: u32, new: u32, found: *mut u32) -> usize;
    static _extable_start: Entry;
    static _extable_end: Entry;
}

/// An instruction that may fault, and where to go on then; both as distances from their own place.
#[repr(C)]
struct Entry {
    at: i32,
    fixup: i32,
}

/// Where to go on after a fault of the kernel's instruction at `pc`, if it is one that may.
pub(crate) fn fixup(pc: usize) -> Option<usize> {
    // SAFETY: the linker script bounds the table, which the assembly below fills.
    let table = unsafe {
        let (start, end) = (&raw const _extable_start, &raw const _extable_end);
        core::slice::from_raw_parts(start, end.offset_from_unsigned(start))
    };
    table.iter().find_map(|entry| {
        let at = (&raw const entry.at).addr().wrapping_add_signed(entry.at as isize);
        let fixup = (&raw const entry.fixup).addr().wrapping_add_signed(entry.fixup as isize);
        (at == pc).then_some(fixup)
    })
}

global_asm!(
    r#"
    // One instruction that may fault; then it goes on at \to.
    .macro try to, insn:vararg
90:
    \insn
    .pushsection .extable, "a"
    .balign 4
    .4byte 90b - .
    .4byte \to - .
    .popsection
    .endm

    .text
    .balign 4
    .globl _user_copy
_user_copy:
    li t6, 1 << 18
    csrs sstatus, t6
    // Words, if both sides are aligned alike; a fault inside a block starts it over by bytes.
    xor t0, a0, a1
    andi t0, t0, 7
    bnez t0, 3f
    li t1, 64
    bltu a2, t1, 3f
1:
    andi t0, a0, 7
    beqz t0, 2f
    try 9f, lb t2, 0(a1)
    try 9f, sb t2, 0(a0)
    addi a0, a0, 1
    addi a1, a1, 1
    addi a2, a2, -1
    j 1b
2:
    bltu a2, t1, 4f
    try 3f, ld a3, 0(a1)
    try 3f, ld a4, 8(a1)
    try 3f, ld a5, 16(a1)
    try 3f, ld a6, 24(a1)
    try 3f, ld a7, 32(a1)
    try 3f, ld t2, 40(a1)
    try 3f, ld t3, 48(a1)
    try 3f, ld t4, 56(a1)
    try 3f, sd a3, 0(a0)
    try 3f, sd a4, 8(a0)
    try 3f, sd a5, 16(a0)
    try 3f, sd a6, 24(a0)
    try 3f, sd a7, 32(a0)
    try 3f, sd t2, 40(a0)
    try 3f, sd t3, 48(a0)
    try 3f, sd t4, 56(a0)
    addi a0, a0, 64
    addi a1, a1, 64
    addi a2, a2, -64
    j 2b
4:
    li t1, 8
5:
    bltu a2, t1, 3f
    try 3f, ld t2, 0(a1)
    try 3f, sd t2, 0(a0)
    addi a0, a0, 8
    addi a1, a1, 8
    addi a2, a2, -8
    j 5b
3:
    beqz a2, 9f
    try 9f, lb t2, 0(a1)
    try 9f, sb t2, 0(a0)
    addi a0, a0, 1
    addi a1, a1, 1
    addi a2, a2, -1
    j 3b
9:
    csrc sstatus, t6
    mv a0, a2
    ret

    .balign 4
    .globl _user_clear
_user_clear:
    li t6, 1 << 18
    csrs sstatus, t6
1:
    andi t0, a0, 7
    beqz t0, 2f
    beqz a1, 9f
    try 9f, sb zero, 0(a0)
    addi a0, a0, 1
    addi a1, a1, -1
    j 1b
2:
    li t1, 32
3:
    bltu a1, t1, 4f
    try 4f, sd zero, 0(a0)
    try 4f, sd zero, 8(a0)
    try 4f, sd zero, 16(a0)
    try 4f, sd zero, 24(a0)
    addi a0, a0, 32
    addi a1, a1, -32
    j 3b
4:
    beqz a1, 9f
    try 9f, sb zero, 0(a0)
    addi a0, a0, 1
    addi a1, a1, -1
    j 4b
9:
    csrc sstatus, t6
    mv a0, a1
    ret

    .balign 4
    .globl _user_cmpxchg
_user_cmpxchg:
    li t6, 1 << 18
    csrs sstatus, t6
    sext.w a1, a1
    sext.w a2, a2
    .option push
    .option arch, +a
1:
    try 8f, lr.w.aqrl t0, (a0)
    bne t0, a1, 2f
    try 8f, sc.w.rl t1, a2, (a0)
    bnez t1, 1b
    fence rw, rw
    .option pop
2:
    csrc sstatus, t6
    sw t0, 0(a3)
    li a0, 0
    ret
8:
    csrc sstatus, t6
    li a0, 1
    ret
    "#
);
