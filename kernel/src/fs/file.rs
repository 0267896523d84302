//! Open files (Linux: `struct file`, `struct file_operations`).
//!
//! A [`File`] is what descriptors, mappings and running programs share: flags, position, and the
//! [`FileOps`] that whatever was opened gave. The last reference closes it.

use core::fmt;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

use rux_mm::filemap::Mapping;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox};
use rux_mm::space::MmError;
use rux_mm::sync::{Mutex, Rank};
use rux_mm::vma::{FileMemory, VmFile};

use super::current;
use super::epoll::Memberships;
use super::inode::{DirEntry, Fallocate, Inode};
use super::iobuf::IoBuf;
use super::mount::{MountFlags, Path};
use super::poll::{Events, PollTable};
use super::table;
use super::types::{Access, FileKind, MAX_FILE_SIZE, oflag::*};
use crate::errno::{Errno, Result};
use crate::process::cred::{Caps, Cred};

/// Flags that fcntl(F_SETFL) changes.
pub const SETFL: u32 = O_APPEND | O_NONBLOCK | FASYNC | O_DIRECT | O_NOATIME;

/// How an open file treats its position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seek {
    /// It has none, and pread is refused (pipes, terminals, sockets).
    Stream,
    /// It has one, which lseek moves.
    Position,
    /// lseek succeeds and stays at 0 (`/dev/null`).
    Nowhere,
}

/// What an open file does. One for each open file: state of this opening lives in it.
pub trait FileOps: Send + Sync {
    /// Reads at `pos`, and moves it.
    ///
    /// # Errors
    /// `EAGAIN` when it would wait and may not, `ERESTARTSYS` when a signal ended the wait, `EFAULT`.
    fn read(&self, _file: &File, _buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// Writes at `pos`, or at the end of a file opened with `O_APPEND`, and moves it.
    ///
    /// # Errors
    /// As for reads; `EPIPE` (and the caller gets a SIGPIPE), `ENOSPC`, `EFBIG`.
    fn write(&self, _file: &File, _buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        Err(Errno::EINVAL)
    }

    /// How it treats positions.
    fn seek(&self) -> Seek {
        Seek::Stream
    }

    /// Where `SEEK_END` counts from.
    fn end(&self, file: &File) -> u64 {
        file.inode().ops().size()
    }

    /// The first byte from `pos` on that is data, or in a hole (`SEEK_DATA`, `SEEK_HOLE`).
    ///
    /// # Errors
    /// `ENXIO` past the end.
    fn seek_data(&self, _pos: u64, _hole: bool) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    /// Events that are there now; `table` learns where to wait for others.
    fn poll(&self, _file: &File, _table: &mut PollTable<'_>) -> Events {
        Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM
    }

    /// Whether epoll takes it: not what is always ready (`EPERM`).
    fn pollable(&self) -> bool {
        false
    }

    /// A device's own ioctl.
    ///
    /// # Errors
    /// `ENOTTY` for what it does not know.
    fn ioctl(&self, _file: &File, _request: u32, _arg: usize) -> Result<usize> {
        Err(Errno::ENOTTY)
    }

    /// The memory that a mapping of this file has, if it is not the inode's page cache.
    fn is_zero_device(&self) -> bool {
        false
    }

    /// What a descriptor in /proc/PID/fdinfo shows beyond the usual lines.
    fn show_fdinfo(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    /// The object itself, for who knows what it is (epoll, pipes, terminals).
    fn as_any(&self) -> &dyn core::any::Any;

    /// A descriptor of it was closed (Linux: `flush`).
    fn closed(&self, _file: &File) {}
}

/// An open file.
pub struct File {
    /// Where it was found.
    pub path: Path,
    /// Status flags as F_GETFL shows them.
    flags: AtomicU32,
    /// The position. Reads and writes that use it hold the lock.
    pub pos: Mutex<u64>,
    /// Who gets SIGIO (`F_SETOWN`).
    pub owner: AtomicI32,
    /// Who opened it.
    pub cred: KArc<Cred>,
    /// The epolls that it is in.
    pub epolls: Memberships,
    /// The file runs as a program: it cannot be written as long as it is open here.
    executing: bool,
    /// The inode counts this file as a writer.
    counted_writer: bool,
    ops: KBox<dyn FileOps>,
}

/// What is done with a new file beyond reading and writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// open(2) and its kin.
    Ordinary,
    /// To run it: nobody may write it meanwhile.
    Execute,
}

struct PathOnly;

impl FileOps for PathOnly {
    fn poll(&self, _file: &File, _table: &mut PollTable<'_>) -> Events {
        Events::NVAL
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// What serves an open directory; its contents are read through the inode.
pub struct DirectoryFile;

impl FileOps for DirectoryFile {
    fn read(&self, _file: &File, _buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn seek(&self) -> Seek {
        Seek::Position
    }

    fn end(&self, _file: &File) -> u64 {
        MAX_FILE_SIZE
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

impl File {
    /// Opens what is at `path`. Permissions have been checked (Linux: `do_dentry_open`).
    ///
    /// # Errors
    /// `ENFILE`, `ENOMEM`, `ETXTBSY`, `ENXIO` for a device that is not there, what the inode says.
    pub fn open(path: Path, flags: u32, cred: KArc<Cred>, purpose: Purpose) -> Result<KArc<Self>> {
        if flags & O_PATH != 0 {
            let ops: KBox<dyn FileOps> = rux_mm::kbox_dyn!(KBox::new(PathOnly, Gfp::KERNEL)? => dyn FileOps);
            return Self::with(path, flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW), cred, ops, false, false);
        }
        let inode = path.inode().clone();
        let executing = purpose == Purpose::Execute;
        let writer = inode.kind == FileKind::Regular && flags & O_ACCMODE != 0;
        if executing {
            inode.deny_write_access()?;
        } else if writer {
            inode.get_write_access()?;
        }
        let undo = |e| {
            if executing {
                inode.allow_write_access();
            } else if writer {
                inode.put_write_access();
            }
            e
        };
        let ops = inode.ops().open(&path, flags).map_err(undo)?;
        let kept = flags & !(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
        Self::with(path, kept | O_LARGEFILE, cred, ops, executing, writer && !executing).map_err(undo)
    }

    /// An open file of the kernel's making: a pipe's end, an eventfd.
    ///
    /// # Errors
    /// `ENFILE`, `ENOMEM`.
    pub fn anonymous(path: Path, flags: u32, cred: KArc<Cred>, ops: KBox<dyn FileOps>) -> Result<KArc<Self>> {
        Self::with(path, flags, cred, ops, false, false)
    }

    fn with(
        path: Path,
        flags: u32,
        cred: KArc<Cred>,
        ops: KBox<dyn FileOps>,
        executing: bool,
        counted_writer: bool,
    ) -> Result<KArc<Self>> {
        table::count_open(cred.capable(Caps::SYS_ADMIN))?;
        let file = Self {
            path,
            flags: AtomicU32::new(flags),
            pos: Mutex::new(Rank::FilePosition, 0),
            owner: AtomicI32::new(0),
            cred,
            epolls: Memberships::new(),
            executing: false,
            counted_writer: false,
            ops,
        };
        // Only a file that exists gives back, when it is dropped, what its opening took.
        let mut file = KArc::new(file, Gfp::KERNEL)?;
        if let Some(file) = KArc::get_mut(&mut file) {
            (file.executing, file.counted_writer) = (executing, counted_writer);
        }
        Ok(file)
    }

    /// The inode.
    #[inline]
    pub fn inode(&self) -> &KArc<Inode> {
        self.path.inode()
    }

    /// What the file does.
    #[inline]
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }

    /// The status flags with the access mode.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// Changes the flags of [`SETFL`] to those in `flags`.
    pub fn set_flags(&self, flags: u32) {
        let change = |old| Some((old & !SETFL) | (flags & SETFL));
        let _ = self.flags.fetch_update(Relaxed, Relaxed, change);
    }

    /// Sets or clears one status flag (`FIONBIO`).
    pub fn set_flag(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, Relaxed);
        } else {
            self.flags.fetch_and(!flag, Relaxed);
        }
    }

    /// Opened with `O_PATH`.
    #[inline]
    pub fn is_path(&self) -> bool {
        self.flags() & O_PATH != 0
    }

    /// Opened for reading.
    #[inline]
    pub fn can_read(&self) -> bool {
        let flags = self.flags();
        flags & O_PATH == 0 && flags & O_ACCMODE != O_WRONLY && flags & O_ACCMODE != O_ACCMODE
    }

    /// Opened for writing.
    #[inline]
    pub fn can_write(&self) -> bool {
        let flags = self.flags();
        flags & O_PATH == 0 && matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR)
    }

    /// Whether reads and writes may not wait.
    #[inline]
    pub fn nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// Reads at the file's position, and moves it.
    ///
    /// # Errors
    /// `EBADF` when it is not open for reading; what the file says.
    pub fn read(&self, buf: &mut IoBuf<'_>) -> Result<usize> {
        if !self.can_read() {
            return Err(Errno::EBADF);
        }
        match self.ops.seek() {
            Seek::Stream | Seek::Nowhere => self.ops.read(self, buf, &mut 0),
            Seek::Position => self.ops.read(self, buf, &mut self.pos.lock()),
        }
    }

    /// Writes at the file's position, and moves it.
    ///
    /// # Errors
    /// `EBADF` when it is not open for writing; what the file says.
    pub fn write(&self, buf: &mut IoBuf<'_>) -> Result<usize> {
        if !self.can_write() {
            return Err(Errno::EBADF);
        }
        match self.ops.seek() {
            Seek::Stream | Seek::Nowhere => self.ops.write(self, buf, &mut 0),
            Seek::Position => self.ops.write(self, buf, &mut self.pos.lock()),
        }
    }

    /// Reads at `pos`; the file's own position stays.
    ///
    /// # Errors
    /// As for [`File::read`]; `ESPIPE` for what has no positions.
    pub fn read_at(&self, buf: &mut IoBuf<'_>, pos: u64) -> Result<usize> {
        if self.ops.seek() == Seek::Stream {
            return Err(Errno::ESPIPE);
        }
        if !self.can_read() {
            return Err(Errno::EBADF);
        }
        self.ops.read(self, buf, &mut { pos })
    }

    /// Writes at `pos`; the file's own position stays.
    ///
    /// # Errors
    /// As for [`File::write`]; `ESPIPE` for what has no positions.
    pub fn write_at(&self, buf: &mut IoBuf<'_>, pos: u64) -> Result<usize> {
        if self.ops.seek() == Seek::Stream {
            return Err(Errno::ESPIPE);
        }
        if !self.can_write() {
            return Err(Errno::EBADF);
        }
        self.ops.write(self, buf, &mut { pos })
    }

    /// Whether it can be read, or written, at a position of the caller's choice.
    ///
    /// # Errors
    /// `ESPIPE`, then `EBADF`.
    pub fn check_positioned(&self, write: bool) -> Result<()> {
        if self.ops.seek() == Seek::Stream {
            return Err(Errno::ESPIPE);
        }
        if if write { self.can_write() } else { self.can_read() } { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Reads all of `buffer` from `pos` on for the kernel's own use; less at the end of the file. The
    /// file need not be open for reading: execve asks for execution only.
    ///
    /// # Errors
    /// What the file says.
    pub fn kernel_read(&self, buffer: &mut [u8], pos: u64) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let mut buf = IoBuf::kernel_read(&mut buffer[done..]);
            match self.ops.read(self, &mut buf, &mut { pos + done as u64 })? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }

    /// Hands the entries of a directory from its position on to `emit`, `.` and `..` first, until it
    /// says `false`; and moves the position past those that were taken.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT` when the directory was removed, what the inode says.
    pub fn read_dir(&self, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        if !self.inode().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let mut pos = self.pos.lock();
        if self.path.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        let inode = self.inode();
        let parent = self.path.dentry.parent();
        let above = parent.as_ref().map_or(inode.ino, |parent| parent.inode.ino);
        for (at, name, ino) in [(0, &b"."[..], inode.ino), (1, b"..", above)] {
            if *pos == at {
                if !emit(DirEntry { name, ino, kind: FileKind::Directory, next: at + 1 }) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        inode.ops().readdir(&self.path.dentry, *pos, &mut |entry| {
            let next = entry.next;
            let more = emit(entry);
            if more {
                *pos = next;
            }
            more
        })?;
        inode.touch_accessed();
        Ok(())
    }

    /// A descriptor of this file was closed: POSIX locks of that table on it go.
    pub fn flush(&self, table: usize) {
        self.inode().locks.release_posix(table);
        self.ops.closed(self);
    }

    /// A key for what belongs to this opening (flock).
    pub fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let key: *const Self = self;
        self.epolls.leave_all(key);
        let inode = self.path.inode();
        inode.locks.release_file(self.key());
        if self.counted_writer {
            inode.put_write_access();
        }
        if self.executing {
            inode.allow_write_access();
        }
        table::count_closed();
    }
}

impl VmFile for File {
    fn memory(&self) -> FileMemory<'_> {
        if self.ops.is_zero_device() {
            return FileMemory::Zero;
        }
        match self.mapping() {
            Some(mapping) => FileMemory::Cache(mapping),
            None => FileMemory::None,
        }
    }

    fn readable(&self) -> bool {
        self.can_read()
    }

    fn writable(&self) -> bool {
        self.can_write()
    }

    fn noexec(&self) -> bool {
        self.path.mount.flags().contains(MountFlags::NOEXEC)
    }

    fn write_sealed(&self) -> bool {
        self.inode().ops().seals().is_some_and(|seals| seals.may_write().is_err())
    }

    fn may_see_residency(&self) -> bool {
        let inode = self.inode();
        current::cred()
            .is_ok_and(|cred| inode.owned_by(&cred) || inode.permission(&cred, Access::WRITE).is_ok())
    }

    fn punch_hole(&self, start: u64, end: u64) -> core::result::Result<(), MmError> {
        let inode = self.inode();
        let _contents = inode.rwsem.write();
        inode.ops().fallocate(start, end, Fallocate::PunchHole).map_err(|error| match error {
            Errno::ENOMEM => MmError::NoMemory,
            Errno::EPERM => MmError::Permission,
            Errno::EOPNOTSUPP => MmError::NotSupported,
            _ => MmError::Io,
        })?;
        inode.touch_modified();
        Ok(())
    }

    fn dev(&self) -> (u32, u32) {
        let dev = self.inode().sb.dev;
        (dev.major, dev.minor)
    }

    fn ino(&self) -> u64 {
        self.inode().ino
    }

    fn path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.path.format(out)
    }
}

impl File {
    /// The page cache of the file, if it can be mapped.
    pub fn mapping(&self) -> Option<&KArc<Mapping>> {
        self.inode().ops().mapping()
    }

    /// The file as what a mapping holds.
    pub fn vm_file(this: &KArc<Self>) -> KArc<dyn VmFile> {
        rux_mm::karc_dyn!(this.clone() => dyn VmFile)
    }
}
