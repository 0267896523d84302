//! The files of a process: what it is and what it uses (Linux: `fs/proc/array.c`).

use core::sync::atomic::Ordering::Relaxed;

use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::gfp::Gfp;
use rux_mm::slab::{KArc, KVec};
use rux_mm::space::{Space, SpaceStat};
use rux_mm::zone::{Watermark, ZoneId};

use super::process::{self as processes, Target};
use super::{Text, sys};
use crate::errno::{Errno, Result};
use crate::fs::mount::{self, MountFlags, Path};
use crate::fs::{current, types::PATH_MAX};
use crate::process::{Caps, ExitState, Resource, Tasklist, Thread, usage};
use crate::show;
use crate::signal::{SigSet, Signal};
use crate::task::Task;

const KIB: u64 = PAGE_SIZE as u64 / 1024;

/// Bytes of address space kept for `vmalloc`.
pub(super) const VMALLOC_BYTES: u64 = rux_machine::riscv::VMALLOC_SIZE;

/// A watermark, summed over the zones.
pub(super) fn watermark(which: Watermark) -> u64 {
    ZoneId::ALL.iter().map(|&zone| rux_mm::memory().zone(zone).watermark(which)).sum()
}

/// Pages that programs cannot have while nothing is wrong (Linux: `totalreserve_pages`).
pub(super) fn reserve_pages() -> u64 {
    rux_mm::memory().total_reserve_pages()
}

/// The letter of a process' or thread's state, and the word for it.
fn state(target: &Target) -> (char, &'static str) {
    let ended = {
        let tasklist = Tasklist::lock();
        target.process.tree.get(&tasklist).exit_state
    };
    let letter = match ended {
        ExitState::Dead => 'X',
        ExitState::Zombie => 'Z',
        ExitState::Alive => target.with_thread(|task, _| Ok(task.state_letter())).unwrap_or('Z'),
    };
    let word = match letter {
        'R' => "running",
        'S' => "sleeping",
        'D' => "disk sleep",
        'T' => "stopped",
        'Z' => "zombie",
        _ => "dead",
    };
    (letter, word)
}

/// The name, without the NULs behind it.
fn name(target: &Target) -> ([u8; 16], usize) {
    let name = target.with_thread(|task, _| Ok(task.comm())).unwrap_or_else(|_| target.process.last_comm());
    let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    (name, len)
}

fn alive(target: &Target) -> Result<()> {
    if target.is_gone() { Err(Errno::ESRCH) } else { Ok(()) }
}

pub(super) fn space(target: &Target) -> Option<KArc<Space>> {
    target.process.space()
}

fn space_stat(target: &Target) -> Option<SpaceStat> {
    space(target).map(|space| space.stat())
}

/// /proc/PID/comm.
pub(super) fn comm(target: &Target, text: &mut Text) -> Result<()> {
    alive(target)?;
    let (name, len) = name(target);
    text.push(&name[..len]);
    text.push(b"\n");
    Ok(())
}

/// A write to /proc/PID/comm: threads name each other.
pub(super) fn set_comm(target: &Target, bytes: &[u8]) -> Result<()> {
    if current::pid() != target.process.pid() {
        return Err(Errno::EINVAL);
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    target.with_thread(|task, _| {
        task.set_comm(bytes);
        Ok(())
    })
}

/// Copies a range of the program's memory, at most a page at a time.
fn push_memory(space: &Space, text: &mut Text, start: VirtAddr, end: VirtAddr) -> Result<()> {
    let mut block: KVec<u8> = KVec::new();
    block.resize(PAGE_SIZE, 0, Gfp::KERNEL)?;
    let mut at = start;
    while at < end {
        let n = (end - at).min(PAGE_SIZE as u64) as usize;
        if space.read_memory(at, &mut block[..n]).is_err() {
            break;
        }
        text.push(&block[..n]);
        at = at + n as u64;
    }
    Ok(())
}

/// /proc/PID/cmdline.
pub(super) fn cmdline(target: &Target, text: &mut Text) -> Result<()> {
    let Some(space) = space(target) else { return Ok(()) };
    let fields = space.exec_fields();
    push_memory(&space, text, fields.arg_start, fields.arg_end)
}

/// /proc/PID/environ.
pub(super) fn environ(target: &Target, text: &mut Text) -> Result<()> {
    let Some(space) = space(target) else { return Ok(()) };
    let fields = space.exec_fields();
    push_memory(&space, text, fields.env_start, fields.env_end)
}

/// /proc/PID/statm.
pub(super) fn statm(target: &Target, text: &mut Text) -> Result<()> {
    alive(target)?;
    let Some(stat) = space_stat(target) else {
        show!(text, "0 0 0 0 0 0 0\n");
        return Ok(());
    };
    let text_pages = space(target).map_or(0, |space| {
        let fields = space.exec_fields();
        let (start, end) = (fields.start_code.get(), fields.end_code.get());
        end.div_ceil(PAGE_SIZE as u64).saturating_sub(start / PAGE_SIZE as u64)
    });
    let shared = stat.rss.file + stat.rss.shmem;
    let data = stat.data_vm + stat.stack_vm;
    show!(text, "{} {} {shared} {text_pages} 0 {data} 0\n", stat.total_vm, stat.rss.total());
    Ok(())
}

/// Signals: waiting for the thread, for the process, blocked, ignored, caught.
struct Signals {
    thread: SigSet,
    process: SigSet,
    blocked: SigSet,
    ignored: SigSet,
    caught: SigSet,
}

fn signals(target: &Target) -> Signals {
    let (process, (ignored, caught)) = {
        let group = target.process.group();
        (group.pending_set(), group.actions.sets())
    };
    let (thread, blocked) = target
        .with_thread(|_, thread| Ok((thread.signals.pending().set(), thread.signals.blocked())))
        .unwrap_or((SigSet::EMPTY, SigSet::EMPTY));
    Signals { thread, process, blocked, ignored, caught }
}

/// What a process or thread used.
fn used(target: &Target) -> usage::Usage {
    if target.is_thread {
        return target
            .with_thread(|task, thread| Ok(usage::Usage::of_thread(task, thread)))
            .unwrap_or_default();
    }
    usage::of_threads(&target.process)
}

/// /proc/PID/stat: 52 fields (Linux: `do_task_stat`).
pub(super) fn stat(target: &Target, text: &mut Text) -> Result<()> {
    alive(target)?;
    let process = &target.process;
    let (parent, pgrp, session) = processes::relations(process);
    let (terminal, foreground) = processes::terminal(process);
    let (name, len) = name(target);
    let used = used(target);
    let children = process.usage.children();
    let memory = space_stat(target);
    let visible = target.may_look().is_ok();
    let fields = space(target).filter(|_| visible).map(|space| space.exec_fields()).unwrap_or_default();
    let signals = signals(target);
    let (nice, hart, policy) = target
        .with_thread(|task, _| Ok((task.nice(), task.hart(), task.policy() as u32)))
        .unwrap_or((0, 0, 0));
    let ticks = usage::clock_ticks;
    show!(text, "{} (", target.tid);
    text.push(&name[..len]);
    show!(text, ") {} {parent} {pgrp} {session} {terminal} {foreground} 0 ", state(target).0);
    show!(
        text,
        "{} {} {} {} {} {} {} {} ",
        used.minor_faults,
        children.minor_faults,
        used.major_faults,
        children.major_faults,
        ticks(used.utime),
        ticks(used.stime),
        ticks(children.utime),
        ticks(children.stime)
    );
    let threads = processes::thread_count(process);
    let started = ticks(process.start_time);
    let (bytes, rss) = memory.map_or((0, 0), |m| (m.total_vm * PAGE_SIZE as u64, m.rss.total()));
    let limit = process.limit(Resource::RSS).soft;
    show!(text, "{} {nice} {threads} 0 {started} {bytes} {rss} {limit} ", 20 + nice);
    // Where a process of somebody else is in memory is not told.
    let hidden = u64::from(memory.is_some());
    let at = |addr: VirtAddr| if visible { addr.get() } else { hidden };
    let (code_start, code_end) =
        if memory.is_some() { (at(fields.start_code), at(fields.end_code)) } else { (0, 0) };
    let low = |set: SigSet| set.0 & 0x7fff_ffff;
    show!(text, "{code_start} {code_end} {} 0 0 ", if visible { fields.start_stack.get() } else { 0 });
    show!(
        text,
        "{} {} {} {} ",
        low(SigSet(signals.thread.0)),
        low(signals.blocked),
        low(signals.ignored),
        low(signals.caught)
    );
    let waits = u8::from(state(target).0 != 'R');
    show!(text, "{waits} 0 0 {} {hart} 0 {policy} 0 0 0 ", exit_signal(target));
    if visible && let Some(memory) = memory {
        let (data_start, data_end) = (fields.start_data.get(), fields.end_data.get());
        show!(text, "{data_start} {data_end} {} ", memory.start_brk.get());
        let (args, env) = ((fields.arg_start, fields.arg_end), (fields.env_start, fields.env_end));
        show!(text, "{} {} {} {} ", args.0.get(), args.1.get(), env.0.get(), env.1.get());
    } else {
        show!(text, "0 0 0 0 0 0 0 ");
    }
    let code = {
        let tasklist = Tasklist::lock();
        process.tree.get(&tasklist).exit_code
    };
    show!(text, "{}\n", if visible { code } else { 0 });
    Ok(())
}

fn exit_signal(target: &Target) -> i64 {
    if target.is_thread && target.tid != target.process.pid() {
        return -1;
    }
    let tasklist = Tasklist::lock();
    target.process.tree.get(&tasklist).exit_signal.map_or(0, |signal: Signal| i64::from(signal.get()))
}

/// /proc/PID/status.
pub(super) fn status(target: &Target, text: &mut Text) -> Result<()> {
    alive(target)?;
    let process = &target.process;
    let (name, len) = name(target);
    let (letter, word) = state(target);
    let (parent, pgrp, session) = processes::relations(process);
    show!(text, "Name:\t");
    text.push_escaped(&name[..len], b"\n\\");
    let umask = target.fs().ok().map(|fs| fs.umask());
    show!(text, "\n");
    if let Some(umask) = umask {
        show!(text, "Umask:\t{umask:04o}\n");
    }
    let cred = target.with_thread(|_, thread| Ok(thread.cred())).unwrap_or_else(|_| process.cred());
    show!(text, "State:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\n", process.pid(), target.tid);
    show!(text, "PPid:\t{parent}\nTracerPid:\t0\n");
    show!(text, "Uid:\t{}\t{}\t{}\t{}\n", cred.uid, cred.euid, cred.suid, cred.fsuid);
    show!(text, "Gid:\t{}\t{}\t{}\t{}\n", cred.gid, cred.egid, cred.sgid, cred.fsgid);
    show!(text, "FDSize:\t{}\nGroups:\t", target.files().map_or(0, |files| files.capacity()));
    for group in cred.groups.iter().flat_map(|groups| groups.iter()) {
        show!(text, "{group} ");
    }
    show!(text, "\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{pgrp}\nNSsid:\t{session}\n", process.pid(), target.tid);
    show!(text, "Kthread:\t0\n");
    if let Some(memory) = space_stat(target) {
        show_memory(target, &memory, text);
    }
    show!(text, "Threads:\t{}\n", processes::thread_count(process));
    let signals = signals(target);
    let queued = cred.user.signals.load(Relaxed);
    show!(text, "SigQ:\t{queued}/{}\n", process.limit(Resource::SIGPENDING).soft);
    for (label, set) in [
        ("SigPnd", signals.thread),
        ("ShdPnd", signals.process),
        ("SigBlk", signals.blocked),
        ("SigIgn", signals.ignored),
        ("SigCgt", signals.caught),
    ] {
        show!(text, "{label}:\t{:016x}\n", set.0);
    }
    for (label, caps) in [
        ("CapInh", cred.inheritable),
        ("CapPrm", cred.permitted),
        ("CapEff", cred.effective),
        ("CapBnd", cred.bounding),
        ("CapAmb", cred.ambient),
    ] {
        show!(text, "{label}:\t{:016x}\n", Caps::bits(&caps));
    }
    // The rest is the thread's alone; of a process that ended there is none.
    target
        .with_thread(|task, thread| {
            show_thread(task, thread, text);
            Ok(())
        })
        .or(Ok(()))
}

fn show_thread(task: &Task, thread: &Thread, text: &mut Text) {
    show!(text, "NoNewPrivs:\t{}\nSeccomp:\t0\n", u8::from(thread.no_new_privs.load(Relaxed)));
    show!(text, "Seccomp_filters:\t0\nSpeculation_Store_Bypass:\tunknown\n");
    show!(text, "SpeculationIndirectBranch:\tunknown\n");
    let allowed = task.affinity().and(crate::hart::online());
    let harts = || allowed.iter();
    let mask = harts().fold(0u64, |mask, hart| mask | 1 << hart);
    show!(text, "Cpus_allowed:\t{mask:x}\nCpus_allowed_list:\t");
    let mut listed = harts().peekable();
    let mut first = true;
    while let Some(start) = listed.next() {
        let mut end = start;
        while listed.peek() == Some(&(end + 1)) {
            end += 1;
            listed.next();
        }
        let comma = if first { "" } else { "," };
        if start == end {
            show!(text, "{comma}{start}")
        } else {
            show!(text, "{comma}{start}-{end}")
        }
        first = false;
    }
    let (slept, preempted) = task.switches();
    show!(text, "\nMems_allowed:\t1\nMems_allowed_list:\t0\n");
    show!(text, "voluntary_ctxt_switches:\t{slept}\nnonvoluntary_ctxt_switches:\t{preempted}\n");
}

/// The memory lines of status (Linux: `task_mem`).
fn show_memory(target: &Target, memory: &SpaceStat, text: &mut Text) {
    let code = space(target).map_or(0, |space| {
        let fields = space.exec_fields();
        let page = PAGE_SIZE as u64;
        (fields.end_code.get().next_multiple_of(page)).saturating_sub(fields.start_code.get() / page * page)
    }) / 1024;
    let exec = memory.exec_vm * KIB;
    let code = code.min(exec);
    let mut line = |name: &str, kib: u64| show!(text, "{name}:\t{kib:8} kB\n");
    line("VmPeak", memory.high_vm * KIB);
    line("VmSize", memory.total_vm * KIB);
    line("VmLck", memory.locked_vm * KIB);
    line("VmPin", 0);
    line("VmHWM", memory.high_rss.max(memory.rss.total()) * KIB);
    line("VmRSS", memory.rss.total() * KIB);
    line("RssAnon", memory.rss.anon * KIB);
    line("RssFile", memory.rss.file * KIB);
    line("RssShmem", memory.rss.shmem * KIB);
    line("VmData", memory.data_vm * KIB);
    line("VmStk", memory.stack_vm * KIB);
    line("VmExe", code);
    line("VmLib", exec - code);
    line("VmPTE", memory.table_bytes / 1024);
    line("VmSwap", 0);
    // Transparent huge pages are there for every program, as on a Linux that has them.
    show!(text, "CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n");
}

/// /proc/PID/limits.
pub(super) fn limits(target: &Target, text: &mut Text) -> Result<()> {
    alive(target)?;
    let limits = target.process.limits();
    show!(text, "{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (name, resource, unit) in [
        ("Max cpu time", Resource::CPU, "seconds"),
        ("Max file size", Resource::FSIZE, "bytes"),
        ("Max data size", Resource::DATA, "bytes"),
        ("Max stack size", Resource::STACK, "bytes"),
        ("Max core file size", Resource::CORE, "bytes"),
        ("Max resident set", Resource::RSS, "bytes"),
        ("Max processes", Resource::NPROC, "processes"),
        ("Max open files", Resource::NOFILE, "files"),
        ("Max locked memory", Resource::MEMLOCK, "bytes"),
        ("Max address space", Resource::AS, "bytes"),
        ("Max file locks", Resource::LOCKS, "locks"),
        ("Max pending signals", Resource::SIGPENDING, "signals"),
        ("Max msgqueue size", Resource::MSGQUEUE, "bytes"),
        ("Max nice priority", Resource::NICE, ""),
        ("Max realtime priority", Resource::RTPRIO, ""),
        ("Max realtime timeout", Resource::RTTIME, "us"),
    ] {
        let limit = limits.get(resource);
        show!(text, "{name:<25} ");
        for value in [limit.soft, limit.hard] {
            if value == u64::MAX { show!(text, "{:<20} ", "unlimited") } else { show!(text, "{value:<20} ") }
        }
        if unit.is_empty() { show!(text, "\n") } else { show!(text, "{unit:<10}\n") }
    }
    Ok(())
}

/// The points by which the OOM killer would choose, 0 to 2000 (Linux: `proc_oom_score`).
pub(super) fn oom_score(target: &Target, text: &mut Text) -> Result<()> {
    alive(target)?;
    let total = rux_mm::page_alloc::total_pages().max(1) as i64;
    let adjust = i64::from(target.process.oom_score_adj.load(Relaxed));
    let points = match space_stat(target) {
        Some(memory) if adjust != -1000 => {
            let pages = memory.rss.total() as i64 + memory.table_bytes as i64 / PAGE_SIZE as i64;
            (1000 + (pages + adjust * total / 1000) * 1000 / total) * 2 / 3
        }
        _ => 0,
    };
    show!(text, "{}\n", points.max(0));
    Ok(())
}

/// /proc/PID/oom_score_adj.
pub(super) fn oom_score_adj(target: &Target, text: &mut Text) -> Result<()> {
    show!(text, "{}\n", target.process.oom_score_adj.load(Relaxed));
    Ok(())
}

/// A write to /proc/PID/oom_score_adj: who lowers it below what it is needs a privilege.
pub(super) fn set_oom_score_adj(target: &Target, bytes: &[u8]) -> Result<()> {
    let value = i32::try_from(sys::number(bytes)?).map_err(|_| Errno::EINVAL)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    let adjust = &target.process.oom_score_adj;
    if value < adjust.load(Relaxed) && !current::cred()?.capable(Caps::SYS_RESOURCE) {
        return Err(Errno::EACCES);
    }
    adjust.store(value, Relaxed);
    Ok(())
}

/// The options of a mount, as /proc/mounts lists them.
fn push_flags(flags: MountFlags, text: &mut Text) {
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::RELATIME, ",relatime"),
    ] {
        if flags.contains(flag) {
            text.push(name.as_bytes());
        }
    }
}

/// The path of `place` as seen from `root`; `None` when it cannot be reached from there.
fn seen_from(root: &Path, place: &Path) -> Result<Option<KVec<u8>>> {
    let mut buffer: KVec<u8> = KVec::new();
    buffer.resize(PATH_MAX, 0, Gfp::KERNEL)?;
    let (start, reached) = place.write_to(Some(root), &mut buffer)?;
    Ok(if reached { Some(KVec::from_slice(&buffer[start..], Gfp::KERNEL)?) } else { None })
}

const ESCAPED: &[u8] = b" \t\n\\#";

/// /proc/PID/mounts.
pub(super) fn mounts(target: &Target, text: &mut Text) -> Result<()> {
    let root = processes::root_of(target);
    for mount in mount::all()?.iter() {
        let place = Path { mount: mount.clone(), dentry: mount.root.clone() };
        let Some(path) = seen_from(&root, &place)? else { continue };
        text.push_escaped(&mount.source, ESCAPED);
        text.push(b" ");
        text.push_escaped(&path, ESCAPED);
        let flags = mount.flags();
        let access = if flags.contains(MountFlags::RDONLY) { "ro" } else { "rw" };
        show!(text, " {} {access}", mount.sb.fs.name);
        push_flags(flags, text);
        // A text that ran out of memory says so itself.
        let _kept = mount.sb.ops().show_options(text);
        show!(text, " 0 0\n");
    }
    Ok(())
}

/// /proc/PID/mountinfo.
pub(super) fn mountinfo(target: &Target, text: &mut Text) -> Result<()> {
    let root = processes::root_of(target);
    for mount in mount::all()?.iter() {
        let place = Path { mount: mount.clone(), dentry: mount.root.clone() };
        let Some(path) = seen_from(&root, &place)? else { continue };
        let dev = mount.sb.dev;
        show!(text, "{} {} {}:{} ", mount.id, mount::parent_id(mount), dev.major, dev.minor);
        let part = mount.root_path()?;
        text.push_escaped(&part, ESCAPED);
        text.push(b" ");
        text.push_escaped(&path, ESCAPED);
        let flags = mount.flags();
        let access = if flags.contains(MountFlags::RDONLY) { "ro" } else { "rw" };
        show!(text, " {access}");
        push_flags(flags, text);
        show!(text, " - {} ", mount.sb.fs.name);
        text.push_escaped(&mount.source, ESCAPED);
        show!(text, " rw");
        let _kept = mount.sb.ops().show_options(text);
        show!(text, "\n");
    }
    Ok(())
}
