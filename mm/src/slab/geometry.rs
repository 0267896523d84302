//! How the objects of a cache lie in its slabs (Linux: `calculate_sizes`, `calculate_order`).
//!
//! A plain object has nothing around it, and while it is free its first bytes name the next free one. With
//! debugging it has, from left to right: a red zone, the object, another red zone, the name of the next
//! free one, and what [`super::debug`] remembers of it.

use super::debug::{DebugFlags, record_size};
use super::sheaf::SHEAF_MOST;
use crate::addr::Order;

/// The unit of offsets in a slab, and the least size and alignment of objects.
pub(super) const UNIT: usize = 8;
/// The largest order of a slab that holds more than one object. Orders up to it are had soon.
const ORDER_COSTLY: usize = 3;

/// See the head of the room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Bytes from one object of a slab to the next.
    pub(super) stride: usize,
    /// Bytes of an object that its user may have.
    pub(super) size: usize,
    /// Bytes before the first object: the left red zone.
    pub(super) start: usize,
    /// From an object to where it names the next free one.
    pub(super) link: usize,
    /// From an object to what is remembered of it, if [`DebugFlags::looks`].
    pub(super) record: usize,
    /// log2 of the pages of a slab, when memory is plenty.
    pub(super) order: Order,
    /// The least that an object fits in.
    pub(super) min_order: Order,
    /// Objects of a sheaf.
    pub(super) capacity: usize,
    /// What is watched and wiped. Anything at all, and every operation goes by way of `debug`.
    pub(super) debug: DebugFlags,
}

impl Geometry {
    /// Of objects of that size and alignment.
    pub(super) const fn new(size: usize, align: usize, debug: DebugFlags) -> Self {
        let align = if align > UNIT { align } else { UNIT };
        let size = if size > UNIT { size } else { UNIT };
        let (start, link, record, end) = if !debug.looks() {
            (0, 0, 0, size)
        } else {
            let zone = debug.contains(DebugFlags::RED_ZONE);
            // At least a byte of the right zone is right behind the object, at most 16.
            let link = (size + zone as usize).next_multiple_of(UNIT);
            let record = link + UNIT;
            (if zone { align } else { 0 }, link, record, record + record_size(debug))
        };
        let stride = (start + end).next_multiple_of(align);
        Self {
            stride,
            size,
            start,
            link,
            record,
            order: slab_order(stride),
            min_order: match Order::of_bytes(stride) {
                Some(order) => order,
                None => Order::MAX,
            },
            capacity: sheaf_capacity(stride),
            debug,
        }
    }

    /// Objects of a slab of `order`.
    pub(super) const fn objects_in(&self, order: Order) -> usize {
        order.bytes() / self.stride
    }

    /// Objects that move between a sheaf and the slabs at once.
    pub(super) const fn batch(&self) -> usize {
        self.capacity / 2 + 1
    }
}

/// The least order at which little is wasted and a fair number of objects fits.
const fn slab_order(stride: usize) -> Order {
    let mut order = 0;
    while let Some(candidate) = Order::new(order)
        && order < ORDER_COSTLY
    {
        let objects = candidate.bytes() / stride;
        if objects >= 4 && candidate.bytes() % stride <= candidate.bytes() / 8 {
            return candidate;
        }
        order += 1;
    }
    let least = match Order::of_bytes(stride) {
        Some(order) => order,
        None => Order::MAX,
    };
    match Order::new(ORDER_COSTLY) {
        Some(costly) if costly.get() > least.get() => costly,
        _ => least,
    }
}

/// How many objects a hart keeps: few of those that are large, since each may keep a slab from being free.
const fn sheaf_capacity(stride: usize) -> usize {
    match stride {
        0..=256 => SHEAF_MOST,
        257..=1024 => 6,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic only")]
    fn objects_lie_side_by_side() {
        let all = (0..=DebugFlags::all().bits()).map(DebugFlags::from_bits_retain);
        for debug in all {
            for size in (1..300).chain([4000, 4096, 8192, 100_000, 256 << 10]) {
                for align in [1, 8, 16, 64, 4096] {
                    let it = Geometry::new(size, align, debug);
                    assert!(
                        it.size >= size && it.start.is_multiple_of(align) && it.stride.is_multiple_of(align)
                    );
                    assert!(it.objects_in(it.min_order) >= 1 && it.order >= it.min_order, "{it:?}");
                    assert!(it.order.bytes() / UNIT <= 0xffff || it.start < 0xffff * UNIT);
                    if !debug.looks() {
                        assert_eq!(it.stride, it.size.next_multiple_of(align.max(UNIT)));
                    } else {
                        assert!(it.link >= it.size && it.start + it.record + record_size(debug) <= it.stride);
                        assert!(!debug.contains(DebugFlags::RED_ZONE) || (it.start > 0 && it.link > it.size));
                        assert!(it.objects_in(it.order) <= super::super::debug::OBJECTS_MOST, "{it:?}");
                    }
                }
            }
        }
    }
}
