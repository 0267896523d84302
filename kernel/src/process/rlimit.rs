//! Resource limits (Linux: `include/asm-generic/resource.h`, `kernel/sys.c`).

use linux_raw_sys::general as abi;
use rux_mm::space::Limits;

use super::{Caps, Cred};

/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// How many limits there are.
pub const COUNT: usize = abi::RLIM_NLIMITS as usize;

/// Which limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource(usize);

macro_rules! resources {
    ($($name:ident = $value:ident)*) => {
        impl Resource {
            $(#[doc = concat!("`", stringify!($value), "`.")] pub const $name: Self = Self(abi::$value as usize);)*
        }
    };
}

resources! {
    CPU = RLIMIT_CPU FSIZE = RLIMIT_FSIZE DATA = RLIMIT_DATA STACK = RLIMIT_STACK CORE = RLIMIT_CORE
    RSS = RLIMIT_RSS NPROC = RLIMIT_NPROC NOFILE = RLIMIT_NOFILE MEMLOCK = RLIMIT_MEMLOCK AS = RLIMIT_AS
    LOCKS = RLIMIT_LOCKS SIGPENDING = RLIMIT_SIGPENDING MSGQUEUE = RLIMIT_MSGQUEUE NICE = RLIMIT_NICE
    RTPRIO = RLIMIT_RTPRIO RTTIME = RLIMIT_RTTIME
}

impl Resource {
    /// The limit that a program names; `None` for an unknown one.
    pub const fn new(number: u32) -> Option<Self> {
        if (number as usize) < COUNT { Some(Self(number as usize)) } else { None }
    }
}

/// A soft limit, which counts, and the hard limit up to which it may be raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Rlimit {
    /// `rlim_cur`.
    pub soft: u64,
    /// `rlim_max`.
    pub hard: u64,
}

// SAFETY: two words.
unsafe impl crate::uaccess::Plain for Rlimit {}

/// All limits of a process.
#[derive(Clone, Copy, Debug)]
pub struct Rlimits([Rlimit; COUNT]);

impl Rlimits {
    /// What Linux gives to the first process, where `threads_max` threads may exist.
    pub fn initial(threads_max: u64) -> Self {
        let mut limits = Self([Rlimit { soft: INFINITY, hard: INFINITY }; COUNT]);
        limits.set(Resource::STACK, Rlimit { soft: 8 << 20, hard: INFINITY });
        limits.set(Resource::CORE, Rlimit { soft: 0, hard: INFINITY });
        limits.set(Resource::NPROC, Rlimit { soft: threads_max / 2, hard: threads_max / 2 });
        limits.set(Resource::NOFILE, Rlimit { soft: 1024, hard: 4096 });
        limits.set(Resource::MEMLOCK, Rlimit { soft: 8 << 20, hard: 8 << 20 });
        limits.set(Resource::SIGPENDING, Rlimit { soft: threads_max / 2, hard: threads_max / 2 });
        limits.set(Resource::MSGQUEUE, Rlimit { soft: 819_200, hard: 819_200 });
        limits.set(Resource::NICE, Rlimit { soft: 0, hard: 0 });
        limits.set(Resource::RTPRIO, Rlimit { soft: 0, hard: 0 });
        limits
    }

    /// Those that bind who acts as `cred` when it maps memory.
    pub fn of_memory(&self, cred: &Cred) -> Limits {
        Limits {
            address_space: self.get(Resource::AS).soft,
            data: self.get(Resource::DATA).soft,
            stack: self.get(Resource::STACK).soft,
            memlock: self.get(Resource::MEMLOCK).soft,
            may_lock: cred.capable(Caps::IPC_LOCK),
            may_map_low: cred.capable(Caps::SYS_RAWIO),
        }
    }

    /// One limit.
    pub const fn get(&self, resource: Resource) -> Rlimit {
        self.0[resource.0]
    }

    /// Changes one limit.
    pub const fn set(&mut self, resource: Resource, limit: Rlimit) {
        self.0[resource.0] = limit;
    }
}
