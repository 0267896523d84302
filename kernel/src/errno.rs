//! The error numbers that a program sees, and where the rooms' small error enums turn into them.
//!
//! An [`Errno`] is as wide as a register, so that `Result<usize, Errno>` travels in two of them. Codes
//! above [`Errno::ERESTARTSYS`] never reach a program: the way out of the kernel turns them into a
//! restart or `EINTR` (Linux: `include/linux/errno.h`).

use core::fmt;

use linux_raw_sys::errno as raw;
use rux_mm::error::AllocError;

/// The result of what a system call asks for.
pub type Result<T = usize> = core::result::Result<T, Errno>;

/// One of Linux's error numbers, 1 to 4095.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Errno(usize);

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: Self = Self(raw::$name as usize);)*

            /// Its name, for the log.
            pub const fn name(self) -> &'static str {
                match self.0 as u32 {
                    $(raw::$name => stringify!($name),)*
                    512 => "ERESTARTSYS",
                    513 => "ERESTARTNOINTR",
                    514 => "ERESTARTNOHAND",
                    516 => "ERESTART_RESTARTBLOCK",
                    _ => "E?",
                }
            }
        }
    };
}

errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK
    EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE
    EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM
    ENODATA ETIME EPROTO EBADMSG EOVERFLOW EILSEQ EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE
    ENOPROTOOPT EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETUNREACH
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTUNREACH EALREADY
    EINPROGRESS ESTALE EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED EOWNERDEAD ENOTRECOVERABLE ERFKILL
    EHWPOISON ELIBBAD ENOPKG
}

impl Errno {
    /// Interrupted: start again after a handler with `SA_RESTART`, or when no handler ran; else `EINTR`.
    pub const ERESTARTSYS: Self = Self(512);
    /// Interrupted: start again in any case.
    pub const ERESTARTNOINTR: Self = Self(513);
    /// Interrupted: start again when no handler ran; else `EINTR`.
    pub const ERESTARTNOHAND: Self = Self(514);
    /// Interrupted: go on by `restart_syscall` when no handler ran; else `EINTR`.
    pub const ERESTART_RESTARTBLOCK: Self = Self(516);

    /// Whether it is one of those that ask for a restart.
    #[inline(always)]
    pub const fn asks_for_restart(self) -> bool {
        self.0 >= 512 && self.0 <= 516
    }

    /// The number.
    #[inline(always)]
    pub const fn get(self) -> usize {
        self.0
    }

    /// What the system call leaves in `a0`: the number, negated.
    #[inline(always)]
    pub const fn to_register(self) -> usize {
        self.0.wrapping_neg()
    }

    /// The error that a register of [`Errno::to_register`] holds; `None` when it is no error.
    #[inline(always)]
    pub const fn of_register(value: usize) -> Option<Self> {
        let number = value.wrapping_neg();
        if number != 0 && number < 4096 { Some(Self(number)) } else { None }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<AllocError> for Errno {
    fn from(_: AllocError) -> Self {
        Self::ENOMEM
    }
}

impl From<crate::uaccess::Efault> for Errno {
    fn from(_: crate::uaccess::Efault) -> Self {
        Self::EFAULT
    }
}

impl From<rux_mm::space::MmError> for Errno {
    fn from(error: rux_mm::space::MmError) -> Self {
        Self(error.errno() as usize)
    }
}
