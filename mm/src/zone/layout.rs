//! Which frame is of which zone (Linux: `free_area_init`, `find_zone_movable_pfns_for_nodes` in
//! `mm/mm_init.c`): below 4 GiB is DMA32, above is Normal, and from where `kernelcore=` or `movablecore=`
//! put it on all is Movable.

use super::ZoneId;
use crate::addr::{Order, Pfn};

/// The first frame past DMA32.
const DMA32_END: Pfn = Pfn::new(1 << 20);

/// An amount of memory on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of all RAM.
    Percent(u64),
}

impl Amount {
    /// `nn[KMGT]`, in decimal, hexadecimal or octal as in C, or `nn%` (Linux: `cmdline_parse_core`, `memparse`).
    /// `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent.parse().ok().filter(|&percent| percent <= 100).map(Self::Percent);
        }
        let shift = match text.bytes().last()?.to_ascii_uppercase() {
            b'K' => 10,
            b'M' => 20,
            b'G' => 30,
            b'T' => 40,
            _ => 0,
        };
        let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
        let (digits, radix) = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
            [b'0', _, ..] => (&digits[1..], 8),
            _ => (digits, 10),
        };
        let number = u64::from_str_radix(digits, radix).ok()?;
        number.checked_mul(1 << shift).map(Self::Bytes)
    }

    /// Base pages, rounded down.
    fn pages(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes >> crate::addr::PAGE_SHIFT,
            Self::Percent(percent) => (total as u128 * percent as u128 / 100) as u64,
        }
    }
}

/// Where the zones are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The first frame of the zone Movable; a multiple of the largest order.
    movable: Pfn,
}

impl Layout {
    /// No Movable zone.
    pub const PLAIN: Self = Self { movable: Pfn::new(u64::MAX) };

    /// For these ranges of RAM, ascending. `kernelcore` is how much may hold what cannot move, `movablecore` how
    /// much may not; where both are said, the larger core counts.
    pub fn new(ram: &[(Pfn, Pfn)], kernelcore: Option<Amount>, movablecore: Option<Amount>) -> Self {
        let total: u64 = ram.iter().map(|range| range.1 - range.0).sum();
        let mut core = kernelcore.map_or(0, |amount| amount.pages(total));
        if let Some(amount) = movablecore {
            let movable = amount.pages(total).next_multiple_of(Order::MAX.pages() as u64).min(total);
            core = core.max(total - movable);
        }
        if core == 0 || core >= total {
            return Self::PLAIN;
        }
        // What lies below the highest zone counts first, but Movable takes of that zone alone.
        let highest = if ram.iter().any(|range| range.1 > DMA32_END) { DMA32_END } else { Pfn::new(0) };
        for &(start, end) in ram {
            let below = highest.max(start).min(end) - start;
            core = core.saturating_sub(below);
            let start = start + below;
            if start == end {
                continue;
            }
            if core < end - start {
                let movable = (start + core).get().next_multiple_of(Order::MAX.pages() as u64);
                return Self { movable: Pfn::new(movable) };
            }
            core -= end - start;
        }
        Self::PLAIN
    }

    /// The zone of a frame, and the first frame past it that is of another.
    pub fn zone_of(&self, pfn: Pfn) -> (ZoneId, Pfn) {
        if pfn >= self.movable {
            (ZoneId::Movable, Pfn::new(u64::MAX))
        } else if pfn < DMA32_END {
            (ZoneId::Dma32, DMA32_END.min(self.movable))
        } else {
            (ZoneId::Normal, self.movable)
        }
    }

    /// Calls for each part of a range that is of one zone.
    pub(crate) fn for_each_part(&self, start: Pfn, end: Pfn, mut each: impl FnMut(ZoneId, Pfn, Pfn)) {
        let mut at = start;
        while at < end {
            let (zone, up_to) = self.zone_of(at);
            let up_to = up_to.min(end);
            each(zone, at, up_to);
            at = up_to;
        }
    }

    /// The first frame that is for movable memory alone.
    pub fn movable_start(&self) -> Pfn {
        self.movable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 256;
    const GB: u64 = 1024 * MB;

    fn ram(from_mb: u64, mb: u64) -> (Pfn, Pfn) {
        (Pfn::new(from_mb * MB), Pfn::new((from_mb + mb) * MB))
    }

    fn amount(text: &str) -> Option<Amount> {
        Some(Amount::parse(text).unwrap())
    }

    #[test]
    fn amounts_are_as_memparse_reads_them() {
        assert_eq!(Amount::parse("256M"), Some(Amount::Bytes(256 << 20)));
        assert_eq!(Amount::parse("0x10k"), Some(Amount::Bytes(16 << 10)));
        assert_eq!(Amount::parse("010"), Some(Amount::Bytes(8)));
        assert_eq!(Amount::parse("0"), Some(Amount::Bytes(0)));
        assert_eq!(Amount::parse("25%"), Some(Amount::Percent(25)));
        for wrong in ["", "M", "101%", "12Q", "99999999999T", "-1"] {
            assert_eq!(Amount::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn without_a_word_there_is_no_movable_zone() {
        let one = [ram(2048, 1024)];
        assert_eq!(Layout::new(&one, None, None), Layout::PLAIN);
        for useless in ["0", "1G", "2G", "100%"] {
            assert_eq!(Layout::new(&one, amount(useless), None), Layout::PLAIN, "{useless}");
        }
        assert_eq!(Layout::PLAIN.zone_of(Pfn::new(2 * GB)).0, ZoneId::Dma32);
        assert_eq!(Layout::PLAIN.zone_of(Pfn::new(4 * GB)).0, ZoneId::Normal);
    }

    #[test]
    fn kernelcore_and_movablecore_meet() {
        let one = [ram(2048, 1024)];
        let start = Pfn::new((2048 + 256) * MB);
        assert_eq!(Layout::new(&one, amount("256M"), None).movable_start(), start);
        assert_eq!(Layout::new(&one, None, amount("768M")).movable_start(), start);
        assert_eq!(Layout::new(&one, amount("25%"), None).movable_start(), start);
        // The larger core counts.
        assert_eq!(Layout::new(&one, amount("128M"), amount("768M")).movable_start(), start);
        // Rounded to the largest block.
        let odd = Layout::new(&one, amount("255M"), None);
        assert_eq!((odd.zone_of(Pfn::new(start.get() - 1)).0, odd.movable_start()), (ZoneId::Dma32, start));
    }

    #[test]
    fn movable_is_cut_from_the_highest_zone() {
        let two = [ram(2048, 2048), ram(4096, 2048)];
        // The whole of DMA32 counts as core, and is more than asked for.
        let layout = Layout::new(&two, amount("1G"), None);
        assert_eq!(layout.movable_start(), DMA32_END);
        let layout = Layout::new(&two, amount("3G"), None);
        let mut parts = Vec::new();
        for (start, end) in two {
            layout.for_each_part(start, end, |zone, a, b| parts.push((zone, (b - a) / MB)));
        }
        assert_eq!(parts, [(ZoneId::Dma32, 2048), (ZoneId::Normal, 1024), (ZoneId::Movable, 1024)]);
    }
}
