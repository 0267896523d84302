//! What a process maps, and what of it is in memory (Linux: `fs/proc/task_mmu.c`).

use core::ops::ControlFlow;

use rux_mm::addr::{PAGE_SIZE, VirtAddr};
use rux_mm::space::{Resident, Share, VmaInfo, VmaName};
use rux_mm::vma::VmFlags;

use super::Text;
use super::process::Target;
use super::status::space;
use crate::errno::Result;
use crate::show;

/// The names of flags in smaps, by bit.
const FLAG_NAMES: [(VmFlags, &str); 26] = [
    (VmFlags::READ, "rd"),
    (VmFlags::WRITE, "wr"),
    (VmFlags::EXEC, "ex"),
    (VmFlags::SHARED, "sh"),
    (VmFlags::MAYREAD, "mr"),
    (VmFlags::MAYWRITE, "mw"),
    (VmFlags::MAYEXEC, "me"),
    (VmFlags::MAYSHARE, "ms"),
    (VmFlags::GROWSDOWN, "gd"),
    (VmFlags::PFNMAP, "pf"),
    (VmFlags::LOCKED, "lo"),
    (VmFlags::IO, "io"),
    (VmFlags::SEQ_READ, "sr"),
    (VmFlags::RAND_READ, "rr"),
    (VmFlags::DONTCOPY, "dc"),
    (VmFlags::DONTEXPAND, "de"),
    (VmFlags::LOCKONFAULT, "lf"),
    (VmFlags::ACCOUNT, "ac"),
    (VmFlags::NORESERVE, "nr"),
    (VmFlags::HUGETLB, "ht"),
    (VmFlags::WIPEONFORK, "wf"),
    (VmFlags::DONTDUMP, "dd"),
    // No `sd`: this architecture's Linux does not follow what was written, and does not show it.
    (VmFlags::HUGEPAGE, "hg"),
    (VmFlags::NOHUGEPAGE, "nh"),
    (VmFlags::MERGEABLE, "mg"),
    (VmFlags::DROPPABLE, "dp"),
];

/// Pads the line that begins at `start` up to its last column: to 25 characters and six for each byte of an address.
fn pad(text: &mut Text, start: usize) {
    const NAME_COLUMN: usize = 25 + 8 * 6 - 1;
    for _ in text.len() - start..NAME_COLUMN {
        text.push(b" ");
    }
}

/// The line of maps: addresses, rights, place in the file, name (Linux: `show_map_vma`).
fn show_vma(text: &mut Text, vma: &VmaInfo<'_>) {
    let start = text.len();
    let flag = |flag, yes| if vma.flags.contains(flag) { yes } else { '-' };
    show!(
        text,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        vma.range.start.get(),
        vma.range.end.get(),
        flag(VmFlags::READ, 'r'),
        flag(VmFlags::WRITE, 'w'),
        flag(VmFlags::EXEC, 'x'),
        if vma.flags.contains(VmFlags::MAYSHARE) { 's' } else { 'p' },
        vma.offset,
        vma.dev.0,
        vma.dev.1,
        vma.ino
    );
    match vma.name {
        VmaName::None => {}
        VmaName::Special(name) => {
            pad(text, start);
            text.push(name.as_bytes());
        }
        VmaName::File(file) => {
            pad(text, start);
            // A text that ran out of memory says so itself.
            let _kept = file.path(text);
        }
    }
    text.push(b"\n");
}

/// /proc/PID/maps.
pub(super) fn maps(target: &Target, text: &mut Text) -> Result<()> {
    target.may_look()?;
    let Some(space) = space(target) else { return Ok(()) };
    let mut each = |vma: &VmaInfo<'_>| {
        show_vma(text, vma);
        ControlFlow::Continue(())
    };
    Ok(space.for_each_vma(VirtAddr::ZERO, &mut each)?)
}

/// /proc/PID/smaps (Linux: `show_smap`).
pub(super) fn smaps(target: &Target, text: &mut Text) -> Result<()> {
    target.may_look()?;
    let Some(space) = space(target) else { return Ok(()) };
    let mut each = |vma: &VmaInfo<'_>, resident: &Resident| {
        show_vma(text, vma);
        show_line(text, "Size:", vma.range.len());
        show_line(text, "KernelPageSize:", PAGE_SIZE as u64);
        show_line(text, "MMUPageSize:", PAGE_SIZE as u64);
        show_resident(text, resident, false);
        show!(text, "THPeligible:    {:8}\nVmFlags: ", 0);
        for (flag, name) in FLAG_NAMES {
            if vma.flags.intersects(flag) {
                show!(text, "{name} ");
            }
        }
        text.push(b"\n");
        ControlFlow::Continue(())
    };
    Ok(space.for_each_resident(VirtAddr::ZERO, &mut each)?)
}

/// /proc/PID/smaps_rollup (Linux: `show_smaps_rollup`).
pub(super) fn smaps_rollup(target: &Target, text: &mut Text) -> Result<()> {
    target.may_look()?;
    let Some(space) = space(target) else { return Ok(()) };
    let (mut all, mut range) = (Resident::default(), None);
    let mut each = |vma: &VmaInfo<'_>, resident: &Resident| {
        all += resident;
        let start = range.map_or(vma.range.start, |(start, _)| start);
        range = Some((start, vma.range.end));
        ControlFlow::Continue(())
    };
    space.for_each_resident(VirtAddr::ZERO, &mut each)?;
    let (start, end) = range.unwrap_or_default();
    let line = text.len();
    show!(text, "{:08x}-{:08x} ---p 00000000 00:00 0 ", start.get(), end.get());
    pad(text, line);
    text.push(b"[rollup]\n");
    show_resident(text, &all, true);
    Ok(())
}

/// A number of bytes, in kB.
fn show_line(text: &mut Text, label: &str, bytes: u64) {
    show!(text, "{label:<16}{:8} kB\n", bytes / 1024);
}

/// The lines on pages (Linux: `__show_smap`).
fn show_resident(text: &mut Text, resident: &Resident, rollup: bool) {
    let mut line = |label, bytes| show_line(text, label, bytes);
    line("Rss:", resident.all);
    line("Pss:", resident.share_of_all().bytes());
    line("Pss_Dirty:", resident.share_dirty.bytes());
    if rollup {
        let [file, anon, shmem] = resident.share.map(Share::bytes);
        line("Pss_Anon:", anon);
        line("Pss_File:", file);
        line("Pss_Shmem:", shmem);
    }
    line("Shared_Clean:", resident.shared_clean);
    line("Shared_Dirty:", resident.shared_dirty);
    line("Private_Clean:", resident.private_clean);
    line("Private_Dirty:", resident.private_dirty);
    line("Referenced:", resident.referenced);
    line("Anonymous:", resident.anonymous);
    // Nothing merges pages, frees them late, makes them huge or swaps them out.
    for label in [
        "KSM:",
        "LazyFree:",
        "AnonHugePages:",
        "ShmemPmdMapped:",
        "FilePmdMapped:",
        "Shared_Hugetlb:",
        "Private_Hugetlb:",
        "Swap:",
        "SwapPss:",
    ] {
        line(label, 0);
    }
    line("Locked:", resident.share_locked.bytes());
}
