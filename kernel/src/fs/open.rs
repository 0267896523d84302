//! Opening: from a path and flags to an open file (Linux: `do_filp_open`).

use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};

use super::change::{self, may_create};
use super::file::{File, Purpose};
use super::inode::{Inode, New};
use super::mount::{MountFlags, Path};
use super::namei::{AT_FDCWD, Caller, Last, Lookup, Walk};
use super::types::{Access, FileKind, oflag::*};
use crate::errno::{Errno, Result};

/// What open is asked for.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// `O_*`.
    pub flags: u32,
    /// Permissions of a new file, before the umask.
    pub mode: u32,
    /// Restrictions of the walk (openat2).
    pub lookup: Lookup,
}

impl How {
    /// As openat(2) has it: unknown flags are ignored.
    pub fn openat(flags: u32, mode: u32) -> Self {
        Self { flags: flags & VALID, mode: mode & 0o7777, lookup: Lookup::empty() }
    }

    /// Flags that do not go together, put right or refused (Linux: `build_open_flags`).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn normalized(mut self) -> Result<Self> {
        if self.flags & O_TMPFILE_REST != 0 {
            if self.flags & O_TMPFILE != O_TMPFILE || self.flags & O_CREAT != 0 || self.flags & O_ACCMODE == 0
            {
                return Err(Errno::EINVAL);
            }
        } else if self.flags & O_CREAT != 0 && self.flags & O_DIRECTORY != 0 && self.flags & O_PATH == 0 {
            return Err(Errno::EINVAL);
        }
        if self.flags & O_PATH != 0 {
            self.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        }
        if self.flags & O_CREAT != 0 && self.flags & O_EXCL != 0 {
            self.flags |= O_NOFOLLOW;
        }
        Ok(self)
    }

    /// The access that the inode must grant.
    fn access(&self) -> Access {
        let mut access = match self.flags & O_ACCMODE {
            0 => Access::READ,
            O_WRONLY => Access::WRITE,
            _ => Access::READ | Access::WRITE,
        };
        if self.flags & O_TRUNC != 0 {
            access |= Access::WRITE;
        }
        access
    }
}

/// Whether the inode may be opened so (Linux: `may_open`).
fn may_open(path: &Path, access: Access, flags: u32, caller: Caller<'_>) -> Result<()> {
    let inode = path.inode();
    let mount = path.mount.flags();
    match inode.kind {
        FileKind::Symlink => return Err(Errno::ELOOP),
        FileKind::Directory if access.contains(Access::WRITE) => return Err(Errno::EISDIR),
        FileKind::Directory if access.contains(Access::EXEC) => return Err(Errno::EACCES),
        FileKind::BlockDevice | FileKind::CharDevice if mount.contains(MountFlags::NODEV) => {
            return Err(Errno::EACCES);
        }
        FileKind::Regular if access.contains(Access::EXEC) && mount.contains(MountFlags::NOEXEC) => {
            return Err(Errno::EACCES);
        }
        FileKind::BlockDevice | FileKind::CharDevice | FileKind::Fifo | FileKind::Socket
            if access.contains(Access::EXEC) =>
        {
            return Err(Errno::EACCES);
        }
        _ => {}
    }
    if access.contains(Access::WRITE) && matches!(inode.kind, FileKind::Regular | FileKind::Directory) {
        path.writable()?;
    }
    inode.permission(caller.cred, access)?;
    if flags & O_NOATIME != 0 && !inode.owned_by(caller.cred) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn open_found(path: Path, how: How, created: bool, caller: Caller<'_>) -> Result<KArc<File>> {
    if how.flags & O_CREAT != 0 {
        if how.flags & O_EXCL != 0 && !created {
            return Err(Errno::EEXIST);
        }
        if path.inode().is_dir() {
            return Err(Errno::EISDIR);
        }
    }
    if how.flags & O_DIRECTORY != 0 && !path.inode().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if how.flags & O_PATH != 0 {
        return File::open(path, how.flags, caller.cred.clone(), Purpose::Ordinary);
    }
    // A file that this call made is open to it whatever its permissions say.
    if !created {
        may_open(&path, how.access(), how.flags, caller)?;
    }
    let truncate = how.flags & O_TRUNC != 0 && !created && path.inode().kind == FileKind::Regular;
    let file = File::open(path, how.flags, caller.cred.clone(), Purpose::Ordinary)?;
    if truncate {
        // Without write access of its own (`O_RDONLY | O_TRUNC`) it must still not cut a running program.
        let inode: &KArc<Inode> = file.inode();
        inode.get_write_access()?;
        let cut = change::truncate_inode(inode, 0, caller.cred);
        inode.put_write_access();
        cut?;
    }
    Ok(file)
}

/// Opens `text` from `dirfd`.
///
/// # Errors
/// Those of open(2).
pub fn open(caller: Caller<'_>, dirfd: i32, text: &[u8], how: How) -> Result<KArc<File>> {
    let how = how.normalized()?;
    let follow = if how.flags & O_NOFOLLOW == 0 { Lookup::FOLLOW } else { Lookup::empty() };
    if how.flags & O_TMPFILE == O_TMPFILE && how.flags & O_PATH == 0 {
        let dir = caller.lookup(dirfd, text, how.lookup | follow | Lookup::DIRECTORY)?;
        let dentry = change::create_unnamed(&dir, how.mode, how.flags & O_EXCL != 0, caller)?;
        return open_found(
            Path { mount: dir.mount, dentry },
            How { flags: how.flags & !O_TMPFILE, ..how },
            true,
            caller,
        );
    }
    if how.flags & O_CREAT == 0 {
        let directory = if how.flags & O_DIRECTORY != 0 { Lookup::DIRECTORY } else { Lookup::empty() };
        let path = caller.lookup(dirfd, text, how.lookup | follow | directory)?;
        return open_found(path, how, false, caller);
    }
    let mut walk = Walk::new(caller, dirfd, text, how.lookup)?;
    let mut owned: KVec<u8> = KVec::new();
    owned.extend_from_slice(text, Gfp::KERNEL)?;
    loop {
        let (dir, last, slashes) = walk.parent(&owned)?;
        let Last::Name(name) = last else { return Err(Errno::EISDIR) };
        if slashes {
            return Err(Errno::EISDIR);
        }
        let found = loop {
            match walk.last(name) {
                Err(Errno::ENOENT) => dir.inode().ops().may_add()?,
                found => break found?,
            }
            dir.writable()?;
            may_create(&dir, caller.cred)?;
            match change::create(&dir, name, New::Regular, how.mode, caller) {
                Ok(dentry) => return open_found(Path { mount: dir.mount, dentry }, how, true, caller),
                // Somebody was quicker: open what they made.
                Err(Errno::EEXIST) if how.flags & O_EXCL == 0 => {}
                Err(e) => return Err(e),
            }
        };
        if found.inode().kind != FileKind::Symlink || how.flags & O_NOFOLLOW != 0 {
            return open_found(found, how, false, caller);
        }
        match walk.last_link(&found)? {
            Ok(text) => owned = text,
            Err(place) => return open_found(place, how, false, caller),
        }
    }
}

/// Opens a program for execve (Linux: `do_open_execat`). The file is not writable by anybody as long as
/// the returned file is open. With `AT_EMPTY_PATH` the descriptor itself runs.
///
/// # Errors
/// `EACCES` when it is no regular file or may not run, `ETXTBSY`, those of a look-up.
pub fn open_exec(caller: Caller<'_>, dirfd: i32, text: &[u8], how: Lookup) -> Result<KArc<File>> {
    let path = caller.lookup(dirfd, text, how)?;
    if path.inode().kind == FileKind::Symlink {
        return Err(Errno::ELOOP);
    }
    if path.inode().kind != FileKind::Regular {
        return Err(Errno::EACCES);
    }
    may_open(&path, Access::EXEC, 0, caller)?;
    File::open(path, 0, caller.cred.clone(), Purpose::Execute)
}

/// As [`open_exec`] from the working directory, through symbolic links: the interpreter of a program.
///
/// # Errors
/// As [`open_exec`].
pub fn open_interpreter(caller: Caller<'_>, text: &[u8]) -> Result<KArc<File>> {
    open_exec(caller, AT_FDCWD, text, Lookup::FOLLOW)
}
