//! The virtio console that carries the log, if the machine has one (Virtual I/O Device 1.3, section 5.3).
//!
//! Only its transmit queue is used, and each piece of text is waited for. The queue and the transport are the
//! crate `virtio-drivers`'.

use core::ptr::NonNull;

use rux_mm::addr::{Order, PAGE_SIZE, PhysAddr};
use rux_mm::gfp::Gfp;
use rux_mm::page_alloc::{PageBlock, alloc_pages};
use rux_mm::sync::{IrqSpinLock, Rank};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal};

use crate::boot::{self, Registers};
use crate::dt::Platform;
use crate::klog;

/// Port 0's transmit queue.
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: usize = 2;
/// VIRTIO_F_VERSION_1; nothing else is wanted of the device.
const VERSION_1: u64 = 1 << 32;

/// How the crate gets memory that a device reads: all of it is where the device finds it.
struct Memory;

// SAFETY: the addresses given out are those of pages or objects that the kernel has, and devices see
// physical memory as it is.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (u64, NonNull<u8>) {
        let block = Order::of_bytes(pages * PAGE_SIZE)
            .and_then(|order| alloc_pages(Gfp::KERNEL | Gfp::ZERO, order).ok());
        // Physical address 0 says that there is none.
        let Some(block) = block else { return (0, NonNull::dangling()) };
        let phys = block.into_raw().phys();
        // SAFETY: an address of the direct map is not null.
        (phys.get(), unsafe { NonNull::new_unchecked(phys.as_ptr()) })
    }

    unsafe fn dma_dealloc(phys: u64, _: NonNull<u8>, pages: usize) -> i32 {
        if let Some(order) = Order::of_bytes(pages * PAGE_SIZE) {
            // SAFETY: the block is that of `dma_alloc`, and the caller gives it back.
            drop(unsafe { PageBlock::from_raw(PhysAddr::new(phys).pfn(), order) });
        }
        0
    }

    unsafe fn mmio_phys_to_virt(phys: u64, _: usize) -> NonNull<u8> {
        // The transport over MMIO never asks.
        unreachable!("registers at {phys:#x} are mapped by `Registers`")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> u64 {
        boot::phys_of(buffer.cast::<u8>().as_ptr()).get()
    }

    unsafe fn unshare(_: u64, _: NonNull<[u8]>, _: BufferDirection) {}
}

struct Console {
    transport: MmioTransport<'static>,
    transmit: VirtQueue<Memory, QUEUE_SIZE>,
}

static CONSOLE: IrqSpinLock<Option<Console>> = IrqSpinLock::new(Rank::Console, None);

/// Finds the console and has the log copied to it.
pub(crate) fn init(platform: &Platform) {
    for device in &platform.virtio {
        let Ok(regs) = Registers::map(device.regs) else { return };
        let Some(header) = NonNull::new(regs.base().get() as *mut _) else { continue };
        // SAFETY: the registers are a virtio device's, mapped for good, and nobody else uses them.
        let Ok(mut transport) = (unsafe { MmioTransport::new(header, regs.bytes()) }) else { continue };
        if transport.device_type() != DeviceType::Console {
            continue;
        }
        transport.begin_init::<Features>(Features::from_bits_retain(VERSION_1));
        match VirtQueue::new(&mut transport, TRANSMIT, false, false) {
            Ok(transmit) => {
                transport.finish_init();
                *CONSOLE.lock() = Some(Console { transport, transmit });
                return klog::set_copy(write);
            }
            Err(error) => return log::warn!("the log's console is not to be had: {error}"),
        }
    }
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const VERSION_1 = VERSION_1;
    }
}

/// Writes bytes as they are. Any context; logs nothing. After a panic, whose hart may have held the lock, only if it
/// is free.
fn write(bytes: &[u8]) {
    let console = if klog::is_broken() { CONSOLE.try_lock() } else { Some(CONSOLE.lock()) };
    let Some(mut console) = console else { return };
    let Some(Console { transport, transmit }) = console.as_mut() else { return };
    // A device that fails loses the text: the ring has it.
    let _ = transmit.add_notify_wait_pop(&[bytes], &mut [], transport);
}

const _: () = assert!(PAGE_SIZE == virtio_drivers::PAGE_SIZE);
