//! Rux: a RISC-V 64 kernel that runs unmodified Linux programs.
//!
//! The rooms, from the hardware up: `boot` (entry, early tables, memory), `dt` (device tree), `sbi`,
//! `hart` (what each hart keeps), `trap`, `time`, `ipi`, `task` and `sched` (tasks, run queues),
//! `wait`, `park`, `uaccess`, `console`, `klog`, `panic`, `power`; above them `process`, `exec`,
//! `signal`, `futex`, `syscall` and `fs`. No memory policy lives here: that is `rux-mm`.

#![no_std]
#![no_main]

pub mod boot;
pub mod cmdline;
pub mod console;
pub mod dt;
pub mod errno;
pub mod exec;
pub mod fpu;
pub mod fs;
pub mod futex;
pub mod hart;
pub mod heap;
pub mod ipi;
pub mod klog;
pub mod panic;
pub mod park;
pub mod plic;
pub mod power;
pub mod process;
pub mod random;
pub mod sbi;
pub mod sched;
mod selftest;
pub mod signal;
mod string;
pub mod symbols;
pub mod syscall;
pub mod task;
pub mod time;
pub mod timers;
pub mod trap;
pub mod uaccess;
pub mod vdso;
mod virtio;
pub mod wait;
