//! The part of an address space that outlives its mappings: tables, ASID, and what is counted.
//!
//! A hart that runs a kernel thread goes on translating with the last program's tables; it holds a
//! `KArc<SpaceCore>` meanwhile (Linux: `mm_count`, `mmgrab`). File mappings hold one, too, to find the
//! tables that show a page. Who runs in the address space holds the whole (`mm_users`).

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::page::{Folio, PageFlags};
use crate::paging::PageTables;
use crate::sync::WriteTime;

/// Which of the resident-set counters a page is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageKind {
    /// Of the file's page cache (`RssFile`).
    File,
    /// Private (`RssAnon`).
    Anon,
    /// tmpfs and shared memory (`RssShmem`).
    Shmem,
}

impl PageKind {
    /// The counter of a folio's pages (Linux: `mm_counter`).
    #[inline]
    pub fn of(folio: &Folio) -> Self {
        if folio.is_anon() {
            Self::Anon
        } else if folio.flags().contains(PageFlags::SWAPBACKED) {
            Self::Shmem
        } else {
            Self::File
        }
    }
}

/// Pages of each kind that an address space maps.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// `RssFile`, in pages.
    pub file: u64,
    /// `RssAnon`, in pages.
    pub anon: u64,
    /// `RssShmem`, in pages.
    pub shmem: u64,
}

impl Usage {
    /// All kinds (`VmRSS`), in pages.
    pub const fn total(&self) -> u64 {
        self.file + self.anon + self.shmem
    }
}

/// The next address space's number.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Tables and counters of one address space. See the head of the room.
#[derive(Debug)]
pub struct SpaceCore {
    pub(crate) tables: PageTables,
    /// Larger than that of every address space made before. Never used twice: 2^64 do not run out.
    number: u64,
    /// By [`PageKind`]. Written under different table locks at once, so a sum may be off for a moment.
    rss: [AtomicI64; 3],
    /// The most that `rss` ever was, brought up to date before it shrinks and when it is read.
    high_rss: AtomicU64,
    pub(crate) minor_faults: AtomicU64,
    pub(crate) major_faults: AtomicU64,
    /// Of who has `mmap_lock` for writing: what it locks is locked until it ends.
    pub(crate) write_time: WriteTime,
}

impl SpaceCore {
    /// Tables that map the kernel alone.
    ///
    /// # Errors
    /// No memory for the root.
    pub fn new(gfp: Gfp) -> Result<Self, AllocError> {
        Ok(Self {
            tables: PageTables::new(gfp)?,
            number: NEXT.fetch_add(1, Relaxed),
            rss: [const { AtomicI64::new(0) }; 3],
            high_rss: AtomicU64::new(0),
            minor_faults: AtomicU64::new(0),
            major_faults: AtomicU64::new(0),
            write_time: WriteTime::default(),
        })
    }

    /// Its place among all address spaces in the order of their birth: a child's comes after its parent's.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The tables.
    pub fn tables(&self) -> &PageTables {
        &self.tables
    }

    /// Makes this hart translate with these tables, and no longer with those of `previous` (`None`: the
    /// kernel's own). Pre-emption is off; the caller keeps a reference while the hart uses them
    /// (Linux: `switch_mm`).
    pub fn switch_to(&self, previous: Option<&Self>) {
        self.tables.switch_to(previous.map(|core| &core.tables));
    }

    /// Makes this hart translate with the kernel's own tables, and no longer with these. Pre-emption is
    /// off.
    pub fn leave(&self) {
        self.tables.leave();
    }

    /// Counts `pages` more of a kind; fewer if negative.
    #[inline]
    pub(crate) fn add_rss(&self, kind: PageKind, pages: i64) {
        self.rss[kind as usize].fetch_add(pages, Relaxed);
    }

    /// The pages that it maps.
    pub fn usage(&self) -> Usage {
        let read = |kind: PageKind| self.rss[kind as usize].load(Relaxed).max(0) as u64;
        Usage { file: read(PageKind::File), anon: read(PageKind::Anon), shmem: read(PageKind::Shmem) }
    }

    /// Notes how much is mapped, before it becomes less (Linux: `update_hiwater_rss`).
    pub(crate) fn note_high_rss(&self) {
        self.high_rss.fetch_max(self.usage().total(), Relaxed);
    }

    /// The most pages that were ever mapped (`VmHWM`).
    pub fn high_rss(&self) -> u64 {
        self.high_rss.load(Relaxed).max(self.usage().total())
    }

    /// Faults served without and with I/O.
    pub fn faults(&self) -> (u64, u64) {
        (self.minor_faults.load(Relaxed), self.major_faults.load(Relaxed))
    }
}
