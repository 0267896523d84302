//! Looking whether the allocator's books are in order.

use rux_machine::IrqGuard;

use crate::memory::{HartMemory, memory, this_hart};
use crate::page::PageFlags;
use crate::zone::Corrupt;
#[cfg(not(target_os = "none"))]
use crate::{addr::Pfn, page::pfn_to_online_page, zone::MigrateType};

/// Checks the free lists of all zones, and this hart's lists: links, counts, states of pages, joined
/// buddies. Takes the zones' locks one after the other; any time.
///
/// # Errors
/// What is wrong, and where.
pub fn validate() -> Result<(), Corrupt> {
    for zone in &memory().zones {
        zone.validate()?;
    }
    let _irqs = IrqGuard::new();
    validate_hart(this_hart())
}

/// As [`validate`], and the lists of all harts, none of which allocates or frees meanwhile; and that no
/// page is marked free that is on no list.
///
/// # Errors
/// What is wrong, and where.
#[cfg(not(target_os = "none"))]
pub fn validate_still() -> Result<(), Corrupt> {
    validate()?;
    memory().harts().try_for_each(validate_hart)?;
    let mut marked = 0;
    for (start, end) in memory().zones.iter().map(|zone| zone.span()) {
        for page in (start.get()..end.get()).filter_map(|pfn| pfn_to_online_page(Pfn::new(pfn))) {
            // What is isolated does not count as free.
            if let Some(order) = page.count().buddy_order()
                && page.block_type() != MigrateType::Isolate
            {
                marked += order.pages();
            }
        }
    }
    let free: u64 = memory().zones.iter().map(|zone| zone.free_pages()).sum();
    let what = "pages are marked free that are on no list";
    if marked as u64 == free { Ok(()) } else { Err(Corrupt { what, pfn: Pfn::new(0) }) }
}

fn validate_hart(hart: &HartMemory) -> Result<(), Corrupt> {
    for (order, count, blocks) in hart.pcp.blocks() {
        let mut found = 0;
        for page in blocks {
            found += 1;
            let corrupt = |what| Err(Corrupt { what, pfn: page.pfn() });
            if found > count {
                return corrupt("a hart's list is longer than it says");
            }
            if !page.pfn().is_aligned(order) {
                return corrupt("a block of a hart's list is not aligned");
            }
            for index in 0..order.pages() {
                let page = page.nth(index);
                if page.count().raw() != 0 || page.flags() != PageFlags::empty() {
                    return Err(Corrupt { what: "a page of a hart's list is in use", pfn: page.pfn() });
                }
            }
        }
        if found != count {
            return Err(Corrupt { what: "a hart's list is shorter than it says", pfn: Default::default() });
        }
    }
    Ok(())
}
