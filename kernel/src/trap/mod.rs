//! Traps: from user mode and from the kernel (Linux: `arch/riscv/kernel/traps.c`, `entry.S`).

mod frame;

pub use frame::TrapFrame;
