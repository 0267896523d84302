//! Small types that every room of the file system shares: kinds of files, device numbers, times, modes.
//!
//! Linux: `include/linux/stat.h`, `include/linux/kdev_t.h`.

use linux_raw_sys::general as raw;

/// The longest file name, in bytes (Linux: `NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// The longest path with its terminating NUL, in bytes (Linux: `PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// The most symbolic links that one look-up follows (Linux: `MAXSYMLINKS`).
pub const MAX_SYMLINKS: u32 = 40;
/// The largest size of a file, in bytes (Linux: `MAX_LFS_FILESIZE`).
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// Set-user-id bit of a mode.
pub const S_ISUID: u32 = raw::S_ISUID;
/// Set-group-id bit of a mode.
pub const S_ISGID: u32 = raw::S_ISGID;
/// Sticky bit of a mode.
pub const S_ISVTX: u32 = raw::S_ISVTX;

/// What an inode is; fixed for its life (the `S_IFMT` part of a mode).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// Another path.
    Symlink,
    /// A device that is read byte by byte.
    CharDevice,
    /// A device of blocks.
    BlockDevice,
    /// A pipe with a name.
    Fifo,
    /// The address of a socket.
    Socket,
}

impl FileKind {
    /// The bits of a mode that say what an inode is (`S_IFMT`).
    pub const MASK: u32 = raw::S_IFMT;

    /// Its `S_IFMT` bits.
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => raw::S_IFREG,
            Self::Directory => raw::S_IFDIR,
            Self::Symlink => raw::S_IFLNK,
            Self::CharDevice => raw::S_IFCHR,
            Self::BlockDevice => raw::S_IFBLK,
            Self::Fifo => raw::S_IFIFO,
            Self::Socket => raw::S_IFSOCK,
        }
    }

    /// The kind that `mode` names; `None` for none. A mode without kind is a regular file for mknod(2).
    pub const fn of_mode(mode: u32) -> Option<Self> {
        match mode & raw::S_IFMT {
            raw::S_IFREG => Some(Self::Regular),
            raw::S_IFDIR => Some(Self::Directory),
            raw::S_IFLNK => Some(Self::Symlink),
            raw::S_IFCHR => Some(Self::CharDevice),
            raw::S_IFBLK => Some(Self::BlockDevice),
            raw::S_IFIFO => Some(Self::Fifo),
            raw::S_IFSOCK => Some(Self::Socket),
            _ => None,
        }
    }

    /// `d_type` of a directory entry.
    pub const fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// A device number: 12 bits of major, 20 of minor.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dev {
    /// The driver.
    pub major: u32,
    /// The device of that driver.
    pub minor: u32,
}

impl Dev {
    /// The device with these numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// As stat(2) and mknod(2) have it (Linux: `new_encode_dev`).
    pub const fn encode(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }

    /// The inverse of [`Dev::encode`].
    pub const fn decode(dev: u32) -> Self {
        Self { major: (dev & 0xfff00) >> 8, minor: (dev & 0xff) | ((dev >> 12) & 0xfff00) }
    }
}

/// A point in time since 1970, as inodes keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Timestamp {
    /// Whole seconds.
    pub sec: i64,
    /// And nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

impl Timestamp {
    /// The time of day.
    pub fn now() -> Self {
        let now = crate::time::realtime();
        Self { sec: (now / 1_000_000_000) as i64, nsec: (now % 1_000_000_000) as u32 }
    }
}

bitflags::bitflags! {
    /// What an access to an inode wants (Linux: `MAY_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Access: u32 {
        /// Run it, or look names up in it.
        const EXEC = 1;
        /// Change it.
        const WRITE = 2;
        /// Read it.
        const READ = 4;
    }
}

/// Flags of open(2) as riscv64 has them (asm-generic), and of its relatives. The crate of constants
/// for the host differs in some of them, so that they stand here.
pub mod oflag {
    /// Access mode: none of these means read only.
    pub const O_ACCMODE: u32 = 0o3;
    /// Write only.
    pub const O_WRONLY: u32 = 0o1;
    /// Read and write.
    pub const O_RDWR: u32 = 0o2;
    /// Make the file if it is missing.
    pub const O_CREAT: u32 = 0o100;
    /// Fail if it is there.
    pub const O_EXCL: u32 = 0o200;
    /// A terminal does not become the controlling one.
    pub const O_NOCTTY: u32 = 0o400;
    /// Cut to length 0.
    pub const O_TRUNC: u32 = 0o1000;
    /// Each write goes to the end.
    pub const O_APPEND: u32 = 0o2000;
    /// Do not wait.
    pub const O_NONBLOCK: u32 = 0o4000;
    /// Data is on the medium when write returns.
    pub const O_DSYNC: u32 = 0o10000;
    /// SIGIO when something comes.
    pub const FASYNC: u32 = 0o20000;
    /// Past the page cache.
    pub const O_DIRECT: u32 = 0o40000;
    /// 64-bit offsets; always so.
    pub const O_LARGEFILE: u32 = 0o100000;
    /// Only a directory.
    pub const O_DIRECTORY: u32 = 0o200000;
    /// Not through a symbolic link at the end.
    pub const O_NOFOLLOW: u32 = 0o400000;
    /// Reads leave the access time alone.
    pub const O_NOATIME: u32 = 0o1000000;
    /// Closed by execve.
    pub const O_CLOEXEC: u32 = 0o2000000;
    /// The rest of O_SYNC.
    pub const O_SYNC_REST: u32 = 0o4000000;
    /// Only a place in the tree.
    pub const O_PATH: u32 = 0o10000000;
    /// The rest of O_TMPFILE.
    pub const O_TMPFILE_REST: u32 = 0o20000000;
    /// A file without a name.
    pub const O_TMPFILE: u32 = O_TMPFILE_REST | O_DIRECTORY;
    /// What openat knows; the rest is ignored by openat and refused by openat2.
    pub const VALID: u32 = O_ACCMODE
        | O_CREAT
        | O_EXCL
        | O_NOCTTY
        | O_TRUNC
        | O_APPEND
        | O_NONBLOCK
        | O_DSYNC
        | FASYNC
        | O_DIRECT
        | O_LARGEFILE
        | O_DIRECTORY
        | O_NOFOLLOW
        | O_NOATIME
        | O_CLOEXEC
        | O_SYNC_REST
        | O_PATH
        | O_TMPFILE_REST;
}
