#![no_std]
#![no_main]
// A binary has no reachable `pub`: here it marks what a room offers to the others.
#![allow(unreachable_pub, dead_code)]

mod errno;
mod syscall;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
