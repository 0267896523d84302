//! From pages to who maps them: page tables with what is counted of them, the mappings of a file,
//! and how both let go of pages (Linux: `mm/rmap.c`, `i_mmap` of `mm/mmap.c`, `zap_pte_range`).

mod core;
mod imap;
mod interval;
mod map_page;
mod zap;

pub use self::core::{PageKind, SpaceCore, Usage};
pub(crate) use imap::{FileMaps, FileMapsGuard, Link, NoLink, Place, Promise, SpareLink, new_link};
pub(crate) use map_page::{copy_page, map_page, unmap_page};
pub(crate) use zap::{Which, ZapPages, zap_range};
