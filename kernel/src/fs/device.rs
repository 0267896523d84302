//! Devices that are opened by number: memory, random numbers, the kernel's log, terminals
//! (Linux: `drivers/char/mem.c`, `drivers/char/random.c`, `kernel/printk/`).

use rux_machine::cold;
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::gfp::Gfp;
use rux_mm::slab::KBox;

use super::current;
use super::file::{File, FileOps, Seek};
use super::iobuf::IoBuf;
use super::tty;
use super::types::Dev;
use crate::errno::{Errno, Result};
use crate::process::cred::Caps;
use crate::uaccess;

/// `/dev/null`.
pub const NULL: Dev = Dev::new(1, 3);
/// `/dev/zero`.
pub const ZERO: Dev = Dev::new(1, 5);
/// `/dev/full`.
pub const FULL: Dev = Dev::new(1, 7);
/// `/dev/random`.
pub const RANDOM: Dev = Dev::new(1, 8);
/// `/dev/urandom`.
pub const URANDOM: Dev = Dev::new(1, 9);
/// `/dev/kmsg`.
pub const KMSG: Dev = Dev::new(1, 11);
/// `/dev/tty`: the controlling terminal of whoever opens it.
pub const TTY: Dev = Dev::new(5, 0);
/// `/dev/console`.
pub const CONSOLE: Dev = Dev::new(5, 1);
/// `/dev/ttyS0`.
pub const SERIAL: Dev = Dev::new(4, 64);

/// How much is read at a time before signals are looked at.
const BLOCK: usize = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Null,
    Zero,
    Full,
}

struct MemoryDevice(Memory);

impl FileOps for MemoryDevice {
    fn read(&self, _file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        match self.0 {
            Memory::Null => Ok(0),
            Memory::Zero | Memory::Full => {
                let mut done = 0;
                // A signal may end it between two blocks.
                while buf.left() > 0 && !(done > 0 && current::signal_pending()) {
                    match buf.put_zeroes(BLOCK) {
                        Ok(moved) => {
                            done += moved;
                            if moved < BLOCK {
                                break;
                            }
                        }
                        Err(e) if done == 0 => return Err(e),
                        Err(_) => break,
                    }
                }
                Ok(done)
            }
        }
    }

    fn write(&self, _file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        match self.0 {
            // The memory is not looked at, so that a bad address is none.
            Memory::Null | Memory::Zero => Ok(buf.left()),
            Memory::Full if buf.left() == 0 => Ok(0),
            Memory::Full => Err(Errno::ENOSPC),
        }
    }

    fn seek(&self) -> Seek {
        Seek::Nowhere
    }

    fn is_zero_device(&self) -> bool {
        self.0 == Memory::Zero
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

struct RandomDevice;

/// `ioctl`s of the random devices.
mod random_ioctl {
    pub(super) const RNDGETENTCNT: u32 = 0x8004_5200;
    pub(super) const RNDADDTOENTCNT: u32 = 0x4004_5201;
    pub(super) const RNDADDENTROPY: u32 = 0x4008_5203;
    pub(super) const RNDZAPENTCNT: u32 = 0x5204;
    pub(super) const RNDCLEARPOOL: u32 = 0x5206;
    pub(super) const RNDRESEEDCRNG: u32 = 0x5207;
}

/// Fills `buf` with random bytes, in pieces; a signal may end it between two pages
/// (getrandom(2) and the devices).
///
/// # Errors
/// `EFAULT`.
pub fn read_random(buf: &mut IoBuf<'_>) -> Result<usize> {
    let mut block = [0; 256];
    let mut done = 0;
    while buf.left() > 0 {
        let n = buf.left().min(block.len());
        cold::random(&mut block[..n]);
        match buf.put(&block[..n]) {
            Ok(moved) => {
                done += moved;
                if moved < n {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
        if done % PAGE_SIZE == 0 && current::signal_pending() {
            break;
        }
    }
    Ok(done)
}

impl FileOps for RandomDevice {
    fn read(&self, _file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        read_random(buf)
    }

    fn write(&self, _file: &File, buf: &mut IoBuf<'_>, _pos: &mut u64) -> Result<usize> {
        // What is written may be mixed in; the generator is full of entropy as it is.
        let mut block = [0; 256];
        let mut done = 0;
        while buf.left() > 0 {
            match buf.take(&mut block) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
            if done % PAGE_SIZE == 0 && current::signal_pending() {
                break;
            }
        }
        Ok(done)
    }

    fn seek(&self) -> Seek {
        Seek::Nowhere
    }

    fn ioctl(&self, _file: &File, request: u32, arg: usize) -> Result<usize> {
        let privileged = || current::cred()?.require(Caps::SYS_ADMIN);
        match request {
            random_ioctl::RNDGETENTCNT => {
                uaccess::write_user(VirtAddr::new(arg as u64), 256i32)?;
                Ok(0)
            }
            random_ioctl::RNDADDTOENTCNT | random_ioctl::RNDADDENTROPY => {
                privileged()?;
                let bits: i32 = uaccess::read_user(VirtAddr::new(arg as u64))?;
                if bits < 0 { Err(Errno::EINVAL) } else { Ok(0) }
            }
            random_ioctl::RNDZAPENTCNT | random_ioctl::RNDCLEARPOOL | random_ioctl::RNDRESEEDCRNG => {
                privileged()?;
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

/// What serves an open character device.
///
/// # Errors
/// `ENXIO` for a number that no driver has; what the driver says.
pub fn open(dev: Dev, flags: u32) -> Result<KBox<dyn FileOps>> {
    let memory = |what| -> Result<KBox<dyn FileOps>> {
        Ok(rux_mm::kbox_dyn!(KBox::new(MemoryDevice(what), Gfp::KERNEL)? => dyn FileOps))
    };
    match dev {
        NULL => memory(Memory::Null),
        ZERO => memory(Memory::Zero),
        FULL => memory(Memory::Full),
        RANDOM | URANDOM => Ok(rux_mm::kbox_dyn!(KBox::new(RandomDevice, Gfp::KERNEL)? => dyn FileOps)),
        KMSG => super::kmsg::open(),
        TTY | CONSOLE | SERIAL => tty::open(dev, flags),
        _ => Err(Errno::ENXIO),
    }
}
