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
//! | 0 | [`addr`], [`error`], [`gfp`], [`sync`], [`stat`], [`inject`] |
//! | 1 | [`page`], [`memory`], [`early`] |
//! | 2 | [`zone`], `pcp`, [`lru`], [`page_alloc`] |
//! | 3 | [`slab`] |
//! | 4 | [`maple`], [`paging`], [`xarray`] |
//! | 5 | [`vma`], [`rmap`], [`filemap`] |
//! | 6 | [`space`], [`fault`] |

#![cfg_attr(target_os = "none", no_std)]

pub mod addr;
pub mod early;
pub mod error;
pub mod fault;
pub mod filemap;
pub mod gfp;
#[cfg(not(target_os = "none"))]
pub mod host;
pub mod inject;
pub mod lru;
pub mod maple;
pub mod memory;
pub mod page;
pub mod page_alloc;
pub mod paging;
mod pcp;
pub mod rcu;
pub mod rmap;
pub mod slab;
pub mod space;
pub mod stat;
pub mod sync;
pub mod vma;
pub mod xarray;
pub mod zone;

pub use memory::{Memory, memory};
pub use page::{Folio, FolioGuard, Page, PageFlags, PagePtr};
pub use page_alloc::{FolioRef, PageBlock, alloc_folio, alloc_pages};
