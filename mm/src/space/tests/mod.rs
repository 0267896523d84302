//! Address spaces on the host: a machine with an MMU of a few lines that walks the real tables.

mod basic;
mod family;
mod locked;
mod model;
mod rmap;
mod shortage;
mod store;
mod truncate;
mod vma_locks;

use std::fmt;
use std::vec::Vec;

use linux_raw_sys::general as abi;

use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::fault::{Access, Outcome, handle_mm_fault};
use crate::filemap::Mapping;
use crate::gfp::Gfp;
use crate::host::HostMachine;
use crate::karc_dyn;
use crate::page_alloc::{free_pages_count, zero_folio};
use crate::paging::{AnyEntry, Bits, Kind};
use crate::slab::KArc;
use crate::space::{Limits, MapRequest, MmError, Randomize, Space, SpaceConfig};
use crate::vma::{FileMemory, VmFile};

pub(super) const PAGE: u64 = PAGE_SIZE as u64;
pub(super) const RW: u32 = abi::PROT_READ | abi::PROT_WRITE;
pub(super) const PRIVATE: u32 = abi::MAP_PRIVATE | abi::MAP_ANONYMOUS;
pub(super) const SHARED: u32 = abi::MAP_SHARED | abi::MAP_ANONYMOUS;
pub(super) const FIXED: u32 = abi::MAP_FIXED;
pub(super) const TASK_SIZE: VirtAddr = VirtAddr::new((1 << 47) - PAGE);

/// A machine, whose drop checks that nothing is left of what was made on it.
pub(super) struct Machine {
    machine: HostMachine,
    free: u64,
    committed: u64,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self::with_harts(1)
    }

    pub(super) fn with_harts(harts: usize) -> Self {
        let machine = HostMachine::new(if cfg!(miri) { 2 << 20 } else { 32 << 20 }, harts);
        // What the machine keeps for good: the page of zeroes, and the caches of what mappings are found by.
        zero_folio().unwrap();
        let space = new_space();
        for flags in [PRIVATE, SHARED] {
            let addr = map(&space, 0, 1, RW, flags).unwrap();
            store(&space, addr, 1).unwrap();
        }
        drop(space);
        Self { machine, free: free_now(), committed: super::committed_pages() }
    }
}

impl core::ops::Deref for Machine {
    type Target = HostMachine;

    fn deref(&self) -> &HostMachine {
        &self.machine
    }
}

/// Free pages, with all that is kept for later given back.
pub(super) fn free_now() -> u64 {
    crate::rcu::barrier();
    crate::slab::drain_all();
    free_pages_count()
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(super::committed_pages(), self.committed, "promises left");
        crate::rcu::barrier();
        for hart in 1..self.machine.harts() {
            self.machine.enter(hart);
            crate::slab::drain_all();
        }
        self.machine.enter(0);
        assert_eq!(free_now(), self.free, "pages left");
        for item in [
            crate::stat::Item::AnonMapped,
            crate::stat::Item::FileMapped,
            crate::stat::Item::FilePages,
            crate::stat::Item::Shmem,
            crate::stat::Item::PageTable,
        ] {
            assert_eq!(crate::stat::read(item), 0, "{}", item.name());
        }
        for list in crate::lru::LruList::ALL {
            assert_eq!(crate::stat::read(list.item()), 0, "{list:?}");
        }
        assert_eq!(crate::lru::validate(), Ok(()));
        assert_eq!(crate::page::validate(), Ok(()));
    }
}

pub(super) fn config() -> SpaceConfig {
    SpaceConfig {
        task_size: TASK_SIZE,
        randomize: Randomize::Nothing,
        legacy_layout: false,
        limits: Limits::default(),
    }
}

pub(super) fn new_space() -> KArc<Space> {
    Space::new(&config()).unwrap()
}

pub(super) const fn at(addr: u64) -> VirtAddr {
    VirtAddr::new(addr)
}

/// Maps `pages` of anonymous memory.
pub(super) fn map(space: &Space, addr: u64, pages: u64, prot: u32, flags: u32) -> Result<VirtAddr, MmError> {
    space.mmap(MapRequest { addr: at(addr), len: pages * PAGE, prot, flags, file: None, offset: 0 })
}

/// Maps `pages` of a file.
pub(super) fn map_file(
    space: &Space,
    file: &KArc<dyn VmFile>,
    addr: u64,
    pages: u64,
    prot: u32,
    flags: u32,
    offset: u64,
) -> Result<VirtAddr, MmError> {
    let file = Some(file.clone());
    space.mmap(MapRequest { addr: at(addr), len: pages * PAGE, prot, flags, file, offset })
}

/// An open file on a cache.
pub(super) struct TestFile {
    pub(super) mapping: KArc<Mapping>,
    writable: bool,
}

/// A file in memory, open for reading and perhaps writing.
pub(super) fn new_file(contents: &[u8], writable: bool) -> (KArc<Mapping>, KArc<dyn VmFile>) {
    let mapping = Mapping::new_memory(0, None).unwrap();
    mapping.write(0, contents).unwrap();
    let file = TestFile { mapping: mapping.clone(), writable };
    (mapping, karc_dyn!(KArc::new(file, Gfp::KERNEL).unwrap() => dyn VmFile))
}

impl VmFile for TestFile {
    fn memory(&self) -> FileMemory<'_> {
        FileMemory::Cache(&self.mapping)
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn may_see_residency(&self) -> bool {
        self.writable
    }

    fn punch_hole(&self, start: u64, end: u64) -> Result<(), MmError> {
        Ok(self.mapping.punch_hole(start, end)?)
    }

    fn dev(&self) -> (u32, u32) {
        (0, 2)
    }

    fn ino(&self) -> u64 {
        7
    }

    fn path(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("/file")
    }
}

/// What the hardware does with one access; `Err` is the signal that Linux would send.
fn touch(space: &Space, addr: VirtAddr, access: Access) -> Result<*mut u8, Outcome> {
    for _ in 0..10 {
        let wanted = match access {
            Access::Read => Bits::V | Bits::U | Bits::R | Bits::A,
            Access::Write => Bits::V | Bits::U | Bits::W | Bits::A | Bits::D,
            Access::Execute => Bits::V | Bits::U | Bits::X | Bits::A,
        };
        if let AnyEntry::Pte(entry) = space.core().tables().lookup(addr)
            && let Kind::Leaf(pfn) = entry.kind()
            && entry.has(wanted)
        {
            return Ok(pfn.as_ptr().wrapping_add(addr.page_offset()));
        }
        match handle_mm_fault(space, addr, access) {
            Outcome::Done | Outcome::Major | Outcome::Retry => {}
            signal => return Err(signal),
        }
    }
    panic!("{access:?} at {addr:?} faults for ever");
}

/// A load.
pub(super) fn load(space: &Space, addr: VirtAddr) -> Result<u8, Outcome> {
    // SAFETY: a page of the machine's RAM.
    touch(space, addr, Access::Read).map(|byte| unsafe { byte.read() })
}

/// A store.
pub(super) fn store(space: &Space, addr: VirtAddr, value: u8) -> Result<(), Outcome> {
    // SAFETY: as above; it is writable, so not the page of zeroes.
    touch(space, addr, Access::Write).map(|byte| unsafe { byte.write(value) })
}

/// A fetch.
pub(super) fn fetch(space: &Space, addr: VirtAddr) -> Result<(), Outcome> {
    touch(space, addr, Access::Execute).map(|_| ())
}

pub(super) fn maperr(addr: VirtAddr) -> Outcome {
    Outcome::Sigsegv { code: 1, addr }
}

pub(super) fn accerr(addr: VirtAddr) -> Outcome {
    Outcome::Sigsegv { code: 2, addr }
}

pub(super) fn sigbus(addr: VirtAddr) -> Outcome {
    Outcome::Sigbus { code: 2, addr }
}

/// The mappings, as (start, pages, rights as in /proc/PID/maps).
pub(super) fn maps(space: &Space) -> Vec<(u64, u64, std::string::String)> {
    use crate::vma::VmFlags;
    let mut all = Vec::new();
    space
        .for_each_vma(VirtAddr::ZERO, &mut |vma| {
            let flag = |flag, yes, no| if vma.flags.contains(flag) { yes } else { no };
            let rights = [
                flag(VmFlags::READ, 'r', '-'),
                flag(VmFlags::WRITE, 'w', '-'),
                flag(VmFlags::EXEC, 'x', '-'),
                flag(VmFlags::MAYSHARE, 's', 'p'),
            ];
            all.push((vma.range.start.get(), vma.range.pages(), rights.iter().collect()));
            core::ops::ControlFlow::Continue(())
        })
        .unwrap();
    all
}
