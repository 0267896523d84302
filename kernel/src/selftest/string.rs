//! `memcpy` and `memset` at every alignment and many lengths, beside loops over bytes: `rux.selftest=string`, before
//! init. A failure is a panic.

/// The largest length, and what is kept free around it.
const MOST: usize = 300;
const AROUND: usize = 16;
const ROOM: usize = MOST + 2 * AROUND;

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
    fn memset(to: *mut u8, value: i32, bytes: usize) -> *mut u8;
}

#[repr(align(8))]
struct Bytes([u8; ROOM]);

/// A byte for each place, such that neighbours and words differ.
fn pattern(at: usize) -> u8 {
    (at * 37 + at / 8 + 1) as u8
}

pub(crate) fn run() {
    let source = Bytes(core::array::from_fn(pattern));
    let mut target = Bytes([0; ROOM]);
    for bytes in (0..=MOST).filter(|bytes| *bytes < 160 || bytes % 7 == 0) {
        for (from, to) in (0..64).map(|both| (both / 8, both % 8)) {
            target.0.fill(0xa5);
            let start = AROUND + to;
            let (to_ptr, from_ptr) = (target.0[start..].as_mut_ptr(), source.0[from..].as_ptr());
            // SAFETY: both arrays have room for the length at these offsets.
            let returned = unsafe { memcpy(to_ptr, from_ptr, bytes) };
            assert_eq!(returned, to_ptr);
            for (at, &byte) in target.0.iter().enumerate() {
                let inside = (start..start + bytes).contains(&at);
                let wanted = if inside { pattern(from + at - start) } else { 0xa5 };
                assert_eq!(byte, wanted, "memcpy of {bytes} bytes from {from} to {to}, at {at}");
            }
        }
        for to in 0..8 {
            target.0.fill(0xa5);
            let start = AROUND + to;
            let to_ptr = target.0[start..].as_mut_ptr();
            // SAFETY: as above.
            let returned = unsafe { memset(to_ptr, 0x1234_5681, bytes) };
            assert_eq!(returned, to_ptr);
            for (at, &byte) in target.0.iter().enumerate() {
                let wanted = if (start..start + bytes).contains(&at) { 0x81 } else { 0xa5 };
                assert_eq!(byte, wanted, "memset of {bytes} bytes at {to}, at {at}");
            }
        }
    }
    log::info!("selftest: memory is copied and set at any alignment");
}
