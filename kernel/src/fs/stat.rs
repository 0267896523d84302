//! What stat(2), statx(2) and statfs(2) show (Linux: `fs/stat.c`, `fs/statfs.c`).

use rux_mm::addr::PAGE_SIZE;

use super::inode::Inode;
use super::mount::{MountFlags, Path};
use super::types::Timestamp;
use crate::uaccess::Plain;

/// `struct stat` of asm-generic, 64 bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Stat {
    dev: u64,
    ino: u64,
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    rdev: u64,
    pad1: u64,
    size: i64,
    blksize: i32,
    pad2: i32,
    blocks: i64,
    times: [[u64; 2]; 3],
    unused: [u32; 2],
}

const _: () = assert!(size_of::<Stat>() == 128);

// SAFETY: integers, padding spelled out.
unsafe impl Plain for Stat {}

const fn pair(time: Timestamp) -> [u64; 2] {
    [time.sec as u64, time.nsec as u64]
}

/// What stat(2) shows of `inode`.
pub fn stat(inode: &Inode) -> Stat {
    let a = inode.attributes();
    Stat {
        dev: u64::from(inode.sb.dev.encode()),
        ino: inode.ino,
        mode: inode.kind.mode_bits() | a.mode,
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        rdev: u64::from(inode.rdev.encode()),
        pad1: 0,
        size: inode.ops().size() as i64,
        blksize: inode.block_size() as i32,
        pad2: 0,
        blocks: inode.ops().blocks() as i64,
        times: [pair(a.atime), pair(a.mtime), pair(a.ctime)],
        unused: [0; 2],
    }
}

/// A bit of statx's mask that must not be set.
pub const STATX_RESERVED: u32 = 0x8000_0000;
const STATX_BASIC_STATS: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;
const STATX_MNT_ID: u32 = 0x1000;
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

/// `struct statx`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Statx {
    mask: u32,
    blksize: u32,
    attributes: u64,
    nlink: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    pad1: u16,
    ino: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    /// Access, birth, change, modification: seconds, then nanoseconds in the low half.
    times: [[u64; 2]; 4],
    rdev: [u32; 2],
    dev: [u32; 2],
    mnt_id: u64,
    rest: [u64; 13],
}

const _: () = assert!(size_of::<Statx>() == 256);

// SAFETY: integers, padding spelled out.
unsafe impl Plain for Statx {}

/// What statx(2) shows of `path`.
pub fn statx(path: &Path, mask: u32) -> Statx {
    let inode = path.inode();
    let a = inode.attributes();
    let btime = if mask & STATX_BTIME != 0 { STATX_BTIME } else { 0 };
    let mount = if mask & STATX_MNT_ID != 0 { STATX_MNT_ID } else { 0 };
    Statx {
        mask: STATX_BASIC_STATS | btime | mount,
        blksize: inode.block_size() as u32,
        attributes: if path.is_mount_root() { STATX_ATTR_MOUNT_ROOT } else { 0 },
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        mode: (inode.kind.mode_bits() | a.mode) as u16,
        pad1: 0,
        ino: inode.ino,
        size: inode.ops().size(),
        blocks: inode.ops().blocks(),
        attributes_mask: STATX_ATTR_MOUNT_ROOT,
        times: [pair(a.atime), if btime != 0 { pair(a.btime) } else { [0; 2] }, pair(a.ctime), pair(a.mtime)],
        rdev: [inode.rdev.major, inode.rdev.minor],
        dev: [inode.sb.dev.major, inode.sb.dev.minor],
        mnt_id: if mount != 0 { u64::from(path.mount.id) } else { 0 },
        rest: [0; 13],
    }
}

/// `struct statfs` of asm-generic, 64 bits.
pub type StatFsWords = [u64; 15];

/// What statfs(2) shows of the file system at `path`.
pub fn statfs(path: &Path) -> StatFsWords {
    let sb = &path.mount.sb;
    let sizes = sb.ops().statfs();
    let dev = u64::from(sb.dev.encode());
    let mount = path.mount.flags();
    // ST_VALID, and the flags of the mount as statfs numbers them.
    let flags = [
        (MountFlags::RDONLY, 1),
        (MountFlags::NOSUID, 2),
        (MountFlags::NODEV, 4),
        (MountFlags::NOEXEC, 8),
        (MountFlags::NOATIME, 1024),
        (MountFlags::RELATIME, 4096),
    ];
    let flags = flags.iter().filter(|(flag, _)| mount.contains(*flag)).fold(0x20, |sum, (_, bit)| sum | bit);
    [
        u64::from(sb.fs.magic),
        sizes.block,
        sizes.blocks,
        sizes.free,
        sizes.free,
        sizes.files,
        sizes.files_free,
        // Linux makes the identifier of a tmpfs from a random UUID; the device number is as unique.
        dev,
        super::types::NAME_MAX as u64,
        PAGE_SIZE as u64,
        flags,
        0,
        0,
        0,
        0,
    ]
}
