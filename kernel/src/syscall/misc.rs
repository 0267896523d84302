//! The system as a whole, and what fits nowhere else.

use linux_raw_sys::general as linux;
use rux_mm::addr::PAGE_SIZE;

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps};
use crate::uaccess::{self, Plain};
use crate::{power, sched, task, time};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_sysinfo, sysinfo),
    (linux::__NR_getrandom, getrandom),
    (linux::__NR_reboot, reboot),
    (linux::__NR_membarrier, membarrier),
    (linux::__NR_riscv_hwprobe, riscv_hwprobe),
];

/// `struct sysinfo`, as the words that it is made of.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct SysInfo([u64; 14]);

// SAFETY: words.
unsafe impl Plain for SysInfo {}

fn sysinfo(args: &Args) -> Result<usize> {
    let page = PAGE_SIZE as u64;
    let (_, loads) = sched::load();
    let mut words = [0; 14];
    words[0] = time::now() / time::SECOND;
    // Fixed point with 16 bits, where the scheduler keeps 11.
    words[1..4].copy_from_slice(&loads.map(|load| load << 5));
    words[4] = rux_mm::page_alloc::total_pages() * page;
    words[5] = rux_mm::page_alloc::free_pages_count() * page;
    words[6] = rux_mm::stat::read(rux_mm::stat::Item::Shmem) * page;
    // 7 is memory in buffers, 8 and 9 are swap: there is neither.
    words[10] = process::threads().min(usize::from(u16::MAX)) as u64;
    // 11 and 12 are high memory; then the unit, 1 byte.
    words[13] = 1;
    uaccess::write_user(args.addr(0), SysInfo(words))?;
    Ok(0)
}

fn getrandom(args: &Args) -> Result<usize> {
    let (to, len, flags) = (args.addr(0), args.a[1].min(i32::MAX as usize), args.uint(2));
    let known = linux::GRND_NONBLOCK | linux::GRND_RANDOM | linux::GRND_INSECURE;
    let both = linux::GRND_RANDOM | linux::GRND_INSECURE;
    if flags & !known != 0 || flags & both == both {
        return Err(Errno::EINVAL);
    }
    if !uaccess::access_ok(to, len) {
        return Err(Errno::EFAULT);
    }
    let mut buffer = [0; 256];
    let mut done = 0;
    while done < len {
        let part = (len - done).min(buffer.len());
        rux_machine::cold::random(&mut buffer[..part]);
        let at = to.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        let copied = uaccess::copy_to_user_partial(at, &buffer[..part]);
        done += copied;
        if copied < part {
            return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
        }
        if done % PAGE_SIZE == 0 && task::current().signal_pending() {
            break;
        }
    }
    Ok(done)
}

fn reboot(args: &Args) -> Result<usize> {
    process::current()?.cred().require(Caps::SYS_BOOT)?;
    let magic2 = [
        linux::LINUX_REBOOT_MAGIC2,
        linux::LINUX_REBOOT_MAGIC2A,
        linux::LINUX_REBOOT_MAGIC2B,
        linux::LINUX_REBOOT_MAGIC2C,
    ];
    if args.uint(0) != linux::LINUX_REBOOT_MAGIC1 || !magic2.contains(&args.uint(1)) {
        return Err(Errno::EINVAL);
    }
    match args.uint(2) {
        linux::LINUX_REBOOT_CMD_POWER_OFF | linux::LINUX_REBOOT_CMD_HALT => power::power_off(0),
        linux::LINUX_REBOOT_CMD_RESTART => power::reset(),
        linux::LINUX_REBOOT_CMD_RESTART2 => {
            let mut text = [0; 256];
            uaccess::strncpy_from_user(&mut text, args.addr(3))?;
            power::reset()
        }
        // There is no key for them to be about.
        linux::LINUX_REBOOT_CMD_CAD_ON | linux::LINUX_REBOOT_CMD_CAD_OFF => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// What `membarrier` can do: order all threads' accesses by a fence on every hart.
const BARRIERS: u32 = linux::membarrier_cmd::MEMBARRIER_CMD_GLOBAL as u32
    | linux::membarrier_cmd::MEMBARRIER_CMD_GLOBAL_EXPEDITED as u32
    | linux::membarrier_cmd::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED as u32
    | linux::membarrier_cmd::MEMBARRIER_CMD_PRIVATE_EXPEDITED as u32
    | linux::membarrier_cmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as u32;

fn membarrier(args: &Args) -> Result<usize> {
    let command = args.uint(0);
    if args.uint(1) != 0 {
        return Err(Errno::EINVAL);
    }
    if command == linux::membarrier_cmd::MEMBARRIER_CMD_QUERY as u32 {
        return Ok(BARRIERS as usize);
    }
    if !command.is_power_of_two() || command & BARRIERS == 0 {
        return Err(Errno::EINVAL);
    }
    let registers = linux::membarrier_cmd::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED as u32
        | linux::membarrier_cmd::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as u32;
    if command & registers == 0 {
        let _stay = rux_machine::PreemptGuard::new();
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        // Taking the interrupt orders the other hart's accesses; the fence makes that plain.
        let fence = |_: *mut ()| core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        rux_machine::cold::run_on(rux_machine::cold::online(), fence, core::ptr::null_mut());
    }
    Ok(0)
}

/// `struct riscv_hwprobe`: a key, and what is known about it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Probe {
    key: i64,
    value: u64,
}

// SAFETY: two words.
unsafe impl Plain for Probe {}

/// Keys and bits of `riscv_hwprobe` (Documentation/arch/riscv/hwprobe.rst).
mod hwprobe {
    pub(super) const MVENDORID: i64 = 0;
    pub(super) const MARCHID: i64 = 1;
    pub(super) const MIMPID: i64 = 2;
    pub(super) const BASE_BEHAVIOR: i64 = 3;
    pub(super) const BASE_BEHAVIOR_IMA: u64 = 1;
    pub(super) const IMA_EXT_0: i64 = 4;
    pub(super) const IMA_FD: u64 = 1;
    pub(super) const IMA_C: u64 = 2;
    pub(super) const CPUPERF_0: i64 = 5;
    pub(super) const ZICBOZ_BLOCK_SIZE: i64 = 6;
    pub(super) const HIGHEST_VIRT_ADDRESS: i64 = 7;
    pub(super) const TIME_CSR_FREQ: i64 = 8;
    pub(super) const MISALIGNED_SCALAR_PERF: i64 = 9;
}

fn riscv_hwprobe(args: &Args) -> Result<usize> {
    let (pairs, count, cpus) = (args.addr(0), args.a[1], args.a[2]);
    // Which harts are asked about makes no difference: they are alike. WHICH_CPUS is not there.
    if args.uint(4) != 0 {
        return Err(Errno::EINVAL);
    }
    if cpus == 0 && args.a[3] != 0 {
        return Err(Errno::EINVAL);
    }
    if cpus != 0 {
        let mut mask = [0; 8];
        let len = cpus.min(mask.len());
        uaccess::copy_from_user(&mut mask[..len], args.addr(3))?;
        if u64::from_le_bytes(mask) & crate::hart::online().bits() == 0 {
            return Err(Errno::EINVAL);
        }
    }
    for n in 0..count {
        let at = n.checked_mul(size_of::<Probe>()).and_then(|n| pairs.checked_add(n as u64));
        let at = at.ok_or(Errno::EFAULT)?;
        let probe: Probe = uaccess::read_user(at)?;
        let isa = &crate::dt::platform().isa;
        let (key, value) = match probe.key {
            // Firmware would tell; -1 says that harts may differ.
            hwprobe::MVENDORID | hwprobe::MARCHID | hwprobe::MIMPID => (probe.key, u64::MAX),
            hwprobe::BASE_BEHAVIOR => (probe.key, hwprobe::BASE_BEHAVIOR_IMA),
            hwprobe::IMA_EXT_0 => (probe.key, hwprobe::IMA_C | if isa.double { hwprobe::IMA_FD } else { 0 }),
            hwprobe::CPUPERF_0 | hwprobe::MISALIGNED_SCALAR_PERF => (probe.key, 0),
            // A program may not clear blocks itself: the kernel keeps cbo.zero from user mode.
            hwprobe::ZICBOZ_BLOCK_SIZE => (probe.key, 0),
            hwprobe::HIGHEST_VIRT_ADDRESS => (probe.key, rux_mm::paging::mode().user_end().get() - 1),
            hwprobe::TIME_CSR_FREQ => (probe.key, time::timebase()),
            _ => (-1, 0),
        };
        uaccess::write_user(at, Probe { key, value })?;
        if task::current().fatal_pending() {
            return Err(Errno::EINTR);
        }
    }
    Ok(0)
}
