//! Bytes that nobody can guess: ChaCha20 in fast-key-erasure form, seeded by the firmware and by time
//! (Linux: `drivers/char/random.c`; the cipher is RFC 8439's).

use rux_mm::sync::{IrqSpinLock, Rank};

use crate::time;

/// Key, and how many times it was replaced.
struct Pool {
    key: [u32; 8],
    generation: u64,
}

static POOL: IrqSpinLock<Pool> = IrqSpinLock::new(Rank::Device, Pool { key: [0; 8], generation: 0 });

const CONSTANT: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

fn quarter(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

/// Block `counter` of the stream of `key` and `nonce`.
fn block(key: &[u32; 8], counter: u64, nonce: u64) -> [u32; 16] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&CONSTANT);
    start[4..12].copy_from_slice(key);
    start[12..].copy_from_slice(&[
        counter as u32,
        (counter >> 32) as u32,
        nonce as u32,
        (nonce >> 32) as u32,
    ]);
    let mut state = start;
    for _ in 0..10 {
        for column in 0..4 {
            quarter(&mut state, [column, column + 4, column + 8, column + 12]);
        }
        for diagonal in 0..4 {
            let at = |row: usize| row * 4 + (diagonal + row) % 4;
            quarter(&mut state, [at(0), at(1), at(2), at(3)]);
        }
    }
    for (word, start) in state.iter_mut().zip(start) {
        *word = word.wrapping_add(start);
    }
    state
}

impl Pool {
    /// Replaces the key, with `extra` mixed in; returns a key for one caller.
    fn next(&mut self, extra: u64) -> [u32; 8] {
        let out = block(&self.key, self.generation, extra);
        self.generation += 1;
        let (own, theirs) = out.split_at(8);
        self.key.copy_from_slice(own);
        let mut key = [0; 8];
        key.copy_from_slice(theirs);
        key
    }
}

/// Mixes in what may be hard to guess: the firmware's seed, the times of interrupts, what a program writes to
/// /dev/urandom.
pub fn add(bytes: &[u8]) {
    let mut pool = POOL.lock();
    for chunk in bytes.chunks(32) {
        for (at, &byte) in chunk.iter().enumerate() {
            pool.key[at / 4] ^= u32::from(byte) << (8 * (at % 4));
        }
        let _ = pool.next(time::ticks());
    }
}

/// Fills `buffer`. Any context.
pub fn fill(buffer: &mut [u8]) {
    let key = POOL.lock().next(time::ticks());
    for (counter, chunk) in buffer.chunks_mut(64).enumerate() {
        let words = block(&key, counter as u64, 0);
        for (byte, word) in chunk.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes())) {
            *byte = word;
        }
    }
}
