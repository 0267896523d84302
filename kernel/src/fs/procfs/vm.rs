//! /proc/sys/vm: settings of the memory manager (Linux: `mm/page_alloc.c`, `kernel/sysctl.c`).

use rux_mm::memory;
use rux_mm::space::{MAX_MAP_COUNT, MMAP_MIN_ADDR};
use rux_mm::zone::ZoneId;

use super::Entry;
use super::sys::{file, setting, show_number};
use super::sysctl::integers;
use crate::errno::{Errno, Result};
use crate::show;

pub(super) static VM: &[Entry] = &[
    setting(
        "lowmem_reserve_ratio",
        |text| {
            for (at, ratio) in memory().lowmem_reserve_ratio().iter().enumerate() {
                show!(text, "{}{ratio}", if at == 0 { "" } else { "\t" });
            }
            show!(text, "\n");
            Ok(())
        },
        set_lowmem_reserve_ratio,
    ),
    file("max_map_count", |text| show_number(text, MAX_MAP_COUNT as u64)),
    setting(
        "min_free_kbytes",
        |text| show_number(text, memory().min_free_kbytes()),
        |bytes| {
            let kbytes = u64::try_from(integer(bytes)?).map_err(|_| Errno::EINVAL)?;
            memory().set_min_free_kbytes(kbytes).map_err(|_| Errno::EINVAL)
        },
    ),
    file("mmap_min_addr", |text| show_number(text, MMAP_MIN_ADDR)),
    // What `mm` does: refuse what alone exceeds the machine.
    file("overcommit_memory", |text| show_number(text, 0)),
    file("overcommit_ratio", |text| show_number(text, 50)),
    setting(
        "percpu_pagelist_high_fraction",
        |text| show_number(text, memory().percpu_pagelist_high_fraction().into()),
        |bytes| {
            let fraction = u32::try_from(integer(bytes)?).map_err(|_| Errno::EINVAL)?;
            memory().set_percpu_pagelist_high_fraction(fraction).map_err(|_| Errno::EINVAL)
        },
    ),
    setting(
        "watermark_scale_factor",
        |text| show_number(text, memory().watermark_scale_factor().into()),
        |bytes| {
            let factor = u32::try_from(integer(bytes)?).map_err(|_| Errno::EINVAL)?;
            memory().set_watermark_scale_factor(factor).map_err(|_| Errno::EINVAL)
        },
    ),
];

/// The first number of a write.
fn integer(bytes: &[u8]) -> Result<i32> {
    let mut value = [0];
    integers(bytes, &mut value)?;
    Ok(value[0])
}

/// As Linux does it: the numbers up to the first that is none are taken, what is below 1 counts as 0, the zones without
/// one keep theirs, and no write fails.
fn set_lowmem_reserve_ratio(bytes: &[u8]) -> Result<()> {
    let mut ratios: [i32; ZoneId::COUNT] = memory().lowmem_reserve_ratio().map(|ratio| ratio as i32);
    // An error says no more than that fewer were taken.
    let _ = integers(bytes, &mut ratios);
    memory().set_lowmem_reserve_ratio(ratios.map(|ratio| u32::try_from(ratio).unwrap_or(0)));
    Ok(())
}
