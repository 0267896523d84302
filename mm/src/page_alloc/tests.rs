use super::*;
use crate::host::HostMachine;

const MB: usize = 1 << 20;

#[test]
fn all_memory_can_be_had_and_comes_back() {
    let machine = HostMachine::new(8 * MB, 1);
    let free = free_pages_count();
    assert_eq!(total_pages(), 2048);
    for order in Order::all() {
        let mut blocks = Vec::new();
        while let Ok(block) = alloc_pages(Gfp::KERNEL | Gfp::MEMALLOC, order) {
            blocks.push(block);
        }
        assert_eq!(free_pages_count(), free - ((blocks.len() as u64) << order.get()));
        assert!(free_pages_count() < order.pages() as u64 + (2048 - free), "{order:?}");
        drop(blocks);
        assert_eq!(free_pages_count(), free, "{order:?}");
        validate_still().unwrap();
    }
    drop(machine);
}
