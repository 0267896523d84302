//! /proc/sys/vm: settings of the memory manager (Linux: `mm/page_alloc.c`, `kernel/sysctl.c`).

use rux_mm::memory;
use rux_mm::space::{MAX_MAP_COUNT, MMAP_MIN_ADDR};
use rux_mm::zone::{OutOfRange, ZoneId};

use super::sys::{file, show_number};
use super::sysctl::{integer_of, integers};
use super::{Entry, Text};
use crate::errno::{Errno, Result};
use crate::show;

pub(super) static VM: &[Entry] = &[
    numbers(
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
    numbers(
        "min_free_kbytes",
        |text| show_number(text, memory().min_free_kbytes()),
        |bytes| set(bytes, |kbytes| memory().set_min_free_kbytes(kbytes.into())),
    ),
    file("mmap_min_addr", |text| show_number(text, MMAP_MIN_ADDR)),
    // What `mm` does: refuse what alone exceeds the machine.
    file("overcommit_memory", |text| show_number(text, 0)),
    file("overcommit_ratio", |text| show_number(text, 50)),
    numbers(
        "percpu_pagelist_high_fraction",
        |text| show_number(text, memory().percpu_pagelist_high_fraction().into()),
        |bytes| set(bytes, |fraction| memory().set_percpu_pagelist_high_fraction(fraction)),
    ),
    numbers(
        "watermark_scale_factor",
        |text| show_number(text, memory().watermark_scale_factor().into()),
        |bytes| set(bytes, |factor| memory().set_watermark_scale_factor(factor)),
    ),
];

pub(super) const fn numbers(
    name: &'static str,
    show: fn(&mut Text) -> Result<()>,
    write: fn(&[u8]) -> Result<usize>,
) -> Entry {
    Entry::Numbers { name, mode: 0o644, show, write }
}

/// Sets something to the first number of a write.
///
/// # Errors
/// `EINVAL`: it is none, below 0 or out of range.
fn set(bytes: &[u8], to: fn(u32) -> core::result::Result<(), OutOfRange>) -> Result<usize> {
    let mut fits = Ok(());
    let taken = integer_of(bytes, |value| {
        fits = u32::try_from(value)
            .map_err(|_| Errno::EINVAL)
            .and_then(|value| to(value).map_err(|_| Errno::EINVAL));
    })?;
    fits.map(|()| taken)
}

/// As Linux does it: the numbers up to the first that is none are taken, what is below 1 counts as 0, the zones without
/// one keep theirs, and no write fails.
fn set_lowmem_reserve_ratio(bytes: &[u8]) -> Result<usize> {
    let mut ratios: [i32; ZoneId::COUNT] = memory().lowmem_reserve_ratio().map(|ratio| ratio as i32);
    let (taken, _) = integers(bytes, &mut ratios);
    memory().set_lowmem_reserve_ratio(ratios.map(|ratio| u32::try_from(ratio).unwrap_or(0)));
    Ok(taken)
}
