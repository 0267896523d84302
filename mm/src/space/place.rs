//! Where a mapping goes that does not say where (Linux: `__get_unmapped_area`,
//! `generic_get_unmapped_area_topdown`, `__thp_get_unmapped_area`).

use linux_raw_sys::general as abi;

use super::layout::unmapped_base;
use super::limits::MMAP_MIN_ADDR;
use super::{Layout, MmError, Space};
use crate::addr::{Order, PAGE_SIZE, VirtAddr};
use crate::vma::Vma;

/// What a large anonymous mapping is aligned to, so that huge pages may come.
const HUGE: u64 = Order::HUGE.bytes() as u64;

/// Whether large mappings are aligned for huge pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Align {
    /// Base pages will do.
    Page,
    /// 2 MiB, if the length is a multiple of it: private anonymous memory.
    Huge,
}

impl Space {
    /// The address for `len` bytes, a multiple of the page size: `hint` itself with `MAP_FIXED`, where there is
    /// room near `hint` if it is not 0, or anywhere.
    ///
    /// # Errors
    /// `NoMemory`: there is no room. `Invalid`: a fixed address within a page. `Permission`: too low.
    pub(crate) fn find_room(
        &self,
        layout: &Layout,
        hint: VirtAddr,
        len: u64,
        map_flags: u32,
        align: Align,
    ) -> Result<VirtAddr, MmError> {
        let end = self.task_size().get();
        if len > end {
            return Err(MmError::NoMemory);
        }
        let addr = if map_flags & abi::MAP_FIXED != 0 {
            hint
        } else {
            self.find_aligned(layout, hint, len, align).ok_or(MmError::NoMemory)?
        };
        if addr.get() > end - len {
            return Err(MmError::NoMemory);
        }
        if !addr.is_page_aligned() {
            return Err(MmError::Invalid);
        }
        if addr.get() < MMAP_MIN_ADDR && !self.limits().may_map_low {
            return Err(MmError::Permission);
        }
        Ok(addr)
    }

    fn find_aligned(&self, layout: &Layout, hint: VirtAddr, len: u64, align: Align) -> Option<VirtAddr> {
        // Who says about where it wants to be knows better.
        if align == Align::Huge
            && hint == VirtAddr::ZERO
            && len >= HUGE
            && len.is_multiple_of(HUGE)
            && let Some(padded) = len.checked_add(HUGE)
            && let Some(found) = self.find_gap(layout, hint, padded)
        {
            let skip = found.get().wrapping_neg() & (HUGE - 1);
            return Some(if skip == 0 && layout.top_down { found + HUGE } else { found + skip });
        }
        self.find_gap(layout, hint, len)
    }

    fn find_gap(&self, layout: &Layout, hint: VirtAddr, len: u64) -> Option<VirtAddr> {
        let end = self.task_size();
        if len > end.get() - MMAP_MIN_ADDR {
            return None;
        }
        if hint != VirtAddr::ZERO {
            let hint = hint.page_ceil()?;
            let free_above = layout.vmas.find(hint).is_none_or(|next| hint + len <= next.start_with_gap());
            let free_below = layout.vmas.before(hint).is_none_or(|prev: &Vma| prev.end() <= hint);
            if hint.get() >= MMAP_MIN_ADDR && hint.get() <= end.get() - len && free_above && free_below {
                return Some(hint);
            }
        }
        let low = VirtAddr::new(PAGE_SIZE as u64);
        if layout.top_down
            && let Some(found) = layout.vmas.gap_top_down(len, low, layout.mmap_base)
        {
            return Some(found);
        }
        let base = if layout.top_down { unmapped_base(end) } else { layout.mmap_base };
        layout.vmas.gap_bottom_up(len, base, end)
    }
}
