//! Mappings: a range of user addresses, its flags, and what is behind it (Linux: `struct
//! vm_area_struct`, `mm/vma.c`).
//!
//! A [`Vma`] is changed only under its address space's `mmap_lock` for writing and its own lock, by the operations
//! of `space`; the rules of merging and splitting are here, and so is the store, [`VmaTree`].

mod cell;
mod file;
mod flags;
mod merge;
mod reader;
mod removed;
mod special;
mod tree;

pub use file::{FileMemory, VmFile};
pub use flags::VmFlags;
pub use special::SpecialMapping;

pub(crate) use cell::VmaBox;
pub(crate) use merge::{Attributes, Merge, group_of_neighbour};
pub(crate) use reader::{VmaGuard, VmaReaders};
pub(crate) use removed::RemovedVmas;
pub(crate) use tree::VmaTree;

use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::filemap::Mapping;
use crate::rmap::{AnonChain, Place};
use crate::slab::KArc;
use crate::space::STACK_GUARD_GAP;

/// What a mapping shows.
#[derive(Clone)]
pub enum Backing {
    /// Private memory of nobody else.
    Anonymous,
    /// A file, or shared anonymous memory, by way of its page cache.
    File(KArc<dyn VmFile>),
    /// `/dev/zero`, private: anonymous memory with the name of a file.
    Zero(KArc<dyn VmFile>),
    /// Frames that the kernel gave (`[vdso]`).
    Special(KArc<SpecialMapping>),
}

impl Backing {
    /// Whether both are the same file, the same frames, or both anonymous.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::File(a), Self::File(b)) | (Self::Zero(a), Self::Zero(b)) => KArc::ptr_eq(a, b),
            (Self::Special(a), Self::Special(b)) => KArc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The page cache behind it.
    pub fn mapping(&self) -> Option<&KArc<Mapping>> {
        let Self::File(file) = self else { return None };
        match file.memory() {
            FileMemory::Cache(mapping) => Some(mapping),
            FileMemory::None | FileMemory::Zero => None,
        }
    }
}

/// One mapping. What faults read is in the first line of 64 bytes, and each of them writes to the lock behind it.
#[repr(C)]
pub struct Vma {
    pub(crate) range: VirtRange,
    pub(crate) flags: VmFlags,
    /// Page number in the file of the first page; of an anonymous mapping, the page number of the
    /// address at which it was made, which stays with it when `mremap` moves it.
    pub(crate) pgoff: u64,
    pub(crate) backing: Backing,
    pub(crate) anon: AnonChain,
    /// The next of a list of mappings that were taken out.
    next: Option<VmaBox>,
}

impl Vma {
    pub(crate) const fn new(range: VirtRange, flags: VmFlags, pgoff: u64, backing: Backing) -> Self {
        Self { range, flags, pgoff, backing, anon: AnonChain::new(), next: None }
    }

    /// The addresses; both ends page-aligned, not empty.
    #[inline]
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// The first address.
    #[inline]
    pub const fn start(&self) -> VirtAddr {
        self.range.start
    }

    /// One past the last address.
    #[inline]
    pub const fn end(&self) -> VirtAddr {
        self.range.end
    }

    /// How many pages.
    #[inline]
    pub const fn pages(&self) -> u64 {
        self.range.pages()
    }

    /// The flags.
    #[inline]
    pub const fn flags(&self) -> VmFlags {
        self.flags
    }

    /// Page number in the file of the first page.
    #[inline]
    pub const fn pgoff(&self) -> u64 {
        self.pgoff
    }

    /// Which pages it shows, and where.
    #[inline]
    pub(crate) const fn place(&self) -> Place {
        Place { range: self.range, pgoff: self.pgoff }
    }

    /// What is behind it.
    #[inline]
    pub const fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The file, if there is one; shared anonymous memory has one too.
    pub fn file(&self) -> Option<&KArc<dyn VmFile>> {
        match &self.backing {
            Backing::File(file) | Backing::Zero(file) => Some(file),
            Backing::Anonymous | Backing::Special(_) => None,
        }
    }

    /// The page cache behind it.
    #[inline]
    pub fn mapping(&self) -> Option<&KArc<Mapping>> {
        self.backing.mapping()
    }

    /// Whether its pages have no file (Linux: `vma_is_anonymous`).
    #[inline]
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous | Backing::Zero(_))
    }

    /// The number, in the file, of the page at `addr`, which lies in the mapping (Linux:
    /// `linear_page_index`).
    #[inline]
    pub fn page_index(&self, addr: VirtAddr) -> u64 {
        self.pgoff.wrapping_add((addr - self.range.start) >> PAGE_SHIFT)
    }

    /// The lowest address that others keep away from (Linux: `vm_start_gap`).
    #[inline]
    pub fn start_with_gap(&self) -> VirtAddr {
        if self.flags.contains(VmFlags::GROWSDOWN) {
            self.range.start.checked_sub(STACK_GUARD_GAP).unwrap_or(VirtAddr::ZERO)
        } else {
            self.range.start
        }
    }
}
