//! Taking 2 MiB of memory out of circulation (Linux: `start_isolate_page_range` for one block).

use super::drain_all;
use crate::addr::Pfn;
use crate::memory::memory;
use crate::page::pfn_to_online_page;
use crate::zone::{MigrateType, NotIsolated, ZoneId};

/// Isolates the block of 2 MiB that a frame is in: nothing of it is handed out any more, what is freed stays free,
/// and does not count as such. Says what the block was, for [`undo_isolate`]. May sleep: all harts' lists are
/// drained, so that what was on them is seen. Pages in use are the caller's to move.
///
/// # Errors
/// See [`NotIsolated`].
pub fn isolate_block(pfn: Pfn) -> Result<MigrateType, NotIsolated> {
    let page = pfn_to_online_page(pfn).filter(|page| page.zone_id() != ZoneId::Device);
    let page = page.ok_or(NotIsolated::Absent)?;
    let was = memory().zone(page.zone_id()).isolate_block(page)?;
    drain_all();
    Ok(was)
}

/// Puts an isolated block back into circulation, as `kind`'s. Says whether it was isolated.
pub fn undo_isolate(pfn: Pfn, kind: MigrateType) -> bool {
    pfn_to_online_page(pfn).is_some_and(|page| memory().zone(page.zone_id()).undo_isolate(page, kind))
}
