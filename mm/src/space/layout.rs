//! What `mmap_lock` protects: the mappings, how much of what kind they are, and where things go
//! (Linux: the fields of `mm_struct`).

use rux_machine::cold;

use super::exec::ExecFields;
use super::limits::{Limits, Randomize, STACK_GUARD_GAP, SpaceConfig, UNLIMITED};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::error::AllocError;
use crate::paging::{Gather, Level, Pmd};
use crate::rmap::{SpaceCore, Usage, Which, ZapPages};
use crate::slab::KArc;
use crate::space::account;
use crate::vma::{RemovedVmas, VmFlags, VmaTree};

/// Bits of a random page number for the base of mappings (`vm.mmap_rnd_bits`).
const MMAP_RANDOM_BITS: u32 = 18;
/// Pages by which the stack's top is moved at most (Linux: `STACK_RND_MASK`).
const STACK_RANDOM_MASK: u64 = 0x3ffff;
/// Least distance from the stack's top to the highest mapping (Linux: `MIN_GAP`).
const MIN_GAP: u64 = 128 << 20;

/// The mappings of an address space and their figures, all in pages. Dropping it unmaps everything.
pub(crate) struct Layout {
    pub(crate) core: KArc<SpaceCore>,
    pub(crate) vmas: VmaTree,
    pub(crate) total_vm: u64,
    pub(crate) high_vm: u64,
    pub(crate) locked_vm: u64,
    pub(crate) data_vm: u64,
    pub(crate) stack_vm: u64,
    pub(crate) exec_vm: u64,
    /// Flags that every new mapping gets (`mlockall(MCL_FUTURE)`).
    pub(crate) def_flags: VmFlags,
    /// Mappings go below this, top down; or above it in the legacy layout.
    pub(crate) mmap_base: VirtAddr,
    pub(crate) top_down: bool,
    pub(crate) stack_top: VirtAddr,
    pub(crate) start_brk: VirtAddr,
    pub(crate) brk: VirtAddr,
    pub(crate) exec: ExecFields,
}

/// A random number below 2^64.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    cold::random(&mut bytes);
    u64::from_ne_bytes(bytes)
}

impl Layout {
    /// Nothing mapped; the bases drawn (Linux: `arch_pick_mmap_layout`, `randomize_stack_top`).
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(core: KArc<SpaceCore>, config: &SpaceConfig) -> Result<Self, AllocError> {
        let task_size = config.task_size;
        let page_bits = |mask: u64| (random() & mask) << PAGE_SHIFT;
        let randomize = config.randomize != Randomize::Nothing;
        let (mmap_random, stack_random) = match randomize {
            true => (page_bits((1 << MMAP_RANDOM_BITS) - 1), page_bits(STACK_RANDOM_MASK)),
            false => (0, 0),
        };
        let top_down = !config.legacy_layout && config.limits.stack != UNLIMITED;
        let mmap_base = if top_down {
            let mut pad = STACK_GUARD_GAP;
            if randomize {
                pad += STACK_RANDOM_MASK << PAGE_SHIFT;
            }
            let gap = config.limits.stack.checked_add(pad).unwrap_or(config.limits.stack);
            let max_gap = task_size.get() / 6 * 5;
            let gap = if gap < MIN_GAP && MIN_GAP < max_gap { MIN_GAP } else { gap.min(max_gap) };
            VirtAddr::new(task_size.get().saturating_sub(gap).saturating_sub(mmap_random))
        } else {
            unmapped_base(task_size) + mmap_random
        };
        Ok(Self {
            vmas: VmaTree::new(core.clone())?,
            core,
            total_vm: 0,
            high_vm: 0,
            locked_vm: 0,
            data_vm: 0,
            stack_vm: 0,
            exec_vm: 0,
            def_flags: VmFlags::empty(),
            mmap_base: mmap_base.page_ceil().unwrap_or(mmap_base.page_floor()),
            top_down,
            stack_top: task_size.page_floor() - stack_random,
            start_brk: VirtAddr::ZERO,
            brk: VirtAddr::ZERO,
            exec: ExecFields::default(),
        })
    }

    /// A child's, with the same bases and nothing mapped.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn for_child(&self, core: KArc<SpaceCore>) -> Result<Self, AllocError> {
        Ok(Self {
            vmas: VmaTree::new(core.clone())?,
            core,
            total_vm: 0,
            high_vm: 0,
            locked_vm: 0,
            data_vm: 0,
            stack_vm: 0,
            exec_vm: 0,
            def_flags: VmFlags::empty(),
            mmap_base: self.mmap_base,
            top_down: self.top_down,
            stack_top: self.stack_top,
            start_brk: self.start_brk,
            brk: self.brk,
            exec: self.exec,
        })
    }

    /// Counts `pages` more of the kind that `flags` says (Linux: `vm_stat_account`).
    pub(crate) fn count(&mut self, flags: VmFlags, pages: u64) {
        self.total_vm += pages;
        self.high_vm = self.high_vm.max(self.total_vm);
        if let Some(kind) = self.kind_of(flags) {
            *kind += pages;
        }
    }

    /// Counts `pages` fewer.
    pub(crate) fn uncount(&mut self, flags: VmFlags, pages: u64) {
        self.total_vm -= pages;
        if let Some(kind) = self.kind_of(flags) {
            *kind -= pages;
        }
    }

    fn kind_of(&mut self, flags: VmFlags) -> Option<&mut u64> {
        if flags.is_exec() {
            Some(&mut self.exec_vm)
        } else if flags.is_stack() {
            Some(&mut self.stack_vm)
        } else if flags.is_data() {
            Some(&mut self.data_vm)
        } else {
            None
        }
    }

    /// Whether `pages` more with these flags are within the limits (Linux: `may_expand_vm`).
    pub(crate) fn may_expand(&self, limits: &Limits, flags: VmFlags, pages: u64) -> bool {
        let within = |used: u64, limit: u64| used.saturating_add(pages) <= limit >> PAGE_SHIFT;
        within(self.total_vm, limits.address_space) && (!flags.is_data() || within(self.data_vm, limits.data))
    }

    /// Whether `pages` more with these flags may be locked (Linux: `mlock_future_ok`).
    pub(crate) fn may_lock(&self, limits: &Limits, flags: VmFlags, pages: u64) -> bool {
        !flags.contains(VmFlags::LOCKED)
            || limits.may_lock
            || self.locked_vm.saturating_add(pages) <= limits.memlock >> PAGE_SHIFT
    }

    /// Everything goes (Linux: `exit_mmap`).
    fn unmap_all(&mut self) {
        if cfg!(debug_assertions) {
            self.validate();
        }
        let mut removed = RemovedVmas::new();
        let mut gather = Gather::new(&self.core.tables);
        {
            let mut zap = ZapPages::new(&self.core, Which::All);
            for vma in self.vmas.iter() {
                self.core.tables.zap_range(vma.range(), &mut gather, zap.of(vma.flags()));
            }
        }
        let mut committed = 0;
        // From the top down, mappings whose tables are neighbours together: so the walk passes over what lies between
        // the others. What is above is gone.
        let mut group: Option<VirtRange> = None;
        for vma in self.vmas.iter_back() {
            if vma.flags().contains(VmFlags::ACCOUNT) {
                committed += vma.pages();
            }
            if let Some(mapping) = vma.mapping() {
                mapping.maps().lock().remove(&self.core, vma.place());
            }
            vma.anon.unlink(&self.core, vma.place());
            let end = match group {
                Some(above) if above.start - vma.end() <= Pmd::BYTES => above.end,
                Some(above) => {
                    self.free_tables_of(above, vma.end(), &mut gather);
                    vma.end()
                }
                None => vma.end(),
            };
            group = Some(VirtRange::new(vma.start(), end));
        }
        if let Some(lowest) = group {
            self.free_tables_of(lowest, VirtAddr::ZERO, &mut gather);
        }
        gather.finish();
        self.vmas.clear(|vma| removed.push(vma));
        debug_assert_eq!(self.core.usage(), Usage::default(), "pages left behind");
        account::uncharge(committed);
    }

    /// Frees the tables of `range`, above which nothing is mapped, and below it nothing from `floor` on.
    fn free_tables_of(&self, range: VirtRange, floor: VirtAddr, gather: &mut Gather<'_>) {
        let user_end = self.core.tables.mode().user_end();
        self.core.tables.free_tables(range, floor, user_end, gather);
    }
}

/// Where the legacy layout, and the search that top-down placement falls back to, starts (Linux:
/// `TASK_UNMAPPED_BASE`).
pub(crate) fn unmapped_base(task_size: VirtAddr) -> VirtAddr {
    VirtAddr::new((task_size.get() / 3).next_multiple_of(PAGE_SIZE as u64))
}

impl Drop for Layout {
    fn drop(&mut self) {
        if !self.vmas.is_empty() {
            self.unmap_all();
        }
    }
}
