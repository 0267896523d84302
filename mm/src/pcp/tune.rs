//! How many pages a hart keeps of a zone, and how many it gets or gives at once: both follow what the hart does
//! (Linux 6.12: `nr_pcp_alloc`, `nr_pcp_high`, `nr_pcp_free`, `decay_pcp_high`, `zone_batchsize`).
//!
//! Linux adapts at every allocation and free. Here a hart looks when a list runs empty or out of room, and
//! takes into account what happened since: how many frees in a row there were is then known to within what
//! came in between.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::list::News;
use crate::addr::Order;

/// A batch grows to this many times itself, as a power of two (Linux: `CONFIG_PCP_BATCH_SCALE_MAX`).
const SCALE_MAX: u32 = 5;

/// What holds for all harts' lists of a zone, in pages.
#[derive(Debug)]
pub(crate) struct Settings {
    batch: AtomicU32,
    high_min: AtomicU32,
    high_max: AtomicU32,
}

/// [`Settings`] at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub(super) batch: u32,
    pub(super) high_min: u32,
    pub(super) high_max: u32,
}

impl Settings {
    pub(crate) const fn new() -> Self {
        Self { batch: AtomicU32::new(1), high_min: AtomicU32::new(0), high_max: AtomicU32::new(0) }
    }

    /// For a zone with `managed` pages and a low watermark of `low`, shared by `harts`. All harts together keep
    /// between the low watermark and an eighth of the zone, or one part in `fraction` if that is not 0.
    pub(crate) fn update(&self, managed: u64, low: u64, harts: u32, fraction: u32) {
        let batch = batch_of(managed);
        let share =
            |pages: u64| (pages / u64::from(harts.max(1))).clamp(u64::from(batch) * 4, 1 << 24) as u32;
        let (min, max) = match fraction {
            _ if managed == 0 => (0, 0),
            0 => (share(low), share(managed / 8)),
            _ => (share(managed / u64::from(fraction)), share(managed / u64::from(fraction))),
        };
        self.batch.store(batch, Relaxed);
        self.high_min.store(min, Relaxed);
        self.high_max.store(max.max(min), Relaxed);
    }

    pub(super) fn get(&self) -> Marks {
        let high_min = self.high_min.load(Relaxed);
        Marks {
            batch: self.batch.load(Relaxed),
            high_min,
            high_max: self.high_max.load(Relaxed).max(high_min),
        }
    }
}

/// A quarter of a thousandth of the zone, 256 KiB at most, one less than a power of two: so that harts
/// do not all get pages of the same colour.
fn batch_of(managed: u64) -> u32 {
    let quarter = (managed >> 10).min(256) as u32 / 4;
    let spread = quarter + quarter / 2;
    if spread < 2 { 1 } else { (1 << spread.ilog2()) - 1 }
}

/// What a hart's lists of one zone are like. Written by the hart alone.
#[derive(Debug)]
pub(super) struct State {
    /// Pages in the lists, as of each list's last look.
    count: AtomicU32,
    /// How many pages are too many.
    high: AtomicU32,
    /// log2 of how many batches the next refill brings.
    alloc_factor: AtomicU32,
    /// Pages freed in a row.
    free_count: AtomicU32,
    /// Whether the last look was at frees of several pages.
    freed_large: AtomicU32,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            high: AtomicU32::new(0),
            alloc_factor: AtomicU32::new(0),
            free_count: AtomicU32::new(0),
            freed_large: AtomicU32::new(0),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// See `/proc/zoneinfo`: what `high` is, within what the settings allow now.
    pub(super) fn high(&self, marks: Marks) -> u32 {
        self.high.load(Relaxed).clamp(marks.high_min, marks.high_max)
    }

    fn set_high(&self, high: u32) {
        self.high.store(high, Relaxed);
    }

    /// Counts pages that came, or went if below 0.
    pub(super) fn moved(&self, pages: i32) {
        self.count.store(self.count().saturating_add_signed(pages), Relaxed);
    }

    /// Takes note of what happened to a list of blocks of `order`.
    pub(super) fn note(&self, news: &News, order: Order, marks: Marks) {
        self.moved(news.more << order.get());
        let factor = self.alloc_factor.load(Relaxed);
        self.alloc_factor.store(factor >> news.pushes.min(31), Relaxed);
        let before = self.free_count.load(Relaxed) >> news.pops.min(31);
        let fresh = news.pushes.saturating_sub(news.pops) << order.get();
        self.free_count.store(before.saturating_add(fresh).min(marks.batch << SCALE_MAX), Relaxed);
    }

    /// How many blocks to bring (Linux: `nr_pcp_alloc`).
    pub(super) fn refill(&self, marks: Marks, order: Order, below_high: bool) -> u32 {
        let mut high = self.high(marks);
        self.set_high(high);
        if high < marks.batch {
            return 1;
        }
        let factor = if order == Order::ZERO { self.alloc_factor.load(Relaxed) } else { 0 };
        let mut batch = marks.batch << factor;
        // With more room the zone need not have been asked.
        if marks.high_min != marks.high_max && !below_high {
            high = (high + batch).min(marks.high_max);
            self.set_high(high);
        }
        if order == Order::ZERO {
            let most = high.saturating_sub(self.count() + marks.batch).max(marks.batch);
            // Twice as many each time, as long as nothing is freed.
            if batch <= most && factor < SCALE_MAX {
                self.alloc_factor.store(factor + 1, Relaxed);
            }
            batch = batch.min(most);
        }
        if batch > 1 { (batch >> order.get()).max(if order.get() < 4 { 2 } else { 1 }) } else { batch }
    }

    /// How many pages may be kept now, and how many of them are to go (Linux: `nr_pcp_high`, `nr_pcp_free`).
    pub(super) fn look(&self, marks: Marks, order: Order, below_high: bool) -> (u32, u32) {
        let large = (1..=3).contains(&order.get());
        let free_count = self.free_count.load(Relaxed);
        let before = self.freed_large.swap(large.into(), Relaxed) != 0;
        let flood = large && before && free_count >= marks.batch && self.count() >= marks.batch;
        let mut high = self.high(marks);
        self.set_high(high);
        if flood {
            // Nothing but frees of several pages: they are worth more joined, in the zone.
            self.set_high(high.saturating_sub(marks.batch << SCALE_MAX).max(marks.high_min));
            return (high, self.count().min(marks.batch << SCALE_MAX));
        }
        if marks.high_min != marks.high_max {
            if below_high {
                let less = free_count.max(marks.batch);
                self.set_high(high.saturating_sub(less).max(marks.high_min));
                high = self.count().max(marks.high_min);
            } else if self.count() >= high {
                let need = free_count + marks.batch;
                if high < need {
                    self.set_high(need.clamp(marks.high_min, marks.high_max));
                }
            }
        }
        if self.count() < high {
            return (high, 0);
        }
        if high < marks.batch {
            return (high, 1);
        }
        (high, free_count.clamp(marks.batch, (high - marks.batch).max(marks.batch)))
    }

    /// Once a second: keeps less if the hart did not need it; says how many pages are to go (Linux:
    /// `decay_pcp_high`).
    pub(super) fn decay(&self, marks: Marks) -> u32 {
        let high = self.high(marks);
        if high > marks.high_min {
            let less = self.count().saturating_sub(marks.batch << SCALE_MAX).max(high - (high >> 3));
            self.set_high(less.max(marks.high_min));
        }
        self.count().saturating_sub(self.high(marks)).min(marks.batch << SCALE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_is_linuxs() {
        for (pages, batch) in [(0, 1), (4096, 1), (16384, 3), (1 << 16, 15), (1 << 18, 63), (1 << 28, 63)] {
            assert_eq!(batch_of(pages), batch, "{pages}");
        }
    }

    fn marks() -> Marks {
        let settings = Settings::new();
        settings.update(1 << 18, 1280, 1, 0);
        settings.get()
    }

    #[test]
    fn marks_are_linuxs() {
        let m = marks();
        assert_eq!((m.batch, m.high_min, m.high_max), (63, 1280, 32768));
        let settings = Settings::new();
        settings.update(1 << 18, 1280, 64, 0);
        assert_eq!((settings.get().high_min, settings.get().high_max), (252, 512));
        settings.update(1 << 18, 1280, 4, 8);
        assert_eq!((settings.get().high_min, settings.get().high_max), (8192, 8192));
        settings.update(0, 0, 4, 8);
        assert_eq!((settings.get().high_min, settings.get().high_max), (0, 0));
    }

    #[test]
    fn refills_double_while_nothing_is_freed() {
        let (state, m) = (State::new(), marks());
        let sizes: Vec<_> = (0..7).map(|_| state.refill(m, Order::ZERO, false)).collect();
        assert_eq!(sizes, [63, 126, 252, 504, 1008, 2016, 2016]);
        state.note(&News { pushes: 5, pops: 0, more: 0 }, Order::ZERO, m);
        assert_eq!(state.refill(m, Order::ZERO, false), 63);
        // Large blocks come one batch at a time, huge ones singly.
        assert_eq!(state.refill(m, Order::new(2).unwrap(), false), 15);
        assert_eq!(state.refill(m, Order::HUGE, false), 1);
    }

    #[test]
    fn frees_in_a_row_go_in_larger_bunches() {
        let (state, m) = (State::new(), marks());
        let mut gone = Vec::new();
        for _ in 0..40 {
            state.note(&News { pushes: 100, pops: 0, more: 100 }, Order::ZERO, m);
            let (_, less) = state.look(m, Order::ZERO, false);
            state.moved(-(less as i32));
            gone.push(less);
        }
        assert!(gone[11] == 0 && gone.iter().any(|&less| less > 1000), "{gone:?}");
        assert!(state.count() < 4000);
        let high = state.high(m);
        assert!(high > m.high_min);
        for _ in 0..100 {
            let less = state.decay(m);
            state.moved(-(less as i32));
        }
        assert_eq!(state.high(m), m.high_min);
        assert!(state.count() <= m.high_min);
    }
}
