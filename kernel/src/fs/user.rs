//! What system calls on files take from a program's memory: paths, segments, times
//! (Linux: `getname`, `import_iovec`).

use rux_mm::addr::VirtAddr;
use rux_mm::gfp::Gfp;
use rux_mm::slab::KVec;

use super::iobuf::{Segment, Segments};
use super::types::PATH_MAX;
use crate::errno::{Errno, Result};
use crate::uaccess::{self, Plain};

/// The most segments of readv(2) (Linux: `UIO_MAXIOV`).
const IOV_MAX: usize = 1024;
/// Paths up to this length need no memory of their own.
const SHORT: usize = 128;

/// A path that a program gave.
pub struct UserPath {
    short: [u8; SHORT],
    long: KVec<u8>,
    len: usize,
}

impl UserPath {
    /// Copies the string at `addr`. An empty one is fine here.
    ///
    /// # Errors
    /// `EFAULT`, `ENAMETOOLONG`, `ENOMEM`.
    pub fn read(addr: usize) -> Result<Self> {
        let addr = VirtAddr::new(addr as u64);
        let mut path = Self { short: [0; SHORT], long: KVec::new(), len: 0 };
        path.len = uaccess::strncpy_from_user(&mut path.short, addr)?;
        if path.len == SHORT {
            path.long.resize(PATH_MAX, 0, Gfp::KERNEL)?;
            path.len = uaccess::strncpy_from_user(&mut path.long, addr)?;
            if path.len == PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
        }
        Ok(path)
    }

    /// As [`UserPath::read`]; a null pointer is an empty path where `empty_allowed` (`AT_EMPTY_PATH`).
    ///
    /// # Errors
    /// As [`UserPath::read`].
    pub fn read_or_null(addr: usize, empty_allowed: bool) -> Result<Self> {
        if addr == 0 && empty_allowed {
            return Ok(Self { short: [0; SHORT], long: KVec::new(), len: 0 });
        }
        Self::read(addr)
    }

    /// The bytes, without a NUL.
    pub fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long[..self.len] }
    }
}

/// The memory of read(2) or write(2).
///
/// # Errors
/// `EFAULT` when it is not below the end of user space.
pub fn segment(addr: usize, len: usize) -> Result<Segments> {
    let start = VirtAddr::new(addr as u64);
    if !uaccess::access_ok(start, len) {
        return Err(Errno::EFAULT);
    }
    Ok(Segments::One([Segment { start, len }]))
}

/// The memory of readv(2) or writev(2).
///
/// # Errors
/// `EINVAL` for more than 1,024 segments or a negative length, `EFAULT`, `ENOMEM`.
pub fn segments(addr: usize, count: usize) -> Result<Segments> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let mut many = KVec::with_capacity(count, Gfp::KERNEL)?;
    for n in 0..count {
        let at = VirtAddr::new((addr as u64).wrapping_add(16 * n as u64));
        let [start, len]: [u64; 2] = uaccess::read_user(at)?;
        if (len as i64) < 0 {
            return Err(Errno::EINVAL);
        }
        let segment = Segment { start: VirtAddr::new(start), len: len as usize };
        if !uaccess::access_ok(segment.start, segment.len) {
            return Err(Errno::EFAULT);
        }
        many.push(segment, Gfp::KERNEL)?;
    }
    Ok(Segments::Many(many))
}

/// A `struct timespec` as nanoseconds; `None` for a null pointer.
///
/// # Errors
/// `EFAULT`, `EINVAL` for a time that is none.
pub fn timeout(addr: usize) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    let [sec, nsec]: [i64; 2] = uaccess::read_user(VirtAddr::new(addr as u64))?;
    if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok(Some((sec as u64).saturating_mul(1_000_000_000).saturating_add(nsec as u64)))
}

/// Reads a value at a register's address.
///
/// # Errors
/// `EFAULT`.
pub fn get<T: Plain>(addr: usize) -> Result<T> {
    Ok(uaccess::read_user(VirtAddr::new(addr as u64))?)
}

/// Writes a value to a register's address.
///
/// # Errors
/// `EFAULT`.
pub fn put<T: Plain>(addr: usize, value: T) -> Result<()> {
    Ok(uaccess::write_user(VirtAddr::new(addr as u64), value)?)
}
