//! What an ELF file asks for: header and segments, checked as far as Linux checks them
//! (`fs/binfmt_elf.c`).
//!
//! A hostile file gets the errno that Linux gives; what Linux does not look at is not looked at here.

use elf::abi;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader};
use elf::parse::ParseAt;
use elf::segment::ProgramHeader;
use linux_raw_sys::general as linux;
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::HEAD_SIZE;
use crate::errno::{Errno, Result};
use crate::fs::File;

const HEADER_SIZE: usize = 64;
/// Bytes of a program header.
pub(super) const PHENT: usize = 56;
/// The most bytes of program headers.
const MAX_PHDRS: usize = 65_536;
const PATH_MAX: u64 = linux::PATH_MAX as u64;

/// An ELF file, and what its headers say.
pub(super) struct Image {
    pub(super) file: KArc<File>,
    pub(super) kind: Kind,
    /// `e_entry`.
    pub(super) entry: u64,
    /// `e_phoff`.
    pub(super) phoff: u64,
    pub(super) segments: KVec<ProgramHeader>,
}

/// Whether the file says where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `ET_EXEC`.
    Fixed,
    /// `ET_DYN`.
    Movable,
}

impl Image {
    /// Parses the file whose first bytes are `head`.
    ///
    /// # Errors
    /// `ENOEXEC` for what is no program for this machine.
    pub(super) fn parse(file: KArc<File>, head: &[u8; HEAD_SIZE]) -> Result<Self> {
        if head[..4] != abi::ELFMAGIC || head[abi::EI_CLASS] != abi::ELFCLASS64 {
            return Err(Errno::ENOEXEC);
        }
        let ident = (LittleEndian, Class::ELF64, 0, 0);
        let tail = &head[abi::EI_NIDENT..HEADER_SIZE];
        let header = FileHeader::parse_tail(ident, tail).map_err(|_| Errno::ENOEXEC)?;
        let kind = match header.e_type {
            abi::ET_EXEC => Kind::Fixed,
            abi::ET_DYN => Kind::Movable,
            _ => return Err(Errno::ENOEXEC),
        };
        if header.e_machine != abi::EM_RISCV || header.e_phentsize as usize != PHENT {
            return Err(Errno::ENOEXEC);
        }
        let bytes = header.e_phnum as usize * PHENT;
        if bytes == 0 || bytes > MAX_PHDRS {
            return Err(Errno::ENOEXEC);
        }
        let segments = read_segments(&file, header.e_phoff, header.e_phnum as usize)?;
        Ok(Self { file, kind, entry: header.e_entry, phoff: header.e_phoff, segments })
    }

    /// The path of the interpreter that the file names, if it names one.
    ///
    /// # Errors
    /// `ENOEXEC` for a name that is none, `EIO` when the file ends before it.
    pub(super) fn interpreter(&self) -> Result<Option<KVec<u8>>> {
        let Some(segment) = self.segments.iter().find(|segment| segment.p_type == abi::PT_INTERP) else {
            return Ok(None);
        };
        if segment.p_filesz > PATH_MAX || segment.p_filesz < 2 {
            return Err(Errno::ENOEXEC);
        }
        let mut path = KVec::new();
        path.resize(segment.p_filesz as usize, 0, Gfp::KERNEL)?;
        read_all(&self.file, &mut path, segment.p_offset)?;
        if path.last() != Some(&0) {
            return Err(Errno::ENOEXEC);
        }
        let len = path.iter().position(|&byte| byte == 0).unwrap_or(0);
        path.truncate(len);
        Ok(Some(path))
    }

    /// Whether the stack is to be executable, as the last header about it says; without one it is not.
    pub(super) fn executable_stack(&self) -> bool {
        self.segments
            .iter()
            .rfind(|segment| segment.p_type == abi::PT_GNU_STACK)
            .is_some_and(|segment| segment.p_flags & abi::PF_X != 0)
    }

    /// The segments to load.
    pub(super) fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD)
    }

    /// Bytes from the first page of all to the end of the last; `None` when there are none
    /// (Linux: `total_mapping_size`).
    pub(super) fn span(&self) -> Option<u64> {
        let low = self.loads().map(|segment| page_floor(segment.p_vaddr)).min()?;
        let high = self.loads().map(|segment| segment.p_vaddr.wrapping_add(segment.p_memsz)).max()?;
        Some(high.wrapping_sub(low))
    }

    /// The largest alignment that a segment asks for; at least a page (Linux: `maximum_alignment`).
    pub(super) fn alignment(&self) -> u64 {
        let wanted = self.loads().map(|segment| segment.p_align).filter(|align| align.is_power_of_two());
        wanted.max().unwrap_or(0).max(PAGE_SIZE as u64)
    }

    /// Where the program headers are in memory, before the bias; 0 when no segment holds them.
    pub(super) fn phdr_address(&self) -> u64 {
        self.loads()
            .find(|segment| {
                segment.p_offset <= self.phoff && self.phoff - segment.p_offset < segment.p_filesz
            })
            .map_or(0, |segment| (self.phoff - segment.p_offset).wrapping_add(segment.p_vaddr))
    }
}

/// The page that `addr` is in.
pub(super) const fn page_floor(addr: u64) -> u64 {
    addr & !(PAGE_SIZE as u64 - 1)
}

/// The end of the page whose last byte is below `addr`; wraps at the very end.
pub(super) const fn page_ceil(addr: u64) -> u64 {
    addr.wrapping_add(PAGE_SIZE as u64 - 1) & !(PAGE_SIZE as u64 - 1)
}

/// The rights of a segment.
pub(super) const fn prot(segment: &ProgramHeader) -> u32 {
    let mut prot = 0;
    if segment.p_flags & abi::PF_R != 0 {
        prot |= linux::PROT_READ;
    }
    if segment.p_flags & abi::PF_W != 0 {
        prot |= linux::PROT_WRITE;
    }
    if segment.p_flags & abi::PF_X != 0 {
        prot |= linux::PROT_EXEC;
    }
    prot
}

/// An address within user space.
pub(super) fn user_addr(addr: u64, task_size: VirtAddr) -> Result<VirtAddr> {
    let addr = VirtAddr::new(addr);
    if addr < task_size { Ok(addr) } else { Err(Errno::EINVAL) }
}

fn read_segments(file: &KArc<File>, offset: u64, count: usize) -> Result<KVec<ProgramHeader>> {
    let mut bytes = KVec::new();
    bytes.resize(count * PHENT, 0, Gfp::KERNEL)?;
    read_all(file, &mut bytes, offset).map_err(|_| Errno::ENOEXEC)?;
    let mut segments = KVec::with_capacity(count, Gfp::KERNEL)?;
    let mut at = 0;
    for _ in 0..count {
        let segment = ProgramHeader::parse_at(LittleEndian, Class::ELF64, &mut at, &bytes)
            .map_err(|_| Errno::ENOEXEC)?;
        segments.push(segment, Gfp::KERNEL)?;
    }
    Ok(segments)
}

/// Reads all of `buffer`; `EIO` when the file is shorter (Linux: `elf_read`).
fn read_all(file: &File, buffer: &mut [u8], offset: u64) -> Result<()> {
    if offset > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    if file.kernel_read(buffer, offset)? == buffer.len() { Ok(()) } else { Err(Errno::EIO) }
}
