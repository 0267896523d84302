//! A fresh address space for a program, before it runs (Linux: `setup_arg_pages`, `mm_struct`'s fields for
//! `/proc`, `_install_special_mapping`).

use linux_raw_sys::general as abi;

use super::layout::random;
use super::place::Align;
use super::{MmError, Randomize, Space};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, VirtRange};
use crate::rmap::AnonId;
use crate::slab::KArc;
use crate::vma::{Attributes, Backing, SpecialMapping, VmFlags};

/// Pages above which the start of the heap is drawn (Linux: `arch_randomize_brk`, 1 GiB).
const BRK_RANDOM_PAGES: u64 = 1 << (30 - PAGE_SHIFT);
/// What a new stack has beside its arguments (Linux: `stack_expand`).
const STACK_EXPAND: u64 = 128 << 10;

/// Where the parts of the program are, for `/proc` and `prctl(PR_SET_MM)`.
#[derive(Clone, Copy, Default, Debug)]
pub struct ExecFields {
    /// The text segment.
    pub start_code: VirtAddr,
    /// See `start_code`.
    pub end_code: VirtAddr,
    /// The data segment.
    pub start_data: VirtAddr,
    /// See `start_data`.
    pub end_data: VirtAddr,
    /// The stack pointer at the program's start.
    pub start_stack: VirtAddr,
    /// The argument strings.
    pub arg_start: VirtAddr,
    /// See `arg_start`.
    pub arg_end: VirtAddr,
    /// The environment strings.
    pub env_start: VirtAddr,
    /// See `env_start`.
    pub env_end: VirtAddr,
}

/// What a program may do with its stack (`PT_GNU_STACK`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackRights {
    /// Read and write.
    Data,
    /// Execute, too.
    Executable,
}

impl Space {
    /// Maps a stack with room for `bytes` of arguments and what Linux adds (128 KiB, within
    /// `RLIMIT_STACK`); it grows down. Returns its top, drawn at random (Linux: `setup_arg_pages`).
    /// Write to it by [`Space::write_memory`].
    ///
    /// # Errors
    /// No memory, or a limit.
    pub fn setup_stack(&self, bytes: u64, rights: StackRights) -> Result<VirtAddr, MmError> {
        let limits = self.limits();
        let mut layout = self.layout.write();
        let page = PAGE_SIZE as u64;
        let arguments = bytes.checked_next_multiple_of(page).ok_or(MmError::NoMemory)?.max(page);
        let limit = limits.stack & !(page - 1);
        let size = arguments.saturating_add(STACK_EXPAND).min(limit).max(arguments);
        let top = layout.stack_top;
        let start = top.checked_sub(size).ok_or(MmError::NoMemory)?;
        let mut flags = VmFlags::READ
            | VmFlags::WRITE
            | VmFlags::MAYACCESS
            | VmFlags::GROWSDOWN
            | VmFlags::ACCOUNT
            | VmFlags::SOFTDIRTY
            | layout.def_flags;
        if rights == StackRights::Executable {
            flags |= VmFlags::EXEC;
        }
        let range = VirtRange::new(start, top);
        if layout.vmas.any_in(range) {
            return Err(MmError::NoMemory);
        }
        self.map_anonymous(&mut layout, &limits, range, flags)?;
        Ok(top)
    }

    /// The heap starts at `end_of_bss`, rounded up to a page, or at random some way above it
    /// (Linux: `set_brk`, `arch_randomize_brk`).
    pub fn set_brk_start(&self, end_of_bss: VirtAddr) {
        let mut layout = self.layout.write();
        let mut start = end_of_bss.page_ceil().unwrap_or(end_of_bss.page_floor());
        if self.randomize == Randomize::All {
            let moved = start.checked_add((random() % BRK_RANDOM_PAGES) << PAGE_SHIFT);
            start = moved.filter(|moved| *moved < self.task_size()).unwrap_or(start);
        }
        layout.start_brk = start;
        layout.brk = start;
    }

    /// Notes where the parts of the program are.
    pub fn set_exec_fields(&self, fields: ExecFields) {
        self.layout.write().exec = fields;
    }

    /// Where the parts of the program are.
    pub fn exec_fields(&self) -> ExecFields {
        self.layout.read().exec
    }

    /// Maps the kernel's frames with the rights `prot` (`PROT_*`; never to be written), where there is room above the
    /// program's mappings, and returns where (Linux: `_install_special_mapping` for the vDSO).
    ///
    /// # Errors
    /// No memory or no room.
    pub fn map_special(&self, what: KArc<SpecialMapping>, prot: u32) -> Result<VirtAddr, MmError> {
        let len = (what.pages() * PAGE_SIZE) as u64;
        let mut layout = self.layout.write();
        let addr = self.find_room(&layout, VirtAddr::ZERO, len, 0, Align::Page)?;
        let range = VirtRange::from_len(addr, len).ok_or(MmError::NoMemory)?;
        let flags = VmFlags::of_prot(prot & !abi::PROT_WRITE)
            | VmFlags::MAYREAD
            | VmFlags::MAYEXEC
            | VmFlags::DONTEXPAND
            | VmFlags::SOFTDIRTY;
        let limits = self.limits();
        if !layout.may_expand(&limits, flags, range.pages()) {
            return Err(MmError::NoMemory);
        }
        let backing = Backing::Special(what);
        let what = Attributes { range, flags, backing: &backing, pgoff: 0, anon: AnonId::NONE };
        layout.insert_new(&what)?;
        layout.count(flags, range.pages());
        Ok(addr)
    }
}
