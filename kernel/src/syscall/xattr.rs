//! Extended attributes: no file system here has them, so that these answer what Linux does for such ones.

use linux_raw_sys::general as nr;
use rux_mm::addr::VirtAddr;

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::fs::current;
use crate::fs::namei::{AT_FDCWD, Lookup};
use crate::fs::user::UserPath;
use crate::uaccess;

/// The calls of this room.
pub const HANDLERS: &[(u32, Handler)] = &[
    (nr::__NR_setxattr, setxattr),
    (nr::__NR_lsetxattr, lsetxattr),
    (nr::__NR_fsetxattr, fsetxattr),
    (nr::__NR_getxattr, getxattr),
    (nr::__NR_lgetxattr, lgetxattr),
    (nr::__NR_fgetxattr, fgetxattr),
    (nr::__NR_listxattr, listxattr),
    (nr::__NR_llistxattr, llistxattr),
    (nr::__NR_flistxattr, flistxattr),
    (nr::__NR_removexattr, getxattr),
    (nr::__NR_lremovexattr, lgetxattr),
    (nr::__NR_fremovexattr, fgetxattr),
];

/// The longest name of an attribute, and the largest value (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX`).
const NAME_MAX: usize = 255;
const SIZE_MAX: usize = 65_536;

fn check_path(args: &Args, how: Lookup) -> Result<()> {
    let path = UserPath::read(args.a[0])?;
    current::caller()?.get().lookup(AT_FDCWD, path.bytes(), how).map(drop)
}

fn check_file(args: &Args) -> Result<()> {
    current::files()?.get(args.int(0)).map(drop)
}

fn check_name(args: &Args) -> Result<()> {
    let mut name = [0; NAME_MAX + 1];
    match uaccess::strncpy_from_user(&mut name, VirtAddr::new(args.a[1] as u64))? {
        0 => Err(Errno::ERANGE),
        len if len == name.len() => Err(Errno::ERANGE),
        _ => Ok(()),
    }
}

fn check_value(args: &Args) -> Result<()> {
    if args.uint(4) & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    check_name(args)?;
    if args.a[3] > SIZE_MAX { Err(Errno::E2BIG) } else { Ok(()) }
}

fn setxattr(args: &Args) -> Result<usize> {
    check_value(args).and_then(|()| check_path(args, Lookup::FOLLOW))?;
    Err(Errno::EOPNOTSUPP)
}

fn lsetxattr(args: &Args) -> Result<usize> {
    check_value(args).and_then(|()| check_path(args, Lookup::empty()))?;
    Err(Errno::EOPNOTSUPP)
}

fn fsetxattr(args: &Args) -> Result<usize> {
    check_value(args).and_then(|()| check_file(args))?;
    Err(Errno::EOPNOTSUPP)
}

fn getxattr(args: &Args) -> Result<usize> {
    check_name(args).and_then(|()| check_path(args, Lookup::FOLLOW))?;
    Err(Errno::EOPNOTSUPP)
}

fn lgetxattr(args: &Args) -> Result<usize> {
    check_name(args).and_then(|()| check_path(args, Lookup::empty()))?;
    Err(Errno::EOPNOTSUPP)
}

fn fgetxattr(args: &Args) -> Result<usize> {
    check_file(args).and_then(|()| check_name(args))?;
    Err(Errno::EOPNOTSUPP)
}

fn listxattr(args: &Args) -> Result<usize> {
    check_path(args, Lookup::FOLLOW)?;
    Ok(0)
}

fn llistxattr(args: &Args) -> Result<usize> {
    check_path(args, Lookup::empty())?;
    Ok(0)
}

fn flistxattr(args: &Args) -> Result<usize> {
    check_file(args)?;
    Ok(0)
}
