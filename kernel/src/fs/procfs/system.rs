//! The files of procfs that tell of the whole system (Linux: `fs/proc/meminfo.c`, `stat.c`, …).

use rux_mm::addr::PAGE_SIZE;
use rux_mm::page_alloc;
use rux_mm::paging::Mode;
use rux_mm::slab::KVec;
use rux_mm::space;
use rux_mm::stat::{self, Item};
use rux_mm::zone::Watermark;

use super::{Entry, Text, format, kpage, status, sys, vmstat, zones};
use crate::errno::{Errno, Result};
use crate::fs::{current, mounting};
use crate::process::{pid, usage};
use crate::syscall::uts;
use crate::{cmdline, hart, process, sched, show, time};

const fn file(name: &'static str, show: fn(&mut Text) -> Result<()>) -> Entry {
    Entry::File { name, mode: 0o444, show, write: None }
}

/// The names in /proc that are no process'.
pub(super) static ROOT: &[Entry] = &[
    Entry::Link { name: "self", text: self_link },
    Entry::Link { name: "thread-self", text: thread_self_link },
    Entry::Link { name: "mounts", text: mounts_link },
    file("cmdline", show_cmdline),
    file("cpuinfo", show_cpuinfo),
    file("devices", show_devices),
    file("filesystems", show_filesystems),
    file("loadavg", show_loadavg),
    file("meminfo", show_meminfo),
    file("stat", show_stat),
    Entry::Dir { name: "sys", entries: sys::ROOT },
    file("swaps", show_swaps),
    file("uptime", show_uptime),
    file("version", show_version),
    vmstat::VMSTAT,
    zones::BUDDYINFO,
    zones::PAGETYPEINFO,
    zones::SLABINFO,
    zones::ZONEINFO,
    kpage::KPAGECOUNT,
    kpage::KPAGEFLAGS,
];

fn self_link() -> Result<KVec<u8>> {
    match current::pid() {
        0 => Err(Errno::ENOENT),
        pid => format(format_args!("{pid}")),
    }
}

fn thread_self_link() -> Result<KVec<u8>> {
    match current::pid() {
        0 => Err(Errno::ENOENT),
        pid => format(format_args!("{pid}/task/{}", current::tid())),
    }
}

fn mounts_link() -> Result<KVec<u8>> {
    format(format_args!("self/mounts"))
}

fn show_cmdline(text: &mut Text) -> Result<()> {
    show!(text, "{}\n", cmdline::get());
    Ok(())
}

fn show_cpuinfo(text: &mut Text) -> Result<()> {
    let mode = match rux_mm::paging::mode() {
        Mode::Sv39 => "sv39",
        Mode::Sv48 => "sv48",
        Mode::Sv57 => "sv57",
    };
    for hart in hart::online().iter() {
        let hart = hart::hart(hart);
        show!(text, "processor\t: {}\nhart\t\t: {}\n", hart.index(), hart.id());
        show!(text, "isa\t\t: {}\nmmu\t\t: {mode}\n", crate::dt::platform().isa.text);
        show!(text, "mvendorid\t: {:#x}\n", crate::sbi::vendor_id());
        show!(text, "marchid\t\t: {:#x}\n", crate::sbi::arch_id());
        show!(text, "mimpid\t\t: {:#x}\n\n", crate::sbi::implementation_id());
    }
    Ok(())
}

fn show_devices(text: &mut Text) -> Result<()> {
    show!(text, "Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n");
    Ok(())
}

fn show_filesystems(text: &mut Text) -> Result<()> {
    for fs in mounting::TYPES {
        show!(text, "nodev\t{}\n", fs.name);
    }
    Ok(())
}

fn show_loadavg(text: &mut Text) -> Result<()> {
    let (running, averages) = sched::load();
    for average in averages {
        // 2^11 is one; half of a hundredth is added so as to round.
        let average = average + 10;
        show!(text, "{}.{:02} ", average >> 11, ((average & 0x7ff) * 100) >> 11);
    }
    show!(text, "{running}/{} {}\n", process::threads(), pid::last());
    Ok(())
}

fn show_meminfo(text: &mut Text) -> Result<()> {
    const KIB: u64 = PAGE_SIZE as u64 / 1024;
    let read = stat::read;
    let free = page_alloc::free_pages_count();
    let total = page_alloc::total_pages();
    let (shmem, cached_all) = (read(Item::Shmem), read(Item::FilePages));
    let swap_cached = read(Item::SwapCached);
    let cached = cached_all.saturating_sub(swap_cached);
    let file_lru = read(Item::ActiveFile) + read(Item::InactiveFile);
    let reclaimable = read(Item::SlabReclaimable);
    let low = status::watermark(Watermark::Low);
    // What could be had without swapping: what is free, and half or more of the cache and of slabs
    // (Linux: `si_mem_available`).
    let half = |pages: u64| pages - (pages / 2).min(low);
    let reserve = status::reserve_pages();
    let available = (free + half(file_lru) + half(reclaimable)).saturating_sub(reserve);
    let mut line = |name: &str, kib: u64| {
        let pad = 15usize.saturating_sub(name.len());
        show!(text, "{name}:{:pad$}{kib:8} kB\n", "");
    };
    line("MemTotal", total * KIB);
    line("MemFree", free * KIB);
    line("MemAvailable", available * KIB);
    line("Buffers", 0);
    line("Cached", cached * KIB);
    line("SwapCached", swap_cached * KIB);
    line("Active", (read(Item::ActiveAnon) + read(Item::ActiveFile)) * KIB);
    line("Inactive", (read(Item::InactiveAnon) + read(Item::InactiveFile)) * KIB);
    line("Active(anon)", read(Item::ActiveAnon) * KIB);
    line("Inactive(anon)", read(Item::InactiveAnon) * KIB);
    line("Active(file)", read(Item::ActiveFile) * KIB);
    line("Inactive(file)", read(Item::InactiveFile) * KIB);
    line("Unevictable", read(Item::Unevictable) * KIB);
    line("Mlocked", read(Item::Mlock) * KIB);
    line("SwapTotal", 0);
    line("SwapFree", 0);
    line("Dirty", read(Item::FileDirty) * KIB);
    line("Writeback", read(Item::Writeback) * KIB);
    line("AnonPages", read(Item::AnonMapped) * KIB);
    line("Mapped", read(Item::FileMapped) * KIB);
    line("Shmem", shmem * KIB);
    line("KReclaimable", reclaimable * KIB);
    line("Slab", (reclaimable + read(Item::SlabUnreclaimable)) * KIB);
    line("SReclaimable", reclaimable * KIB);
    line("SUnreclaim", read(Item::SlabUnreclaimable) * KIB);
    line("KernelStack", read(Item::KernelStackKb));
    line("PageTables", read(Item::PageTable) * KIB);
    line("SecPageTables", 0);
    line("NFS_Unstable", 0);
    line("Bounce", 0);
    line("WritebackTmp", 0);
    line("CommitLimit", space::commit_limit() * KIB);
    line("Committed_AS", space::committed_pages() * KIB);
    line("VmallocTotal", status::VMALLOC_BYTES / 1024);
    line("VmallocUsed", 0);
    line("VmallocChunk", 0);
    line("Percpu", 0);
    line("AnonHugePages", read(Item::AnonThps) * 2048);
    line("ShmemHugePages", 0);
    line("ShmemPmdMapped", 0);
    line("FileHugePages", 0);
    line("FilePmdMapped", 0);
    Ok(())
}

fn show_stat(text: &mut Text) -> Result<()> {
    let ticks = usage::clock_ticks;
    let mut totals = [0u64; 3];
    let (mut switches, mut interrupts) = (0, 0);
    for hart in hart::online().iter() {
        let hart = hart::hart(hart);
        let (user, system, idle) = hart.times();
        for (total, part) in totals.iter_mut().zip([user, system, idle]) {
            *total += part;
        }
        switches += hart.switches();
        interrupts += hart.interrupts();
    }
    let [user, system, idle] = totals.map(ticks);
    show!(text, "cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for hart in hart::online().iter() {
        let (user, system, idle) = hart::hart(hart).times();
        let (user, system, idle) = (ticks(user), ticks(system), ticks(idle));
        show!(text, "cpu{hart} {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    }
    show!(text, "intr {interrupts}\nctxt {switches}\n");
    show!(text, "btime {}\n", time::realtime_offset() / time::SECOND);
    show!(text, "processes {}\n", process::threads_started());
    show!(text, "procs_running {}\nprocs_blocked 0\n", sched::load().0);
    show!(text, "softirq 0 0 0 0 0 0 0 0 0 0 0\n");
    Ok(())
}

fn show_swaps(text: &mut Text) -> Result<()> {
    show!(text, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    Ok(())
}

fn show_uptime(text: &mut Text) -> Result<()> {
    let now = time::now();
    let idle: u64 = hart::online().iter().map(|hart| hart::hart(hart).times().2).sum();
    let hundredths = |nanos: u64| nanos % time::SECOND / 10_000_000;
    let (up, rest) = (now / time::SECOND, hundredths(now));
    show!(text, "{up}.{rest:02} {}.{:02}\n", idle / time::SECOND, hundredths(idle));
    Ok(())
}

fn show_version(text: &mut Text) -> Result<()> {
    show!(text, "Linux version {} (rux@rux) (rustc) {}\n", uts::RELEASE, uts::VERSION);
    Ok(())
}
