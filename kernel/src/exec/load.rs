//! Mapping an ELF file into a new address space (Linux: `load_elf_binary`, `elf_load`,
//! `load_elf_interp`). Every page comes on demand.

use elf::segment::ProgramHeader;
use linux_raw_sys::general as linux;
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::space::{ExecFields, MapRequest, Reads, Space, StackRights};

use super::elf::{Image, Kind, page_ceil, page_floor, prot, user_addr};
use crate::errno::{Errno, Result};
use crate::fs::File;

/// What the new program's start needs to know of what was mapped.
pub(super) struct Loaded {
    /// Where the program starts: in its interpreter, if it has one.
    pub(super) start: VirtAddr,
    /// `AT_ENTRY`.
    pub(super) entry: u64,
    /// `AT_BASE`.
    pub(super) base: u64,
    /// `AT_PHDR`.
    pub(super) phdr: u64,
    /// Code and data, for `/proc`; the rest is filled in later.
    pub(super) fields: ExecFields,
    /// The top of the stack.
    pub(super) stack_top: VirtAddr,
}

/// What one file became.
struct Placed {
    bias: u64,
    code: (u64, u64),
    data: (u64, u64),
    end: u64,
}

/// What is otherwise than usual.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Whether a movable program goes to a random place.
    pub(super) randomize: bool,
    /// What a right to read is worth.
    pub(super) reads: Reads,
}

/// Maps `program`, and `interpreter` if it has one, into `space`. `stack_room` is what will be put on the stack.
///
/// # Errors
/// `EINVAL`, `ENOMEM` and what mapping the files fails with.
pub(super) fn load(
    space: &Space,
    program: &Image,
    interpreter: Option<&Image>,
    stack_room: u64,
    how: How,
) -> Result<Loaded> {
    let rights = if program.executable_stack() { StackRights::Executable } else { StackRights::Data };
    let stack_top = space.setup_stack(stack_room, rights)?;
    let base = match (program.kind, interpreter) {
        (Kind::Fixed, _) => Base::AsLinked,
        // Apart from the interpreter's mappings, so that the heap has room to grow.
        (Kind::Movable, Some(_)) => Base::At(movable_base(space, program, how.randomize)),
        (Kind::Movable, None) => Base::Anywhere,
    };
    let placed = place(space, program, base, how.reads)?;
    space.set_brk_start(VirtAddr::new(page_ceil(placed.end)));
    let entry = program.entry.wrapping_add(placed.bias);
    let (start, base) = match interpreter {
        Some(interpreter) => {
            let base = match interpreter.kind {
                Kind::Fixed => Base::AsLinked,
                Kind::Movable => Base::Anywhere,
            };
            let there = place(space, interpreter, base, how.reads)?;
            (interpreter.entry.wrapping_add(there.bias), there.bias)
        }
        None => (entry, 0),
    };
    let start = user_addr(start, space.task_size())?;
    let phdr = match program.phdr_address() {
        0 => 0,
        phdr => phdr.wrapping_add(placed.bias),
    };
    let fields = ExecFields {
        start_code: VirtAddr::new(placed.code.0),
        end_code: VirtAddr::new(placed.code.1),
        start_data: VirtAddr::new(placed.data.0),
        end_data: VirtAddr::new(placed.data.1),
        ..ExecFields::default()
    };
    Ok(Loaded { start, entry, base, phdr, fields, stack_top })
}

/// Maps zeroes at address 0, to read and to run (`MMAP_PAGE_ZERO`).
///
/// # Errors
/// `EPERM` and what mapping fails with.
pub(super) fn map_page_zero(space: &Space) -> Result<()> {
    space.mmap(MapRequest {
        addr: VirtAddr::ZERO,
        len: PAGE_SIZE as u64,
        prot: linux::PROT_READ | linux::PROT_EXEC,
        flags: linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_FIXED,
        file: None,
        offset: 0,
    })?;
    Ok(())
}

/// Two thirds up user space, and at random above it (Linux: `ELF_ET_DYN_BASE`, `arch_mmap_rnd`).
fn movable_base(space: &Space, program: &Image, randomize: bool) -> u64 {
    let base = space.task_size().get() / 3 * 2;
    let random = if randomize { super::random_u64() & ((1 << 18) - 1) } else { 0 };
    let first = program.loads().next().map_or(0, |segment| page_floor(segment.p_vaddr));
    let base = (base + (random << 12)) & !(program.alignment() - 1);
    page_floor(base.wrapping_sub(first))
}

/// Where a file goes.
#[derive(Clone, Copy)]
enum Base {
    /// Where its headers say.
    AsLinked,
    /// This far above that.
    At(u64),
    /// Wherever there is room.
    Anywhere,
}

/// Maps all segments of a file.
fn place(space: &Space, image: &Image, base: Base, reads: Reads) -> Result<Placed> {
    let mut placed = Placed { bias: 0, code: (u64::MAX, 0), data: (0, 0), end: 0 };
    let mut first = true;
    for segment in image.loads() {
        let how = match (base, first) {
            (_, false) => Where { flags: linux::MAP_FIXED, span: None, reads },
            (Base::AsLinked, _) => Where { flags: linux::MAP_FIXED_NOREPLACE, span: None, reads },
            (Base::At(bias), _) => {
                placed.bias = bias;
                Where { flags: linux::MAP_FIXED_NOREPLACE, span: Some(span(image)?), reads }
            }
            (Base::Anywhere, _) => Where { flags: 0, span: Some(span(image)?), reads },
        };
        let wanted =
            if how.flags == 0 { segment.p_vaddr & 0xfff } else { segment.p_vaddr.wrapping_add(placed.bias) };
        let at = map_segment(space, image, segment, wanted, how)?;
        if first && matches!(base, Base::Anywhere) {
            placed.bias = at.wrapping_sub(page_floor(segment.p_vaddr));
        }
        first = false;
        note(space, &mut placed, segment)?;
    }
    Ok(placed)
}

fn span(image: &Image) -> Result<u64> {
    image.span().filter(|&span| span != 0).ok_or(Errno::EINVAL)
}

/// Checks one segment's addresses, and notes what `/proc` and the heap need of them.
fn note(space: &Space, placed: &mut Placed, segment: &ProgramHeader) -> Result<()> {
    let start = segment.p_vaddr.wrapping_add(placed.bias);
    let limit = space.task_size().get();
    if start >= limit
        || segment.p_filesz > segment.p_memsz
        || segment.p_memsz > limit
        || limit - segment.p_memsz < start
    {
        return Err(Errno::EINVAL);
    }
    let (file_end, end) = (start + segment.p_filesz, start + segment.p_memsz);
    if prot(segment) & linux::PROT_EXEC != 0 {
        placed.code.1 = placed.code.1.max(file_end);
    }
    placed.code.0 = placed.code.0.min(start);
    placed.data = (placed.data.0.max(start), placed.data.1.max(file_end));
    placed.end = placed.end.max(end);
    Ok(())
}

/// How a segment is mapped.
#[derive(Clone, Copy)]
struct Where {
    /// `MAP_*` about the place.
    flags: u32,
    /// For the first segment of a movable file: bytes that all of them need together.
    span: Option<u64>,
    reads: Reads,
}

/// Maps one segment with its file part and its zeroes; `wanted` is the address of its first byte. Returns where its
/// first page is (Linux: `elf_load`).
fn map_segment(
    space: &Space,
    image: &Image,
    segment: &ProgramHeader,
    wanted: u64,
    how: Where,
) -> Result<u64> {
    let in_page = segment.p_vaddr & 0xfff;
    let at = page_floor(wanted);
    if segment.p_filesz == 0 {
        // Zeroes alone. Linux maps those where it was told to even when the file may go anywhere.
        let (start, end) = (page_floor(wanted), page_ceil(wanted.wrapping_add(segment.p_memsz)));
        map_zeroes(space, start, end, prot(segment))?;
        return Ok(start);
    }
    let len = page_ceil(segment.p_filesz.checked_add(in_page).ok_or(Errno::EINVAL)?);
    let offset = segment.p_offset.wrapping_sub(in_page);
    // The first segment of a movable file is mapped as long as all of them are, so that there is room for the
    // others; what is too much goes again at once.
    let total = how.span.map_or(len, page_ceil);
    let file = File::vm_file(&image.file);
    let mapped = space
        .mmap(MapRequest {
            addr: VirtAddr::new(at),
            len: total.max(len),
            prot: how.reads.of_new(prot(segment), Some(&*file)),
            flags: linux::MAP_PRIVATE | how.flags,
            file: Some(file),
            offset,
        })?
        .get();
    if total > len {
        space.munmap(VirtAddr::new(mapped + len), total - len)?;
    }
    if segment.p_memsz > segment.p_filesz {
        let start = mapped.wrapping_add(in_page).wrapping_add(segment.p_filesz);
        let end = mapped.wrapping_add(in_page).checked_add(segment.p_memsz).ok_or(Errno::EINVAL)?;
        // The rest of the last page of the file must read as zero, where the program could write (Linux: `padzero`,
        // which a page that may not be written stops without harm).
        if prot(segment) & linux::PROT_WRITE != 0 {
            space.zero_memory(VirtAddr::new(start), page_ceil(start) - start).map_err(|_| Errno::EFAULT)?;
        }
        map_zeroes(space, page_ceil(start), page_ceil(end), prot(segment))?;
    }
    Ok(mapped)
}

/// Zeroes from `start` to `end`, always writable, as the heap is (Linux: `vm_brk_flags`).
fn map_zeroes(space: &Space, start: u64, end: u64, prot: u32) -> Result<()> {
    if end <= start {
        return Ok(());
    }
    space.mmap(MapRequest {
        addr: VirtAddr::new(start),
        len: end - start,
        prot: linux::PROT_READ | linux::PROT_WRITE | prot & linux::PROT_EXEC,
        flags: linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_FIXED,
        file: None,
        offset: 0,
    })?;
    Ok(())
}
