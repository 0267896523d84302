//! mount(2): which file systems there are, and what it does with its flags (Linux: `path_mount`).

use rux_mm::addr::PAGE_SIZE;
use rux_mm::slab::KArc;

use super::dentry::Dentry;
use super::mount::{self, Mount, MountFlags, Path};
use super::superblock::{FsType, SuperBlock};
use super::{procfs, tmpfs};
use crate::errno::{Errno, Result};

const MS_REMOUNT: u32 = 32;
const MS_BIND: u32 = 4096;
const MS_MOVE: u32 = 8192;
const MS_PROPAGATION: u32 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
const MS_STRICTATIME: u32 = 1 << 24;
const MS_MGC_MASK: u32 = 0xffff_0000;
const MS_MGC_VAL: u32 = 0xc0ed_0000;

/// The file systems that mount(2) and /proc/filesystems know.
pub const TYPES: &[FsType] = &[tmpfs::TMPFS, tmpfs::DEVTMPFS, tmpfs::RAMFS, procfs::PROC];

/// Makes an instance of a file system with the options of mount(2); says its root.
fn instance(kind: &[u8], data: &[u8]) -> Result<(KArc<SuperBlock>, KArc<Dentry>)> {
    match kind {
        b"tmpfs" => tmpfs::mount(tmpfs::TMPFS, &parse(tmpfs::Options::standard(), data)?),
        b"ramfs" => {
            let unlimited = tmpfs::Options { pages: u64::MAX, inodes: u64::MAX, mode: 0o755, uid: 0, gid: 0 };
            tmpfs::mount(tmpfs::RAMFS, &parse(unlimited, data)?)
        }
        // There is one /dev, whose nodes everybody sees.
        b"devtmpfs" => super::devtmpfs::instance(),
        b"proc" => procfs::instance(),
        _ => Err(Errno::ENODEV),
    }
}

/// A number with an optional suffix k, m or g.
fn number(text: &[u8], radix: u32) -> Result<u64> {
    let (digits, scale) = match text.split_last() {
        Some((b'k' | b'K', digits)) => (digits, 10),
        Some((b'm' | b'M', digits)) => (digits, 20),
        Some((b'g' | b'G', digits)) => (digits, 30),
        _ => (text, 0),
    };
    let digits = core::str::from_utf8(digits).map_err(|_| Errno::EINVAL)?;
    let value = u64::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)?;
    value.checked_mul(1 << scale).ok_or(Errno::EINVAL)
}

/// The options of tmpfs.
fn parse(mut options: tmpfs::Options, data: &[u8]) -> Result<tmpfs::Options> {
    for option in data.split(|&b| b == b',').filter(|option| !option.is_empty()) {
        let (key, value) = match option.iter().position(|&b| b == b'=') {
            Some(at) => (&option[..at], &option[at + 1..]),
            None => (option, &b""[..]),
        };
        let id = |value| number(value, 10).and_then(|id| u32::try_from(id).map_err(|_| Errno::EINVAL));
        match key {
            b"size" if value.ends_with(b"%") => {
                let percent = number(&value[..value.len() - 1], 10)?;
                options.pages = (options.pages * 2).saturating_mul(percent) / 100;
            }
            b"size" => options.pages = number(value, 10)?.div_ceil(PAGE_SIZE as u64),
            b"nr_blocks" => options.pages = number(value, 10)?,
            b"nr_inodes" => options.inodes = number(value, 10)?,
            b"mode" => options.mode = number(value, 8)? as u32 & 0o7777,
            b"uid" => options.uid = id(value)?,
            b"gid" => options.gid = id(value)?,
            _ => return Err(Errno::EINVAL),
        }
        if matches!(key, b"size" | b"nr_blocks") && options.pages == 0 {
            options.pages = u64::MAX;
        }
        if key == b"nr_inodes" && options.inodes == 0 {
            options.inodes = u64::MAX;
        }
    }
    Ok(options)
}

fn mount_flags(flags: u32) -> MountFlags {
    let mut kept = MountFlags::from_bits_truncate(flags);
    if !kept.contains(MountFlags::NOATIME) && flags & MS_STRICTATIME == 0 {
        kept |= MountFlags::RELATIME;
    }
    kept
}

/// mount(2) at `path`. The caller has asked for `CAP_SYS_ADMIN`.
///
/// # Errors
/// Those of mount(2).
pub fn mount(source: &[u8], path: &Path, kind: &[u8], flags: u32, data: &[u8]) -> Result<()> {
    let flags = if flags & MS_MGC_MASK == MS_MGC_VAL { flags & !MS_MGC_MASK } else { flags };
    if flags & MS_REMOUNT != 0 {
        if !path.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        path.mount.set_flags(mount_flags(flags));
        return Ok(());
    }
    if flags & MS_BIND != 0 {
        let who = super::current::caller()?;
        let old = who.get().lookup(super::namei::AT_FDCWD, source, super::namei::Lookup::FOLLOW)?;
        let mount =
            Mount::new(old.mount.sb.clone(), old.dentry.clone(), &old.mount.source, old.mount.flags())?;
        return mount::attach(mount, path);
    }
    // One tree for everybody: there is nothing to propagate to, and nothing moves.
    if flags & (MS_MOVE | MS_PROPAGATION) != 0 {
        return Err(Errno::EINVAL);
    }
    if kind.is_empty() {
        return Err(Errno::EINVAL);
    }
    let (sb, root) = instance(kind, data)?;
    let source = if source.is_empty() { &b"none"[..] } else { source };
    mount::attach(Mount::new(sb, root, source, mount_flags(flags))?, path)
}
