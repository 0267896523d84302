use super::*;
use crate::host::HostMachine;

const MB: usize = 1 << 20;

#[test]
fn all_memory_can_be_had_and_comes_back() {
    let machine = HostMachine::new(8 * MB, 1);
    assert_eq!((free_pages_count(), total_pages()), (2048, 2048));
    for order in Order::all() {
        let mut blocks = Vec::new();
        while let Ok(block) = alloc_pages(Gfp::KERNEL | Gfp::MEMALLOC, order) {
            blocks.push(block);
        }
        assert_eq!(blocks.len(), 2048 >> order.get(), "{order:?}");
        assert_eq!(free_pages_count(), 0);
        drop(blocks);
        assert_eq!(free_pages_count(), 2048, "{order:?}");
        validate_still().unwrap();
    }
    drop(machine);
}
