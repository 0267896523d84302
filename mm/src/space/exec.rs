use super::{MmError, Space};
use crate::addr::VirtAddr;
use crate::slab::KArc;
use crate::vma::SpecialMapping;

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
    pub fn setup_stack(&self, _bytes: u64, _rights: StackRights) -> Result<VirtAddr, MmError> {
        unimplemented!()
    }

    /// The heap starts at `end_of_bss`, rounded up to a page, or at random some way above it
    /// (Linux: `set_brk`, `arch_randomize_brk`).
    pub fn set_brk_start(&self, _end_of_bss: VirtAddr) {
        unimplemented!()
    }

    /// Notes where the parts of the program are.
    pub fn set_exec_fields(&self, _fields: ExecFields) {
        unimplemented!()
    }

    /// Where the parts of the program are.
    pub fn exec_fields(&self) -> ExecFields {
        unimplemented!()
    }

    /// Maps the kernel's frames, readable and executable, where there is room above the program's
    /// mappings, and returns where (Linux: `_install_special_mapping` for the vDSO).
    ///
    /// # Errors
    /// No memory or no room.
    pub fn map_special(&self, _what: KArc<SpecialMapping>, _prot: u32) -> Result<VirtAddr, MmError> {
        unimplemented!()
    }
}
