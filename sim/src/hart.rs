//! A hart: the thread that runs on it, and its accesses.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rux_machine::{Hot, Hw};
use rux_mm::addr::{PhysAddr, VirtAddr};

use crate::machine::Shared;
use crate::mmu::{self, Satp};

/// What for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To read.
    Load,
    /// To write.
    Store,
    /// To execute.
    Fetch,
}

/// An access that did not go through: the same exception for whatever reason, as on the hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFault {
    /// Where.
    pub addr: VirtAddr,
    /// What for.
    pub access: Access,
}

/// The hart that the running thread is. Its accesses are user mode's, through the `satp` that
/// `PageTables::switch_to` set.
#[derive(Clone, Copy, Debug)]
pub struct Hart<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) index: usize,
}

impl Hart<'_> {
    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Lets another hart run, if the schedule wants to.
    pub fn pause(&self) {
        self.shared.turn.yield_now(self.index);
    }

    /// Makes one access as a program does; `with` gets the host's pointer to the byte while no fence of this hart can
    /// come between.
    ///
    /// # Errors
    /// A page fault.
    ///
    /// # Panics
    /// The access reached a page or a table that was freed.
    fn access<T>(
        &self,
        addr: VirtAddr,
        access: Access,
        with: impl FnOnce(*mut u8) -> T,
    ) -> Result<T, PageFault> {
        self.pause();
        let fault = PageFault { addr, access };
        let satp = Satp::now().ok_or(fault)?;
        let mut tlb = self.shared.tlb(self.index);
        if tlb.rng().one_in(8) {
            // Somewhere near, or what will be accessed.
            let near = match tlb.rng().below(3) {
                0 => addr.get(),
                1 => addr.get() ^ (1 << (12 + tlb.rng().below(12))),
                _ => addr.get() ^ (1 << (21 + tlb.rng().below(10))),
            };
            mmu::speculate(self.shared, &mut tlb, satp, near);
        }
        let phys = mmu::translate(self.shared, &mut tlb, satp, addr.get(), access).ok_or(fault)?;
        let at: PhysAddr = phys;
        Ok(with(at.as_ptr()))
    }

    /// Loads eight bytes at a multiple of 8.
    ///
    /// # Errors
    /// A page fault.
    pub fn try_load(&self, addr: VirtAddr) -> Result<u64, PageFault> {
        self.access(addr, Access::Load, |at| {
            // SAFETY: in RAM, or where the test mapped; aligned.
            unsafe { &*at.cast::<AtomicU64>() }.load(Ordering::Relaxed)
        })
    }

    /// Stores eight bytes at a multiple of 8.
    ///
    /// # Errors
    /// A page fault.
    pub fn try_store(&self, addr: VirtAddr, value: u64) -> Result<(), PageFault> {
        self.access(addr, Access::Store, |at| {
            // SAFETY: as in `try_load`.
            unsafe { &*at.cast::<AtomicU64>() }.store(value, Ordering::Relaxed)
        })
    }

    /// Loads one byte.
    ///
    /// # Errors
    /// A page fault.
    pub fn try_load_byte(&self, addr: VirtAddr) -> Result<u8, PageFault> {
        self.access(addr, Access::Load, |at| {
            // SAFETY: as in `try_load`.
            unsafe { &*at.cast::<AtomicU8>() }.load(Ordering::Relaxed)
        })
    }

    /// Stores one byte.
    ///
    /// # Errors
    /// A page fault.
    pub fn try_store_byte(&self, addr: VirtAddr, value: u8) -> Result<(), PageFault> {
        self.access(addr, Access::Store, |at| {
            // SAFETY: as in `try_load`.
            unsafe { &*at.cast::<AtomicU8>() }.store(value, Ordering::Relaxed)
        })
    }

    /// Fetches the byte that an instruction starts with.
    ///
    /// # Errors
    /// A page fault.
    pub fn try_fetch(&self, addr: VirtAddr) -> Result<u8, PageFault> {
        self.access(addr, Access::Fetch, |at| {
            // SAFETY: as in `try_load`.
            unsafe { &*at.cast::<AtomicU8>() }.load(Ordering::Relaxed)
        })
    }

    /// Makes an access until it goes through; `serve` is the page-fault handler.
    ///
    /// # Errors
    /// What `serve` gave up with.
    ///
    /// # Panics
    /// The same access faults a thousand times, and the handler says each time that it is served.
    pub fn until_served<T, E>(
        &self,
        access: impl Fn(&Self) -> Result<T, PageFault>,
        mut serve: impl FnMut(PageFault) -> Result<(), E>,
    ) -> Result<T, E> {
        for _ in 0..1000 {
            match access(self) {
                Ok(value) => return Ok(value),
                Err(fault) => serve(fault)?,
            }
        }
        panic!("the same fault, a thousand times");
    }

    /// Loads eight bytes; see [`Hart::until_served`].
    ///
    /// # Errors
    /// What `serve` gave up with.
    pub fn load<E>(&self, addr: VirtAddr, serve: impl FnMut(PageFault) -> Result<(), E>) -> Result<u64, E> {
        self.until_served(|hart| hart.try_load(addr), serve)
    }

    /// Stores eight bytes; see [`Hart::until_served`].
    ///
    /// # Errors
    /// What `serve` gave up with.
    pub fn store<E>(
        &self,
        addr: VirtAddr,
        value: u64,
        serve: impl FnMut(PageFault) -> Result<(), E>,
    ) -> Result<(), E> {
        self.until_served(|hart| hart.try_store(addr, value), serve)
    }

    /// What `satp` has.
    pub fn satp(&self) -> u64 {
        Hw::satp()
    }
}
