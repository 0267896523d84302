//! The names of the system and of the host (Linux: `kernel/utsname.c`, `kernel/sys.c`).

use linux_raw_sys::general as linux;
use rux_mm::sync::{IrqSpinLock, Rank};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps};
use crate::uaccess;

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_uname, uname),
    (linux::__NR_sethostname, sethostname),
    (linux::__NR_setdomainname, setdomainname),
];

/// Bytes of each field of `struct new_utsname`.
const UTS_LEN: usize = 65;

/// The names that root may change.
struct Names {
    host: [u8; UTS_LEN],
    domain: [u8; UTS_LEN],
}

static NAMES: IrqSpinLock<Names> =
    IrqSpinLock::new(Rank::ThreadField, Names { host: field("(none)"), domain: field("(none)") });

/// The release that programs see: Rux does what Linux 6.12 does.
pub const RELEASE: &str = "6.12.0-rux";
/// The version: who it really is.
pub const VERSION: &str = concat!("#1 SMP PREEMPT Rux ", env!("CARGO_PKG_VERSION"));

const fn field(text: &str) -> [u8; UTS_LEN] {
    let mut field = [0; UTS_LEN];
    let mut i = 0;
    while i < text.len() && i < UTS_LEN - 1 {
        field[i] = text.as_bytes()[i];
        i += 1;
    }
    field
}

/// The name of the host, as a field of `uname`.
pub fn host_name() -> [u8; UTS_LEN] {
    NAMES.lock().host
}

/// The name of the domain, as [`host_name`].
pub fn domain_name() -> [u8; UTS_LEN] {
    NAMES.lock().domain
}

/// A name as a field; what is too long is cut, as /proc/sys does.
fn cut(name: &[u8]) -> [u8; UTS_LEN] {
    let mut field = [0; UTS_LEN];
    for (to, from) in field[..UTS_LEN - 1].iter_mut().zip(name) {
        *to = *from;
    }
    field
}

/// Names the host (/proc/sys/kernel/hostname). Whether the caller may has been asked.
///
/// # Errors
/// None now.
pub fn set_host_name(name: &[u8]) -> Result<()> {
    NAMES.lock().host = cut(name);
    Ok(())
}

/// Names the domain, as [`set_host_name`].
///
/// # Errors
/// None now.
pub fn set_domain_name(name: &[u8]) -> Result<()> {
    NAMES.lock().domain = cut(name);
    Ok(())
}

fn uname(args: &Args) -> Result<usize> {
    let (host, domain) = {
        let names = NAMES.lock();
        (names.host, names.domain)
    };
    // Linux without UNAME26 in the personality: it has no other form here.
    let fields = [field("Linux"), host, field(RELEASE), field(VERSION), field("riscv64"), domain];
    uaccess::copy_to_user(args.addr(0), fields.as_flattened())?;
    Ok(0)
}

fn read_name(args: &Args) -> Result<[u8; UTS_LEN]> {
    process::current()?.cred().require(Caps::SYS_ADMIN)?;
    let len = usize::try_from(args.int(1)).map_err(|_| Errno::EINVAL)?;
    if len > UTS_LEN - 1 {
        return Err(Errno::EINVAL);
    }
    let mut name = [0; UTS_LEN];
    uaccess::copy_from_user(&mut name[..len], args.addr(0))?;
    Ok(name)
}

fn sethostname(args: &Args) -> Result<usize> {
    let name = read_name(args)?;
    NAMES.lock().host = name;
    Ok(0)
}

fn setdomainname(args: &Args) -> Result<usize> {
    let name = read_name(args)?;
    NAMES.lock().domain = name;
    Ok(0)
}
