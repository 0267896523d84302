//! What an operation on an address space fails with, and the errno that says so.

use linux_raw_sys::errno;

use crate::error::AllocError;
use crate::filemap::FileError;
use crate::rmap::NoLink;

/// The ways in which `mmap` and its family fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MmError {
    /// A mapping that the file's mode forbids.
    #[error("EACCES")]
    Access,
    /// Not now: a limit on locked memory, or a page that would not come.
    #[error("EAGAIN")]
    Again,
    /// No such descriptor, or a hole where `madvise` wanted a file.
    #[error("EBADF")]
    BadFile,
    /// The pages are locked.
    #[error("EBUSY")]
    Busy,
    /// `MAP_FIXED_NOREPLACE` met a mapping.
    #[error("EEXIST")]
    Exists,
    /// An address that is not mapped.
    #[error("EFAULT")]
    Fault,
    /// A signal that ends the process came between.
    #[error("EINTR")]
    Interrupted,
    /// Arguments that make no sense.
    #[error("EINVAL")]
    Invalid,
    /// The file could not be read.
    #[error("EIO")]
    Io,
    /// The file cannot be mapped.
    #[error("ENODEV")]
    NoDevice,
    /// No memory, no room, or too many mappings; also a hole in the range.
    #[error("ENOMEM")]
    NoMemory,
    /// A flag that `MAP_SHARED_VALIDATE` does not know.
    #[error("EOPNOTSUPP")]
    NotSupported,
    /// More than fits into a file offset.
    #[error("EOVERFLOW")]
    Overflow,
    /// Not allowed to this process.
    #[error("EPERM")]
    Permission,
    /// A poisoned page.
    #[error("EHWPOISON")]
    Poisoned,
}

impl MmError {
    /// The errno, as a positive number.
    pub const fn errno(self) -> u32 {
        match self {
            Self::Access => errno::EACCES,
            Self::Again => errno::EAGAIN,
            Self::BadFile => errno::EBADF,
            Self::Busy => errno::EBUSY,
            Self::Exists => errno::EEXIST,
            Self::Fault => errno::EFAULT,
            Self::Interrupted => errno::EINTR,
            Self::Invalid => errno::EINVAL,
            Self::Io => errno::EIO,
            Self::NoDevice => errno::ENODEV,
            Self::NoMemory => errno::ENOMEM,
            Self::NotSupported => errno::EOPNOTSUPP,
            Self::Overflow => errno::EOVERFLOW,
            Self::Permission => errno::EPERM,
            Self::Poisoned => errno::EHWPOISON,
        }
    }
}

impl From<AllocError> for MmError {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

impl From<NoLink> for MmError {
    fn from(error: NoLink) -> Self {
        match error {
            NoLink::OutOfMemory => Self::NoMemory,
            NoLink::Sealed => Self::Permission,
        }
    }
}

impl From<FileError> for MmError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoMemory => Self::NoMemory,
            FileError::Fault => Self::Fault,
            FileError::Interrupted => Self::Interrupted,
            FileError::NoSpace | FileError::Io | FileError::PastEnd => Self::Io,
        }
    }
}
