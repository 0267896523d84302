//! A list against a stack of frames.

use proptest::prelude::*;

use super::*;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::page_alloc::alloc_pages;

#[derive(Clone, Debug)]
enum Op {
    Push,
    Pop,
    Fill(u8),
    Seal(u32),
    Shed(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Push),
        4 => Just(Op::Pop),
        1 => (0..20u8).prop_map(Op::Fill),
        2 => (1..20u32).prop_map(Op::Seal),
        1 => (0..30u32).prop_map(Op::Shed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 }, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn a_list_is_a_stack_that_loses_its_oldest(ops in prop::collection::vec(op(), 1..400)) {
        let machine = HostMachine::new(8 << 20, 1);
        let mut spare: Vec<_> = std::iter::from_fn(|| alloc_pages(Gfp::NOWAIT, Order::ZERO).ok()).collect();
        spare.truncate(1000);
        // Blocks that are nobody's, as the lists have them.
        let mut spare: Vec<PagePtr> = spare
            .into_iter()
            .map(|block| crate::page::pfn_to_page(block.into_raw()))
            .inspect(|page| page.count().set_raw(0))
            .collect();
        let zone = memory().zone(ZoneId::Dma32);
        let free = zone.free_pages();
        let list = List::new();
        let mut model: Vec<PagePtr> = Vec::new();
        let (mut pushes, mut pops, mut shed) = (0, 0, 0);
        for op in ops {
            match op {
                Op::Push => {
                    let Some(page) = spare.pop() else { continue };
                    if list.push(page) {
                        list.grant(7);
                    }
                    model.push(page);
                    pushes += 1;
                }
                Op::Pop => {
                    if list.hot_is_empty() {
                        list.unseal();
                    }
                    let page = list.pop();
                    prop_assert_eq!(page, model.pop());
                    pops += u64::from(page.is_some());
                    spare.extend(page);
                }
                Op::Fill(count) => {
                    // As a refill: only when there is nothing.
                    if model.is_empty() && spare.len() > count as usize {
                        for page in spare.split_off(spare.len() - count as usize) {
                            list.fill(page);
                            model.push(page);
                        }
                        list.filled(count.into());
                    }
                }
                Op::Seal(least) => list.seal(least),
                Op::Shed(most) => {
                    let gone = list.shed(zone, Order::ZERO, most) as usize;
                    prop_assert_eq!(gone, model.len().min(most as usize));
                    shed += gone as u64;
                    // What is left stands in the order that it stood in.
                    let left: Vec<_> = list.blocks().collect();
                    model.retain(|page| left.contains(page));
                }
            }
            prop_assert_eq!(list.count() as usize, model.len());
            let blocks: Vec<_> = list.blocks().collect();
            prop_assert!(blocks.iter().eq(model.iter().rev()));
            prop_assert_eq!((list.pushes(), list.pops()), (pushes, pops));
            prop_assert_eq!(zone.free_pages(), free + shed);
        }
        let news = list.news();
        prop_assert_eq!(news.pushes.wrapping_sub(news.pops), news.more as u32);
        prop_assert_eq!(list.news().more, 0);
        drop(machine);
    }
}
