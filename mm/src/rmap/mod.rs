//! From pages to who maps them: page tables with what is counted of them, the mappings of a file, those of a
//! family of forked address spaces, and how they let go of pages (Linux: `mm/rmap.c`, `i_mmap` of `mm/mmap.c`,
//! `zap_pte_range`).

mod anon_vma;
mod chain;
mod core;
mod imap;
mod interval;
mod map_page;
mod validate;
mod walk;
mod zap;

pub use self::core::{PageKind, SpaceCore, Usage};
pub(crate) use anon_vma::{AnonRef, Family};
#[cfg(test)]
pub(crate) use chain::ChainInfo;
pub(crate) use chain::{AnonChain, AnonId};
pub(crate) use imap::{FileMaps, FileMapsGuard, Link, NoLink, Place, Promise, SpareLink, new_link};
pub(crate) use map_page::{copy_page, map_page, unmap_page};
pub(crate) use validate::validate_walks;
pub use walk::{RmapVisit, rmap_walk};
pub(crate) use zap::{Which, ZapPages, zap_range};
