//! The store of an address space's mappings, by address (Linux: the maple tree of `mm_struct`).
//!
//! The mappings are disjoint. Finding one takes O(log n) steps; the gap searches and an insertion are
//! linear in small entries. All changes are made under `mmap_lock` for writing. What may fail is
//! [`VmaTree::reserve`] alone, so that an operation fails before its first change or not at all.

use crate::addr::{VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::gfp::Gfp;
use crate::slab::{KBox, KVec};
use crate::vma::{VmFlags, Vma};

/// One mapping, with what the searches look at beside the pointer.
struct Slot {
    range: VirtRange,
    vma: KBox<Vma>,
}

/// The mappings of one address space, in ascending order.
pub struct VmaTree {
    slots: KVec<Slot>,
}

impl VmaTree {
    /// No mappings.
    pub const fn new() -> Self {
        Self { slots: KVec::new() }
    }

    /// How many mappings there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Makes room for `additional` insertions.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn reserve(&mut self, additional: usize) -> Result<(), AllocError> {
        self.slots.reserve(additional, Gfp::KERNEL)
    }

    /// The slot of the first mapping that ends above `addr`.
    #[inline]
    fn position(&self, addr: VirtAddr) -> usize {
        self.slots.partition_point(|slot| slot.range.end <= addr)
    }

    /// The first mapping that ends above `addr` (Linux: `find_vma`).
    #[inline]
    pub fn find(&self, addr: VirtAddr) -> Option<&Vma> {
        self.slots.get(self.position(addr)).map(|slot| &*slot.vma)
    }

    /// The mapping that `addr` is in (Linux: `vma_lookup`).
    #[inline]
    pub fn lookup(&self, addr: VirtAddr) -> Option<&Vma> {
        self.find(addr).filter(|vma| vma.start() <= addr)
    }

    /// The mapping that `addr` is in, to be changed. Its range changes by [`VmaTree::resize`] only.
    pub fn lookup_mut(&mut self, addr: VirtAddr) -> Option<&mut Vma> {
        let at = self.position(addr);
        let slot = self.slots.get_mut(at)?;
        (slot.range.start <= addr).then_some(&mut *slot.vma)
    }

    /// The last mapping that ends at or below `addr`.
    pub fn before(&self, addr: VirtAddr) -> Option<&Vma> {
        self.position(addr).checked_sub(1).and_then(|at| self.slots.get(at)).map(|slot| &*slot.vma)
    }

    /// All mappings, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.slots.iter().map(|slot| &*slot.vma)
    }

    /// The mappings that end above `addr`, ascending.
    pub fn iter_from(&self, addr: VirtAddr) -> impl Iterator<Item = &Vma> {
        self.slots.iter().skip(self.position(addr)).map(|slot| &*slot.vma)
    }

    /// The mappings that have a byte in `range`, ascending.
    pub fn overlapping(&self, range: VirtRange) -> impl Iterator<Item = &Vma> {
        self.iter_from(range.start).take_while(move |vma| vma.start() < range.end)
    }

    /// Whether a mapping has a byte in `range`.
    pub fn any_in(&self, range: VirtRange) -> bool {
        self.find(range.start).is_some_and(|vma| vma.start() < range.end)
    }

    /// Puts a mapping in where there is none. Room was made by [`VmaTree::reserve`].
    ///
    /// # Errors
    /// Gives the mapping back when nobody made room and there is no memory.
    pub fn insert(&mut self, vma: KBox<Vma>) -> Result<(), KBox<Vma>> {
        debug_assert!(!self.any_in(vma.range()), "two mappings at {:?}", vma.range());
        if self.slots.reserve(1, Gfp::KERNEL).is_err() {
            return Err(vma);
        }
        let at = self.position(vma.start());
        let slot = Slot { range: vma.range(), vma };
        match self.slots.insert(at, slot, Gfp::KERNEL) {
            Ok(()) => Ok(()),
            Err(_) => unreachable!("room was made above"),
        }
    }

    /// Takes the mapping out that `addr` is in.
    pub fn remove(&mut self, addr: VirtAddr) -> Option<KBox<Vma>> {
        let at = self.position(addr);
        let inside = self.slots.get(at).is_some_and(|slot| slot.range.start <= addr);
        inside.then(|| self.slots.remove(at).vma)
    }

    /// Takes the last mapping out.
    pub fn pop(&mut self) -> Option<KBox<Vma>> {
        self.slots.pop().map(|slot| slot.vma)
    }

    /// Gives the mapping that `addr` is in another range, which overlaps no other mapping and leaves
    /// the order as it is, and another offset.
    pub fn resize(&mut self, addr: VirtAddr, range: VirtRange, pgoff: u64) {
        let at = self.position(addr);
        debug_assert!(at == 0 || self.slots[at - 1].range.end <= range.start);
        debug_assert!(at + 1 >= self.slots.len() || range.end <= self.slots[at + 1].range.start);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.range = range;
            slot.vma.range = range;
            slot.vma.pgoff = pgoff;
        }
    }

    /// The highest `len` bytes within `low..high` that no mapping and no stack's guard gap touches
    /// (Linux: `unmapped_area_topdown`). `start_gap` more bytes below are free, too.
    pub fn gap_top_down(&self, len: u64, low: VirtAddr, high: VirtAddr, start_gap: u64) -> Option<VirtAddr> {
        let need = len.checked_add(start_gap)?;
        let fits = |floor: VirtAddr, ceiling: VirtAddr| {
            let (floor, ceiling) = (floor.max(low), ceiling.min(high));
            (floor <= ceiling && ceiling - floor >= need).then(|| ceiling - len)
        };
        let mut ceiling = high;
        let above = self.slots.partition_point(|slot| slot.range.start < high);
        if let Some(next) = self.slots.get(above) {
            ceiling = ceiling.min(next.vma.start_with_gap());
        }
        for slot in self.slots[..above].iter().rev() {
            if let Some(found) = fits(slot.range.end, ceiling) {
                return Some(found);
            }
            ceiling = ceiling.min(slot.vma_start_with_gap());
            if ceiling <= low {
                return None;
            }
        }
        fits(VirtAddr::ZERO, ceiling)
    }

    /// The lowest `len` bytes within `low..high` that no mapping and no stack's guard gap touches
    /// (Linux: `unmapped_area`). `start_gap` more bytes below are free, too.
    pub fn gap_bottom_up(&self, len: u64, low: VirtAddr, high: VirtAddr, start_gap: u64) -> Option<VirtAddr> {
        let mut floor = low;
        for slot in self.slots.iter().skip(self.position(low)) {
            let candidate = floor.checked_add(start_gap)?;
            let end = candidate.checked_add(len)?;
            if end <= slot.vma_start_with_gap() {
                break;
            }
            floor = floor.max(slot.range.end);
        }
        let candidate = floor.checked_add(start_gap)?;
        (candidate.checked_add(len)? <= high).then_some(candidate)
    }

    /// Checks what must always hold: order, no overlap, no empty mapping, the cached ranges.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn validate(&self) {
        let mut end = VirtAddr::ZERO;
        for slot in self.slots.iter() {
            assert_eq!(slot.range, slot.vma.range(), "a cached range");
            assert!(
                end <= slot.range.start && slot.range.start < slot.range.end,
                "order of {:?}",
                slot.range
            );
            assert!(slot.range.start.is_page_aligned() && slot.range.end.is_page_aligned());
            end = slot.range.end;
        }
    }
}

impl Slot {
    /// [`Vma::start_with_gap`], which reads the mapping only for its flags.
    #[inline]
    fn vma_start_with_gap(&self) -> VirtAddr {
        if self.vma.flags().contains(VmFlags::GROWSDOWN) {
            self.vma.start_with_gap()
        } else {
            self.range.start
        }
    }
}

impl Default for VmaTree {
    fn default() -> Self {
        Self::new()
    }
}
