//! From pages back to their mappings: what walks find is what a scan of all tables finds, and the groups of forked
//! mappings are as many as they should be.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::addr::Pfn;
use crate::page::{MappingWord, pfn_to_page};
use crate::page_alloc::FolioRef;
use crate::paging::{Level, Slot, Visit};
use crate::rmap::{ChainInfo, RmapVisit, SpaceCore, rmap_walk};
use core::ops::ControlFlow;

/// Where a page is mapped: the address space, the address.
type Entries = BTreeSet<(usize, VirtAddr)>;

struct Scan<'a> {
    space: usize,
    found: &'a mut BTreeMap<u64, Entries>,
}

impl Visit for Scan<'_> {
    fn entry<L: Level>(&mut self, addr: VirtAddr, slot: &Slot<L>) -> ControlFlow<()> {
        let entry = slot.get();
        if let Kind::Leaf(pfn) | Kind::ProtNone(pfn) = entry.kind()
            && !entry.is_special()
        {
            self.found.entry(pfn.get()).or_default().insert((self.space, addr));
        }
        ControlFlow::Continue(())
    }
}

impl RmapVisit for Entries {
    fn entry<L: Level>(&mut self, core: &SpaceCore, addr: VirtAddr, _: &Slot<L>) -> ControlFlow<()> {
        assert!(self.insert((core::ptr::from_ref(core).addr(), addr)), "{addr:?} is found twice");
        ControlFlow::Continue(())
    }
}

/// All chains of all mappings.
fn chains(spaces: &[&Space]) -> Vec<ChainInfo> {
    let mut chains = Vec::new();
    for space in spaces {
        let layout = space.layout.read();
        for vma in layout.vmas.iter() {
            vma.anon.validate(&space.core, vma.place(), &mut |info| chains.push(info));
        }
    }
    chains
}

/// Compares walks with tables, and what groups count with what there is. These are all address spaces that there are,
/// and nobody runs in them.
pub(super) fn compare(spaces: &[&Space]) {
    let mut found = BTreeMap::<u64, Entries>::new();
    for space in spaces {
        let tables = space.core().tables();
        let all = crate::addr::VirtRange::new(VirtAddr::ZERO, tables.mode().user_end());
        let id = (&raw const **space.core()).addr();
        let _ = tables.visit_range(all, &mut Scan { space: id, found: &mut found });
    }
    for (pfn, entries) in found {
        let folio = FolioRef::of(pfn_to_page(Pfn::new(pfn)).folio());
        if folio.mapping() != MappingWord::None {
            let mut walked = Entries::new();
            let _ = rmap_walk(&folio.lock(), &mut walked);
            assert_eq!(walked, entries, "{folio:?}");
        }
    }
    let chains = chains(spaces);
    for info in &chains {
        let same = || chains.iter().filter(|other| other.anon == info.anon);
        assert_eq!(info.links, same().count(), "links of {info:?}");
        assert_eq!(
            info.active,
            same().filter(|other| other.own).count(),
            "mappings that make pages for {info:?}"
        );
        let children: BTreeSet<_> =
            chains.iter().filter(|other| other.parent == info.anon).map(|other| other.anon).collect();
        // The root counts itself.
        assert_eq!(info.children, children.len() + usize::from(info.parent == 0), "children of {info:?}");
    }
}

/// How many groups there are, and the most that one mapping is in.
fn groups(spaces: &[&Space]) -> (usize, usize) {
    let all: BTreeSet<_> = chains(spaces).iter().map(|info| info.anon).collect();
    let longest = spaces.iter().flat_map(|space| {
        let layout = space.layout.read();
        let count = |vma: &crate::vma::Vma| {
            let mut count = 0;
            vma.anon.validate(&space.core, vma.place(), &mut |_| count += 1);
            count
        };
        layout.vmas.iter().map(count).collect::<Vec<_>>()
    });
    (all.len(), longest.max().unwrap_or(0))
}

const A: u64 = (2 << 20) - 4 * PAGE;

fn used(pages: u64) -> KArc<Space> {
    let space = new_space();
    map(&space, A, pages, RW, PRIVATE | FIXED).unwrap();
    (0..pages).for_each(|page| store(&space, at(A + page * PAGE), page as u8).unwrap());
    space
}

#[test]
fn walks_find_the_pages_of_a_family() {
    let _machine = Machine::new();
    let parent = used(8);
    let child = parent.fork().unwrap();
    let grandchild = child.fork().unwrap();
    compare(&[&parent, &child, &grandchild]);
    // Copies, and pages of each one's own.
    store(&child, at(A), 50).unwrap();
    store(&grandchild, at(A + PAGE), 51).unwrap();
    store(&parent, at(A + 2 * PAGE), 52).unwrap();
    compare(&[&parent, &child, &grandchild]);
    // Splits, a hole, a move, and what is merged again.
    parent.mprotect(at(A + 2 * PAGE), 2 * PAGE, abi::PROT_READ).unwrap();
    child.munmap(at(A + 3 * PAGE), PAGE).unwrap();
    let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
    grandchild.mremap(at(A + 4 * PAGE), 3 * PAGE, 5 * PAGE, flags, at(1 << 40)).unwrap();
    compare(&[&parent, &child, &grandchild]);
    parent.mprotect(at(A + 2 * PAGE), 2 * PAGE, RW).unwrap();
    assert_eq!(maps(&parent).len(), 1);
    let moved = grandchild.mremap(at(1 << 40), 3 * PAGE, 3 * PAGE, flags, at(A + 4 * PAGE));
    assert_eq!(moved, Ok(at(A + 4 * PAGE)));
    compare(&[&parent, &child, &grandchild]);
    drop(parent);
    compare(&[&child, &grandchild]);
    store(&child, at(A + 5 * PAGE), 53).unwrap();
    drop(child);
    store(&grandchild, at(A + 5 * PAGE), 54).unwrap();
    compare(&[&grandchild]);
}

#[test]
fn walks_find_the_pages_of_files() {
    let _machine = Machine::new();
    let (mapping, file) = new_file(&[7; 8 * PAGE_SIZE], true);
    let space = new_space();
    for (n, flags) in [abi::MAP_SHARED, abi::MAP_PRIVATE, abi::MAP_SHARED].into_iter().enumerate() {
        map_file(&space, &file, A + n as u64 * 16 * PAGE, 6, RW, flags | FIXED, n as u64 * PAGE).unwrap();
    }
    map(&space, A + 64 * PAGE, 4, RW, SHARED | FIXED).unwrap();
    for page in 0..6 {
        for part in 0..3 {
            load(&space, at(A + (part * 16 + page) * PAGE)).unwrap();
        }
        if page < 4 {
            store(&space, at(A + (64 + page) * PAGE), 1).unwrap();
        }
    }
    store(&space, at(A + 18 * PAGE), 1).unwrap();
    let child = space.fork().unwrap();
    (0..48).for_each(|page| _ = load(&child, at(A + page * PAGE)));
    compare(&[&space, &child]);
    mapping.punch_hole(PAGE, 3 * PAGE).unwrap();
    compare(&[&space, &child]);
    mapping.set_size(4 * PAGE).unwrap();
    compare(&[&space, &child]);
    drop(space);
    compare(&[&child]);
}

#[test]
fn a_page_that_one_mapping_kept_is_its_own() {
    let _machine = Machine::new();
    let parent = used(1);
    let child = parent.fork().unwrap();
    let word = |space: &Space| {
        let AnyEntry::Pte(entry) = space.core().tables().lookup(at(A)) else { panic!() };
        pfn_to_page(entry.pfn()).folio().mapping()
    };
    assert_eq!(word(&parent), word(&child));
    let inherited = word(&child);
    drop(parent);
    store(&child, at(A), 1).unwrap();
    assert_ne!(word(&child), inherited, "nobody of the parent's family needs to be asked");
    compare(&[&child]);
}

/// Each forks the next and ends: Linux's bound on what that leaves.
#[test]
fn generations_of_children_do_not_pile_groups_up() {
    let _machine = Machine::new();
    let mut space = used(4);
    for generation in 0..40 {
        let child = space.fork().unwrap();
        store(&child, at(A + generation % 4 * PAGE), 1).unwrap();
        compare(&[&space, &child]);
        space = child;
        let (groups, longest) = groups(&[&space]);
        assert!(groups <= 3 && longest <= 3, "{groups} groups in generation {generation}");
    }
    // Brothers do not pile up either.
    for _ in 0..40 {
        drop(space.fork().unwrap());
    }
    assert!(groups(&[&space]).0 <= 3);
    // As many as there are mappings, twice, however they are related.
    let mut family = std::vec![space];
    for n in 0..24 {
        family.push(family[n * 7 % family.len()].fork().unwrap());
        if n % 5 == 4 {
            family.swap_remove(n % family.len());
        }
    }
    let all: Vec<&Space> = family.iter().map(|space| &**space).collect();
    compare(&all);
    assert!(groups(&all).0 <= 2 * all.len());
}

#[test]
fn a_neighbour_without_pages_shares_the_chain_of_what_it_joins() {
    let _machine = Machine::new();
    let space = new_space();
    map(&space, A, 2, RW, PRIVATE | FIXED).unwrap();
    map(&space, A + 4 * PAGE, 2, RW, PRIVATE | FIXED).unwrap();
    store(&space, at(A + 4 * PAGE), 1).unwrap();
    map(&space, A + 2 * PAGE, 2, RW, PRIVATE | FIXED).unwrap();
    assert_eq!(maps(&space).len(), 1);
    store(&space, at(A), 2).unwrap();
    compare(&[&space]);
    assert_eq!(groups(&[&space]), (1, 1));
}

#[test]
fn a_stack_that_grew_is_found() {
    let _machine = Machine::new();
    let space = new_space();
    let top = space.setup_stack(PAGE, crate::space::StackRights::Data).unwrap();
    store(&space, top - PAGE, 1).unwrap();
    store(&space, top - 60 * PAGE, 2).unwrap();
    let child = space.fork().unwrap();
    compare(&[&space, &child]);
}

/// A page that is moved to and fro is at one of two addresses for whoever walks: never at none.
#[test]
fn a_page_on_its_way_is_found() {
    let machine = HostMachine::new(8 << 20, 2);
    let space = used(1);
    let AnyEntry::Pte(entry) = space.core().tables().lookup(at(A)) else { panic!() };
    let folio = FolioRef::of(pfn_to_page(entry.pfn()).folio());
    let moving = core::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (machine, space, moving) = (&machine, &space, &moving);
        scope.spawn(move || {
            machine.enter(1);
            let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
            for _ in 0..if cfg!(miri) { 3 } else { 20_000 } {
                space.mremap(at(A), PAGE, PAGE, flags, at(1 << 40)).unwrap();
                space.mremap(at(1 << 40), PAGE, PAGE, flags, at(A)).unwrap();
            }
            moving.store(false, core::sync::atomic::Ordering::Release);
        });
        while moving.load(core::sync::atomic::Ordering::Acquire) {
            let mut walked = Entries::new();
            let _ = rmap_walk(&folio.lock(), &mut walked);
            assert_eq!(walked.len(), 1);
        }
    });
}

/// Walks while others fork, write, move and end.
#[test]
fn walks_and_changes_go_at_once() {
    let machine = HostMachine::new(32 << 20, 3);
    zero_folio().unwrap();
    let rounds = if cfg!(miri) { 3 } else { 300 };
    let space = used(8);
    std::thread::scope(|scope| {
        let (machine, space) = (&machine, &space);
        scope.spawn(move || {
            machine.enter(1);
            for round in 0..rounds {
                let child = space.fork().unwrap();
                store(&child, at(A + round % 8 * PAGE), 1).unwrap();
                let grandchild = child.fork().unwrap();
                drop(child);
                store(&grandchild, at(A + (round + 1) % 8 * PAGE), 1).unwrap();
            }
        });
        scope.spawn(move || {
            machine.enter(2);
            let flags = abi::MREMAP_MAYMOVE | abi::MREMAP_FIXED;
            for round in 0..rounds {
                let page = at(A + round % 8 * PAGE);
                store(space, page, 2).unwrap();
                space.mremap(page, PAGE, PAGE, flags, at(1 << 40)).unwrap();
                space.mremap(at(1 << 40), PAGE, PAGE, flags, page).unwrap();
            }
        });
        for round in 0..rounds * 4 {
            let addr = at(A + round % 8 * PAGE);
            let folio = {
                let Some(guard) = space.core().tables().find_pte(addr) else { continue };
                let Kind::Leaf(pfn) = guard.get().kind() else { continue };
                FolioRef::of(pfn_to_page(pfn).folio())
            };
            let mut walked = Entries::new();
            let _ = rmap_walk(&folio.lock(), &mut walked);
        }
    });
    compare(&[space.as_ref()]);
    space.validate();
}
