//! What `/proc` tells of an address space (Linux: `show_map_vma`, `task_mem`).

use core::ops::ControlFlow;

use super::{Layout, MmError, Space, Usage};
use crate::addr::{PAGE_SHIFT, VirtAddr, VirtRange};
use crate::slab::KArc;
use crate::vma::{Backing, VmFile, VmFlags, Vma};

/// What `/proc/PID/maps` shows in its last column.
#[derive(Clone, Copy)]
pub enum VmaName<'a> {
    /// Nothing.
    None,
    /// `[heap]`, `[stack]`, `[vdso]`.
    Special(&'static str),
    /// The file's path.
    File(&'a KArc<dyn VmFile>),
}

/// One mapping, as `/proc` shows it.
#[derive(Clone, Copy)]
pub struct VmaInfo<'a> {
    /// The addresses.
    pub range: VirtRange,
    /// The flags: rights, and `MAYSHARE` for the `s`.
    pub flags: VmFlags,
    /// Where in the file, in bytes; 0 without one.
    pub offset: u64,
    /// The file system's device, (major, minor); (0, 0) without a file.
    pub dev: (u32, u32),
    /// The inode; 0 without a file.
    pub ino: u64,
    /// The last column.
    pub name: VmaName<'a>,
}

/// The numbers of `/proc/PID/status`, `stat` and `statm`. In pages unless said otherwise.
#[derive(Clone, Copy, Default, Debug)]
pub struct SpaceStat {
    /// `VmSize`.
    pub total_vm: u64,
    /// `VmPeak`.
    pub high_vm: u64,
    /// `VmLck`.
    pub locked_vm: u64,
    /// Private and writable, without stacks.
    pub data_vm: u64,
    /// `VmStk`.
    pub stack_vm: u64,
    /// Executable and not writable.
    pub exec_vm: u64,
    /// `RssAnon`, `RssFile`, `RssShmem`.
    pub rss: Usage,
    /// `VmHWM`.
    pub high_rss: u64,
    /// `VmPTE`, in bytes.
    pub table_bytes: u64,
    /// Number of mappings.
    pub map_count: u64,
    /// Faults served without I/O.
    pub minor_faults: u64,
    /// Faults that waited for I/O.
    pub major_faults: u64,
    /// Start of the heap.
    pub start_brk: VirtAddr,
    /// End of the heap.
    pub brk: VirtAddr,
    /// Top of the area in which mappings are placed.
    pub mmap_base: VirtAddr,
}

impl Space {
    /// Shows the mappings that end above `from` to `each`, ascending, until it breaks. `mmap_lock` is held
    /// for reading: `each` must neither touch user memory nor sleep long; to go on later, start from the
    /// end of the last mapping seen.
    ///
    /// # Errors
    /// [`MmError::Interrupted`]: a fatal signal came while waiting for the lock.
    pub fn for_each_vma(
        &self,
        from: VirtAddr,
        each: &mut dyn FnMut(&VmaInfo<'_>) -> ControlFlow<()>,
    ) -> Result<(), MmError> {
        let layout = self.layout.read_killable()?;
        for vma in layout.vmas.iter_from(from) {
            if each(&layout.info(vma)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The numbers.
    pub fn stat(&self) -> SpaceStat {
        let layout = self.layout.read();
        let (minor_faults, major_faults) = self.core.faults();
        SpaceStat {
            total_vm: layout.total_vm,
            high_vm: layout.high_vm,
            locked_vm: layout.locked_vm,
            data_vm: layout.data_vm,
            stack_vm: layout.stack_vm,
            exec_vm: layout.exec_vm,
            rss: self.core.usage(),
            high_rss: self.core.high_rss(),
            table_bytes: self.core.tables.bytes() as u64,
            map_count: layout.vmas.len() as u64,
            minor_faults,
            major_faults,
            start_brk: layout.start_brk,
            brk: layout.brk,
            mmap_base: layout.mmap_base,
        }
    }
}

impl Layout {
    fn info<'a>(&self, vma: &'a Vma) -> VmaInfo<'a> {
        let (offset, dev, ino, name) = match (vma.file(), vma.backing()) {
            (Some(file), _) => (vma.pgoff() << PAGE_SHIFT, file.dev(), file.ino(), VmaName::File(file)),
            (None, Backing::Special(special)) => (0, (0, 0), 0, VmaName::Special(special.name())),
            (None, _) => (0, (0, 0), 0, self.name_of(vma)),
        };
        VmaInfo { range: vma.range(), flags: vma.flags(), offset, dev, ino, name }
    }

    /// The name of anonymous memory that has one.
    fn name_of<'a>(&self, vma: &Vma) -> VmaName<'a> {
        if vma.start() < self.brk && self.start_brk < vma.end() {
            VmaName::Special("[heap]")
        } else if vma.start() <= self.exec.start_stack && self.exec.start_stack <= vma.end() {
            VmaName::Special("[stack]")
        } else {
            VmaName::None
        }
    }
}
