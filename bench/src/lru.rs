//! LRU lists: an operation moves a page, at random, to the front of its list.
//!
//! Ours, under their lock, beside the crate `intrusive-collections`, and lists through 32-bit indices and through
//! pointers, as lean as can be.

use std::ptr::null_mut;

use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};

use rux_mm::addr::{Order, PAGE_SIZE};
use rux_mm::gfp::Gfp;
use rux_mm::host::HostMachine;
use rux_mm::{Folio, FolioRef, PageFlags, alloc_folio, lru};

use crate::measure::{Bench, Numbers};

const GROUP: &str = "lru";
const SHAPE: &str = "touch";
const PAGES: usize = 65_536;

pub fn run(bench: &Bench) {
    let times = bench.times(40_000);
    let mut numbers = Numbers::new();
    let touched: Vec<usize> = (0..times).map(|_| numbers.below(PAGES)).collect();
    ours(bench, &touched);
    intrusive(bench, &touched);
    indices(bench, &touched);
    pointers(bench, &touched);
}

/// Folios as the kernel has them: half of them of files, half anonymous.
fn ours(bench: &Bench, touched: &[usize]) {
    let machine = HostMachine::new(2 * PAGES * PAGE_SIZE, 1);
    let folios: Vec<FolioRef> = (0..PAGES)
        .map(|at| {
            let folio = alloc_folio(Gfp::HIGHUSER_MOVABLE, Order::ZERO).expect("memory");
            if at % 2 == 0 {
                folio.set_flags(PageFlags::SWAPBACKED);
            }
            lru::add(&folio);
            folio
        })
        .collect();
    lru::drain();
    // Whoever comes to a page of the kernel's has its descriptor.
    let touched: Vec<&Folio> = touched.iter().map(|&at| &*folios[at]).collect();
    let mut lists = lru::lock();
    bench.count(GROUP, SHAPE, "rux", touched.len(), || lists.touch(touched.iter().copied()));
    drop(lists);
    drop(folios);
    drop(machine);
}

struct Node {
    link: LinkedListLink,
}

intrusive_adapter!(NodeAdapter = UnsafeRef<Node>: Node { link => LinkedListLink });

fn intrusive(bench: &Bench, touched: &[usize]) {
    let nodes: Vec<Node> = (0..PAGES).map(|_| Node { link: LinkedListLink::new() }).collect();
    let mut list = LinkedList::new(NodeAdapter::new());
    for node in &nodes {
        // SAFETY: the list goes before the nodes do.
        list.push_front(unsafe { UnsafeRef::from_raw(node) });
    }
    bench.count(GROUP, SHAPE, "intrusive", touched.len(), || {
        for &at in touched {
            // SAFETY: every node is in the list.
            if let Some(node) = unsafe { list.cursor_mut_from_ptr(&nodes[at]) }.remove() {
                list.push_front(node);
            }
        }
    });
    list.clear();
}

/// Links of 8 bytes a page; the last is the list's head.
fn indices(bench: &Bench, touched: &[usize]) {
    let end = PAGES as u32;
    let mut links: Vec<[u32; 2]> =
        (0..=end).map(|at| [(at + end) % (end + 1), (at + 1) % (end + 1)]).collect();
    bench.count(GROUP, SHAPE, "u32 index", touched.len(), || {
        for &at in touched {
            let [before, after] = links[at];
            links[before as usize][1] = after;
            links[after as usize][0] = before;
            let first = links[PAGES][1];
            links[at] = [end, first];
            links[first as usize][0] = at as u32;
            links[PAGES][1] = at as u32;
        }
    });
}

struct Links {
    before: *mut Links,
    after: *mut Links,
}

fn pointers(bench: &Bench, touched: &[usize]) {
    let mut links: Vec<Links> =
        (0..=PAGES).map(|_| Links { before: null_mut(), after: null_mut() }).collect();
    let base = links.as_mut_ptr();
    for at in 0..=PAGES {
        // SAFETY: all are within the array.
        unsafe {
            (*base.add(at)).before = base.add((at + PAGES) % (PAGES + 1));
            (*base.add(at)).after = base.add((at + 1) % (PAGES + 1));
        }
    }
    bench.count(GROUP, SHAPE, "pointers", touched.len(), || {
        for &at in touched {
            // SAFETY: all are within the array, and nothing borrows it.
            unsafe {
                let (node, head) = (base.add(at), base.add(PAGES));
                (*(*node).before).after = (*node).after;
                (*(*node).after).before = (*node).before;
                let first = (*head).after;
                (*node).before = head;
                (*node).after = first;
                (*first).before = node;
                (*head).after = node;
            }
        }
    });
}
