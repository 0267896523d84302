//! The system as a whole, and what fits nowhere else.

use core::sync::atomic::Ordering::Relaxed;

use linux_raw_sys::general as linux;
use linux_raw_sys::prctl;
use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::sync::{IrqSpinLock, Rank};

use super::{Args, Handler};
use crate::errno::{Errno, Result};
use crate::process::{self, Caps};
use crate::signal::Signal;
use crate::uaccess::{self, Plain};
use crate::{klog, power, sched, task, time};

pub const HANDLERS: &[(u32, Handler)] = &[
    (linux::__NR_uname, uname),
    (linux::__NR_sethostname, sethostname),
    (linux::__NR_setdomainname, setdomainname),
    (linux::__NR_sysinfo, sysinfo),
    (linux::__NR_getrandom, getrandom),
    (linux::__NR_reboot, reboot),
    (linux::__NR_prctl, prctl_call),
    (linux::__NR_personality, personality),
    (linux::__NR_syslog, syslog),
    (linux::__NR_membarrier, membarrier),
    (linux::__NR_riscv_hwprobe, riscv_hwprobe),
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

/// Bytes of a thread's name.
const COMM: usize = 16;

fn prctl_call(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    let process = thread.process();
    let rest_is_zero = |from: usize| args.a[from..5].iter().all(|&arg| arg == 0);
    let value = args.ulong(1);
    match args.uint(0) {
        prctl::PR_SET_NAME => {
            let mut name = [0; COMM];
            let len = uaccess::strncpy_from_user(&mut name[..COMM - 1], args.addr(1))?;
            task::current().set_comm(&name[..len]);
        }
        prctl::PR_GET_NAME => uaccess::copy_to_user(args.addr(1), &task::current().comm())?,
        prctl::PR_SET_PDEATHSIG => {
            if value > Signal::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            thread.parent_death_signal.store(value as u32, Relaxed);
        }
        prctl::PR_GET_PDEATHSIG => {
            uaccess::write_user(args.addr(1), thread.parent_death_signal.load(Relaxed))?;
        }
        prctl::PR_GET_DUMPABLE => return Ok(process.dumpable.load(Relaxed) as usize),
        prctl::PR_SET_DUMPABLE if value <= 1 => process.dumpable.store(value as u32, Relaxed),
        prctl::PR_GET_KEEPCAPS => return Ok(thread.cred().keep_caps.into()),
        prctl::PR_SET_KEEPCAPS if value <= 1 => {
            let mut cred = process::Cred::clone(&thread.cred());
            cred.keep_caps = value == 1;
            super::cred::publish(thread, cred)?;
        }
        prctl::PR_SET_NO_NEW_PRIVS if value == 1 && rest_is_zero(2) => {
            thread.no_new_privs.store(true, Relaxed)
        }
        prctl::PR_GET_NO_NEW_PRIVS if rest_is_zero(1) => return Ok(thread.no_new_privs.load(Relaxed).into()),
        prctl::PR_SET_CHILD_SUBREAPER => process.is_subreaper.store(value != 0, Relaxed),
        prctl::PR_GET_CHILD_SUBREAPER => {
            uaccess::write_user(args.addr(1), i32::from(process.is_subreaper.load(Relaxed)))?;
        }
        prctl::PR_SET_TIMERSLACK => {
            let slack = if value == 0 { 50_000 } else { value };
            thread.timer_slack.store(slack, Relaxed);
        }
        prctl::PR_GET_TIMERSLACK => return Ok(thread.timer_slack.load(Relaxed) as usize),
        prctl::PR_CAPBSET_READ => {
            let cap = capability(value)?;
            return Ok(thread.cred().bounding.contains(cap).into());
        }
        prctl::PR_CAPBSET_DROP => {
            let mut cred = process::Cred::clone(&thread.cred());
            cred.require(Caps::SETPCAP)?;
            cred.bounding.remove(capability(value)?);
            super::cred::publish(thread, cred)?;
        }
        prctl::PR_GET_TID_ADDRESS => {
            uaccess::write_user(args.addr(1), thread.clear_child_tid.load(Relaxed))?;
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn capability(number: u64) -> Result<Caps> {
    u32::try_from(number)
        .ok()
        .and_then(|number| 1u64.checked_shl(number))
        .and_then(Caps::from_bits)
        .filter(|cap| !cap.is_empty())
        .ok_or(Errno::EINVAL)
}

/// "Only ask", for `personality`.
const ASK: u32 = u32::MAX;

fn personality(args: &Args) -> Result<usize> {
    let thread = process::current()?;
    let old = thread.personality.load(Relaxed);
    if args.uint(0) != ASK {
        thread.personality.store(args.uint(0), Relaxed);
    }
    Ok(old as usize)
}

/// What `syslog` does; the numbers have no names in the headers that programs see.
mod syslog_action {
    pub(super) const CLOSE: i32 = 0;
    pub(super) const OPEN: i32 = 1;
    pub(super) const READ: i32 = 2;
    pub(super) const READ_ALL: i32 = 3;
    pub(super) const READ_CLEAR: i32 = 4;
    pub(super) const CLEAR: i32 = 5;
    pub(super) const CONSOLE_OFF: i32 = 6;
    pub(super) const CONSOLE_ON: i32 = 7;
    pub(super) const CONSOLE_LEVEL: i32 = 8;
    pub(super) const SIZE_UNREAD: i32 = 9;
    pub(super) const SIZE_BUFFER: i32 = 10;
}

/// Where `READ` goes on, and where `READ_ALL` starts since the last `CLEAR`.
static LOG_POSITIONS: IrqSpinLock<(u64, u64)> = IrqSpinLock::new(Rank::Users, (0, 0));

fn syslog(args: &Args) -> Result<usize> {
    use syslog_action as action;
    let (what, to, len) = (args.int(0), args.addr(1), args.int(2));
    // Anybody may look at what is there, as with dmesg_restrict off.
    if !matches!(what, action::READ_ALL | action::SIZE_BUFFER) {
        process::current()?.cred().require(Caps::SYSLOG)?;
    }
    match what {
        action::CLOSE | action::OPEN => Ok(0),
        action::READ | action::READ_ALL | action::READ_CLEAR => {
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            if to.get() == 0 {
                return Err(Errno::EINVAL);
            }
            if len == 0 {
                return Ok(0);
            }
            if !uaccess::access_ok(to, len) {
                return Err(Errno::EFAULT);
            }
            if what == action::READ {
                read_log(to, len)
            } else {
                read_all_log(to, len, what == action::READ_CLEAR)
            }
        }
        action::CLEAR => {
            LOG_POSITIONS.lock().1 = klog::range().1;
            Ok(0)
        }
        action::CONSOLE_OFF | action::CONSOLE_ON => Ok(0),
        action::CONSOLE_LEVEL if (1..=8).contains(&len) => Ok(0),
        action::SIZE_UNREAD => {
            let from = LOG_POSITIONS.lock().0;
            let mut buffer = [0; 1024];
            let (mut at, mut total) = (from, 0);
            loop {
                let (bytes, next) = klog::read(at, &mut buffer);
                if bytes == 0 {
                    return Ok(total);
                }
                (at, total) = (next, total + bytes);
            }
        }
        action::SIZE_BUFFER => Ok(klog::size()),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads what nobody has read; waits until there is something.
fn read_log(to: VirtAddr, len: usize) -> Result<usize> {
    klog::readers()
        .wait_event(|| klog::range().1 > LOG_POSITIONS.lock().0)
        .map_err(|_| Errno::ERESTARTSYS)?;
    let from = LOG_POSITIONS.lock().0;
    let (bytes, next) = copy_log(from, u64::MAX, to, len)?;
    LOG_POSITIONS.lock().0 = next;
    Ok(bytes)
}

/// Reads the last `len` bytes since the last clearing.
fn read_all_log(to: VirtAddr, len: usize, clear: bool) -> Result<usize> {
    let (first, end) = klog::range();
    let first = first.max(LOG_POSITIONS.lock().1);
    // Drops as many of the oldest records as do not fit.
    let mut buffer = [0; 1024];
    let (mut at, mut total) = (first, 0);
    while at < end {
        let (bytes, next) = klog::read(at, &mut buffer);
        if bytes == 0 {
            break;
        }
        (at, total) = (next, total + bytes);
    }
    let mut from = first;
    while total > len && from < end {
        let (bytes, next) = klog::read(from, &mut buffer);
        if bytes == 0 {
            break;
        }
        // Records come and go meanwhile.
        (from, total) = (next, total.saturating_sub(bytes));
    }
    let (bytes, _) = copy_log(from, end, to, len)?;
    if clear {
        LOG_POSITIONS.lock().1 = end;
    }
    Ok(bytes)
}

/// Copies whole records from `from` up to `end`, as many as fit; returns the bytes and where to go on.
fn copy_log(from: u64, end: u64, to: VirtAddr, len: usize) -> Result<(usize, u64)> {
    let mut buffer = [0; 1024];
    let (mut at, mut done) = (from, 0);
    while at < end && done < len {
        let room = (len - done).min(buffer.len());
        let (bytes, next) = klog::read(at, &mut buffer[..room]);
        if bytes == 0 {
            break;
        }
        uaccess::copy_to_user(to.checked_add(done as u64).ok_or(Errno::EFAULT)?, &buffer[..bytes])?;
        (at, done) = (next, done + bytes);
    }
    Ok((done, at))
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
