//! Regular files of tmpfs, and memfds: bytes in the page cache and nowhere else.

use rux_mm::addr::PAGE_SIZE;
use rux_mm::filemap::{Mapping, PageBytes};
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};

use super::Counted;
use crate::errno::{Errno, Result};
use crate::fs::current;
use crate::fs::file::{File, FileOps, Seek};
use crate::fs::inode::{Fallocate, Inode, InodeOps};
use crate::fs::iobuf::IoBuf;
use crate::fs::limit;
use crate::fs::memfd::Seals;
use crate::fs::mount::{MountFlags, Path};
use crate::fs::types::{MAX_FILE_SIZE, oflag::*};

/// A file whose pages are all that there is of it.
pub struct MemoryFile {
    mapping: KArc<Mapping>,
    seals: Seals,
    /// Its part of the quota of a mounted tmpfs.
    _counted: Option<Counted>,
}

impl MemoryFile {
    pub(in crate::fs) fn new(mapping: KArc<Mapping>, seals: Seals, counted: Option<Counted>) -> Self {
        Self { mapping, seals, _counted: counted }
    }
}

impl InodeOps for MemoryFile {
    fn open(&self, _path: &Path, _flags: u32) -> Result<KBox<dyn FileOps>> {
        let open = OpenMemory { mapping: self.mapping.clone() };
        Ok(rux_mm::kbox_dyn!(KBox::new(open, Gfp::KERNEL)? => dyn FileOps))
    }

    fn resize(&self, _inode: &Inode, size: u64) -> Result<()> {
        Ok(self.mapping.set_size(size)?)
    }

    fn fallocate(&self, start: u64, end: u64, mode: Fallocate) -> Result<()> {
        if mode == Fallocate::PunchHole {
            self.seals.may_write()?;
            return Ok(self.mapping.punch_hole(start, end)?);
        }
        let size = self.mapping.size();
        if end > size {
            self.seals.may_resize(size, end)?;
        }
        self.mapping.allocate(start, end)?;
        if mode == Fallocate::Extend && end > size {
            self.mapping.set_size(end)?;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.mapping.size()
    }

    fn blocks(&self) -> u64 {
        self.mapping.pages() * (PAGE_SIZE as u64 / 512)
    }

    fn mapping(&self) -> Option<&KArc<Mapping>> {
        Some(&self.mapping)
    }

    fn seals(&self) -> Option<&Seals> {
        Some(&self.seals)
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// An open file of tmpfs.
struct OpenMemory {
    mapping: KArc<Mapping>,
}

/// The bytes as the user copy wants them.
///
/// # Safety
/// The slice is only read or written by copies to and from user memory: a program may change the very
/// bytes at the same time through a mapping, so nothing may be concluded from what they hold.
unsafe fn raw_bytes(bytes: PageBytes<'_>) -> &mut [u8] {
    // SAFETY: `PageBytes` stands for as many bytes of a folio that it holds.
    unsafe { core::slice::from_raw_parts_mut(bytes.as_ptr(), bytes.len()) }
}

impl FileOps for OpenMemory {
    fn read(&self, file: &File, buf: &mut IoBuf<'_>, pos: &mut u64) -> Result<usize> {
        let mut fault = None;
        let done = self.mapping.read_with(*pos, buf.left(), |bytes| {
            if current::is_killed() {
                fault = Some(Errno::EINTR);
                return 0;
            }
            // SAFETY: handed to the user copy, and not kept.
            let bytes = unsafe { raw_bytes(bytes) };
            buf.put(bytes).unwrap_or_else(|error| {
                fault = Some(error);
                0
            })
        })?;
        if done == 0
            && let Some(fault) = fault
        {
            return Err(fault);
        }
        *pos += done as u64;
        if file.flags() & O_NOATIME == 0 && !file.path.mount.flags().contains(MountFlags::NOATIME) {
            file.inode().touch_accessed();
        }
        Ok(done)
    }

    fn write(&self, file: &File, buf: &mut IoBuf<'_>, pos: &mut u64) -> Result<usize> {
        if buf.left() == 0 {
            return Ok(0);
        }
        let inode = file.inode();
        let _contents = inode.rwsem.write();
        if file.flags() & O_APPEND != 0 {
            *pos = self.mapping.size();
        }
        limit::clip_write(buf, *pos, MAX_FILE_SIZE)?;
        if let Some(seals) = inode.ops().seals() {
            seals.may_write()?;
            let end = pos.saturating_add(buf.left() as u64);
            if end > self.mapping.size() {
                seals.may_resize(self.mapping.size(), end)?;
            }
        }
        inode.remove_privileges(&file.cred);
        let mut fault = None;
        let done = self.mapping.write_with(*pos, buf.left(), |bytes| {
            if current::is_killed() {
                fault = Some(Errno::EINTR);
                return 0;
            }
            // SAFETY: handed to the user copy, and not kept.
            let bytes = unsafe { raw_bytes(bytes) };
            buf.take(bytes).unwrap_or_else(|error| {
                fault = Some(error);
                0
            })
        })?;
        if done == 0
            && let Some(fault) = fault
        {
            return Err(fault);
        }
        *pos += done as u64;
        inode.touch_modified();
        Ok(done)
    }

    fn seek(&self) -> Seek {
        Seek::Position
    }

    fn seek_data(&self, pos: u64, hole: bool) -> Result<u64> {
        let (size, page) = (self.mapping.size(), PAGE_SIZE as u64);
        if pos >= size {
            return Err(Errno::ENXIO);
        }
        let mut index = pos / page;
        if !hole {
            let next = self.mapping.next_data(index).ok_or(Errno::ENXIO)? * page;
            return if next >= size { Err(Errno::ENXIO) } else { Ok(next.max(pos)) };
        }
        while index * page < size && self.mapping.find_uptodate(index).is_some() {
            index += 1;
        }
        Ok((index * page).clamp(pos, size))
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}
