//! A memory manager of Linux's class, for RISC-V 64.
//!
//! No hardware, no tasks and no files are in here: the machine is `rux_machine::Hw`, and what has to
//! be asked of the kernel around goes through `rux_machine::cold`. The same source runs in the kernel
//! and on the host, where `rux-sim` gives it a machine in software.
//!
//! The rooms stand on floors; a room uses only rooms on floors below its own:
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`addr`], [`error`], [`gfp`], [`sync`] |
//! | 4 | [`paging`] |

#![cfg_attr(target_os = "none", no_std)]

pub mod addr;
pub mod error;
pub mod gfp;
pub mod paging;
pub mod sync;
