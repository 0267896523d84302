//! Page tables: entries, typed levels, walks, and what keeps the TLBs true to them.
//!
//! [`PageTables`] are one address space's. Its entries are reached under the lock of the table that they are
//! in ([`PageTables::lock_pte`]), or range-wise by [`Zap`], [`Protect`], [`CopyEntry`] and [`Visit`]. What was
//! valid and is no more goes through a [`Gather`]. [`KernelTables`] are built at boot and shared by all.
//! Linux: `mm/memory.c`, `mm/mmu_gather.c`, `arch/riscv/mm/{init,context,tlbflush}.c`.

mod alloc;
mod asid;
mod context;
mod copy;
mod down;
mod entry;
mod flush;
mod gather;
mod group;
mod kernel;
mod level;
mod state;
mod table;
mod tables;
mod tree;
mod visit;
mod walk;

#[cfg(test)]
mod tests;

pub use context::probe_asids;
pub use copy::{Copied, CopyEntry};
pub use down::LastTable;
pub use entry::{Bits, Entry, Kind, Marker, Migration, NonPresent, Prot, SwapEntry};
pub use flush::serve_fence;
pub use gather::Gather;
pub use kernel::{KernelTables, MaxLeaf, ioremap, mode};
pub use level::{Level, Mode, P4d, Pgd, Pmd, Pte, Pud, TABLE_ENTRIES, Upper, probe_mode};
pub(crate) use state::Paging;
pub use table::{Slot, Table};
pub use tables::{AnyEntry, NoPte, PageTables, PteGuard};
pub use visit::{Protect, Visit, Zap};
