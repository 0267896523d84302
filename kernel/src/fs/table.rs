//! The descriptors of a process (Linux: `fs/file.c`).
//!
//! A table of chunks of 64, each with a word of the descriptors in use and one of those that execve
//! closes. Looking one up takes the lock shared, for the time of one increment.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rux_mm::error::AllocError;
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KBox, KVec};
use rux_mm::sync::{Rank, RwSem};

use super::file::File;
use crate::errno::{Errno, Result};

const CHUNK: usize = 64;

/// The limit of `RLIMIT_NOFILE` itself (`/proc/sys/fs/nr_open`).
pub const NR_OPEN: u64 = 1 << 20;

struct Chunk {
    /// Bit n: descriptor n is in use, by a file or by somebody who is about to put one there.
    used: u64,
    cloexec: u64,
    files: [Option<KArc<File>>; CHUNK],
}

impl Chunk {
    const EMPTY: Self = Self { used: 0, cloexec: 0, files: [const { None }; CHUNK] };
}

struct Table {
    chunks: KVec<KBox<Chunk>>,
    /// No descriptor below is free.
    first_free: usize,
}

/// The descriptors of a process; shared by its threads, and by other processes under `CLONE_FILES`.
pub struct FileTable {
    table: RwSem<Table>,
}

/// A descriptor that is taken, and has no file yet. Dropping it frees the descriptor.
#[must_use]
pub struct Reserved<'a> {
    table: &'a FileTable,
    fd: usize,
}

impl Table {
    fn get(&self, fd: usize) -> Option<&KArc<File>> {
        self.chunks.get(fd / CHUNK)?.files[fd % CHUNK].as_ref()
    }

    /// The first descriptor from `from` on that has a file.
    fn next_file(&self, from: usize) -> Option<usize> {
        let mut fd = from;
        loop {
            let chunk = self.chunks.get(fd / CHUNK)?;
            let left = chunk.used >> (fd % CHUNK);
            if left == 0 {
                fd = (fd / CHUNK + 1) * CHUNK;
                continue;
            }
            fd += left.trailing_zeros() as usize;
            if chunk.files[fd % CHUNK].is_some() {
                return Some(fd);
            }
            fd += 1;
        }
    }

    fn set_cloexec(&mut self, fd: usize, cloexec: bool) {
        if let Some(chunk) = self.chunks.get_mut(fd / CHUNK) {
            let bit = 1 << (fd % CHUNK);
            chunk.cloexec = if cloexec { chunk.cloexec | bit } else { chunk.cloexec & !bit };
        }
    }

    /// Takes the lowest free descriptor from `from` on and below `limit`.
    fn reserve(&mut self, from: usize, limit: usize, cloexec: bool) -> Result<usize> {
        let mut fd = from.max(self.first_free);
        loop {
            if fd >= limit {
                return Err(Errno::EMFILE);
            }
            let Some(chunk) = self.chunks.get(fd / CHUNK) else { break };
            let free = !chunk.used & (u64::MAX << (fd % CHUNK));
            if free != 0 {
                fd = fd / CHUNK * CHUNK + free.trailing_zeros() as usize;
                if fd >= limit {
                    return Err(Errno::EMFILE);
                }
                break;
            }
            fd = (fd / CHUNK + 1) * CHUNK;
        }
        self.grow(fd)?;
        self.chunks[fd / CHUNK].used |= 1 << (fd % CHUNK);
        self.set_cloexec(fd, cloexec);
        if from <= self.first_free {
            self.first_free = fd + 1;
        }
        Ok(fd)
    }

    fn grow(&mut self, fd: usize) -> core::result::Result<(), AllocError> {
        while self.chunks.len() <= fd / CHUNK {
            self.chunks.push(KBox::new(Chunk::EMPTY, Gfp::KERNEL)?, Gfp::KERNEL)?;
        }
        Ok(())
    }

    fn free(&mut self, fd: usize) -> Option<KArc<File>> {
        let chunk = self.chunks.get_mut(fd / CHUNK)?;
        chunk.used &= !(1 << (fd % CHUNK));
        chunk.cloexec &= !(1 << (fd % CHUNK));
        self.first_free = self.first_free.min(fd);
        chunk.files[fd % CHUNK].take()
    }
}

impl FileTable {
    /// A table without files.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> core::result::Result<KArc<Self>, AllocError> {
        Self::with(KVec::new(), 0)
    }

    fn with(chunks: KVec<KBox<Chunk>>, first_free: usize) -> core::result::Result<KArc<Self>, AllocError> {
        KArc::new(Self { table: RwSem::new(Rank::Files, Table { chunks, first_free }) }, Gfp::KERNEL)
    }

    /// Who holds POSIX record locks: the table, as on Linux.
    pub fn owner(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// A copy for a child, with the same open files (Linux: `dup_fd`).
    ///
    /// # Errors
    /// No memory.
    pub fn fork(&self) -> core::result::Result<KArc<Self>, AllocError> {
        let table = self.table.read();
        let used = table.chunks.iter().rposition(|chunk| chunk.used != 0).map_or(0, |last| last + 1);
        let mut chunks = KVec::new();
        chunks.reserve(used, Gfp::KERNEL)?;
        let mut first_free = used * CHUNK;
        for (n, chunk) in table.chunks.iter().take(used).enumerate() {
            let mut copy = KBox::new_with(Gfp::KERNEL, || Chunk::EMPTY)?;
            let (mut fd, mut left) = (0, chunk.used);
            while left != 0 {
                // A descriptor that is only reserved belongs to the thread that reserved it.
                if let Some(file) = &chunk.files[fd] {
                    copy.used |= 1 << fd;
                    copy.files[fd] = Some(file.clone());
                }
                left >>= 1;
                fd += 1;
            }
            copy.cloexec = chunk.cloexec & copy.used;
            if copy.used != u64::MAX {
                first_free = first_free.min(n * CHUNK + copy.used.trailing_ones() as usize);
            }
            chunks.push(copy, Gfp::KERNEL)?;
        }
        drop(table);
        Self::with(chunks, first_free)
    }

    /// The open file `fd`, `O_PATH` ones included.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get_any(&self, fd: i32) -> Result<KArc<File>> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.table.read().get(fd).cloned().ok_or(Errno::EBADF)
    }

    /// The open file `fd`, for anything but its place: `O_PATH` ones are none.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: i32) -> Result<KArc<File>> {
        let file = self.get_any(fd)?;
        if file.is_path() { Err(Errno::EBADF) } else { Ok(file) }
    }

    /// Takes the lowest free descriptor that is at least `from`.
    ///
    /// # Errors
    /// `EMFILE` when that is not below `limit` (the process' `RLIMIT_NOFILE`), `ENOMEM`.
    pub fn reserve(&self, from: usize, limit: u64, cloexec: bool) -> Result<Reserved<'_>> {
        let limit = limit.min(NR_OPEN) as usize;
        let fd = self.table.write().reserve(from, limit, cloexec)?;
        Ok(Reserved { table: self, fd })
    }

    /// Gives `file` the lowest free descriptor.
    ///
    /// # Errors
    /// As [`FileTable::reserve`].
    pub fn install(&self, file: KArc<File>, limit: u64, cloexec: bool) -> Result<i32> {
        Ok(self.reserve(0, limit, cloexec)?.install(file))
    }

    /// Takes `fd` away (close(2)).
    ///
    /// # Errors
    /// `EBADF`; and what the file says on [`File::flush`].
    pub fn close(&self, fd: i32) -> Result<()> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let mut table = self.table.write();
        if table.get(index).is_none() {
            return Err(Errno::EBADF);
        }
        let file = table.free(index);
        drop(table);
        if let Some(file) = file {
            file.flush(self.owner());
        }
        Ok(())
    }

    /// Takes the descriptors from `first` to `last` away, or marks them for execve (close_range(2)).
    pub fn close_range(&self, first: usize, last: usize, only_mark: bool) {
        let mut from = first;
        loop {
            let mut table = self.table.write();
            let Some(fd) = table.next_file(from).filter(|fd| *fd <= last) else { return };
            if only_mark {
                table.set_cloexec(fd, true);
            } else {
                let file = table.free(fd);
                drop(table);
                if let Some(file) = file {
                    file.flush(self.owner());
                }
            }
            from = fd + 1;
        }
    }

    /// Makes `to` another descriptor of what `from` is (dup2(2), dup3(2)); what `to` was is closed.
    ///
    /// # Errors
    /// `EBADF`, also when `to` is not below `limit`; `EBUSY` when another thread is about to open a
    /// file as `to`; `ENOMEM`.
    pub fn replace(&self, from: i32, to: i32, limit: u64, cloexec: bool) -> Result<()> {
        let to = usize::try_from(to).map_err(|_| Errno::EBADF)?;
        if to as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        let from = usize::try_from(from).map_err(|_| Errno::EBADF)?;
        let mut table = self.table.write();
        let file = table.get(from).cloned().ok_or(Errno::EBADF)?;
        table.grow(to)?;
        let chunk = &mut table.chunks[to / CHUNK];
        let bit = 1 << (to % CHUNK);
        if chunk.used & bit != 0 && chunk.files[to % CHUNK].is_none() {
            return Err(Errno::EBUSY);
        }
        chunk.used |= bit;
        let old = chunk.files[to % CHUNK].replace(file);
        table.set_cloexec(to, cloexec);
        drop(table);
        if let Some(old) = old {
            old.flush(self.owner());
        }
        Ok(())
    }

    /// Whether execve closes `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn cloexec(&self, fd: i32) -> Result<bool> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let table = self.table.read();
        table.get(fd).ok_or(Errno::EBADF)?;
        Ok(table.chunks.get(fd / CHUNK).is_some_and(|chunk| chunk.cloexec & 1 << (fd % CHUNK) != 0))
    }

    /// Says whether execve closes `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_cloexec(&self, fd: i32, cloexec: bool) -> Result<()> {
        let fd = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let mut table = self.table.write();
        table.get(fd).ok_or(Errno::EBADF)?;
        table.set_cloexec(fd, cloexec);
        Ok(())
    }

    /// Closes what execve closes. The table is the caller's alone by then.
    pub fn close_on_exec(&self) {
        let mut n = 0;
        loop {
            let mut table = self.table.write();
            let Some(chunk) = table.chunks.get_mut(n) else { return };
            if chunk.cloexec == 0 {
                n += 1;
                continue;
            }
            let fd = n * CHUNK + chunk.cloexec.trailing_zeros() as usize;
            let file = table.free(fd);
            drop(table);
            if let Some(file) = file {
                file.flush(self.owner());
            }
        }
    }

    /// Closes everything, when the process ends. POSIX locks go with the descriptors.
    pub fn close_all(&self) {
        self.close_range(0, usize::MAX, false);
    }

    /// The lowest descriptor in use from `from` on, with its file (`/proc/PID/fd`).
    pub fn next(&self, from: usize) -> Option<(usize, KArc<File>)> {
        let table = self.table.read();
        let mut fd = from;
        while fd < table.chunks.len() * CHUNK {
            if let Some(file) = table.get(fd) {
                return Some((fd, file.clone()));
            }
            fd += 1;
        }
        None
    }

    /// How many descriptors there is room for (`FDSize` of /proc/PID/status).
    pub fn capacity(&self) -> usize {
        (self.table.read().chunks.len() * CHUNK).max(CHUNK)
    }
}

impl Drop for FileTable {
    fn drop(&mut self) {
        self.close_all();
    }
}

impl Reserved<'_> {
    /// The descriptor's number.
    pub fn fd(&self) -> i32 {
        self.fd as i32
    }

    /// Makes the descriptor `file`.
    pub fn install(self, file: KArc<File>) -> i32 {
        let mut table = self.table.table.write();
        if let Some(chunk) = table.chunks.get_mut(self.fd / CHUNK) {
            chunk.files[self.fd % CHUNK] = Some(file);
        }
        drop(table);
        let fd = self.fd as i32;
        core::mem::forget(self);
        fd
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.table.table.write().free(self.fd);
    }
}

/// Open files of the whole system (`/proc/sys/fs/file-nr`).
static OPEN_FILES: AtomicU64 = AtomicU64::new(0);
/// The most of them, for those without privilege (`/proc/sys/fs/file-max`).
static MAX_FILES: AtomicU64 = AtomicU64::new(8192);

/// Sets the most open files: one for each 10 KiB of memory (Linux: `files_maxfiles_init`).
pub(super) fn set_max_files(pages: u64) {
    MAX_FILES.store((pages * 4 / 10).max(8192), Relaxed);
}

/// How many files are open, and how many may be.
pub fn open_files() -> (u64, u64) {
    (OPEN_FILES.load(Relaxed), MAX_FILES.load(Relaxed))
}

/// Counts one more open file.
///
/// # Errors
/// `ENFILE`.
pub(super) fn count_open(privileged: bool) -> Result<()> {
    let open = OPEN_FILES.fetch_add(1, Relaxed);
    if open >= MAX_FILES.load(Relaxed) && !privileged {
        OPEN_FILES.fetch_sub(1, Relaxed);
        return Err(Errno::ENFILE);
    }
    Ok(())
}

/// Counts one open file less.
pub(super) fn count_closed() {
    OPEN_FILES.fetch_sub(1, Relaxed);
}
