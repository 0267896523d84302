//! Nodes of the host's memory. Those that are retired are poisoned as soon as every reader who was there has left, and
//! freed at the end.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::super::{Node, Nodes};
use crate::error::AllocError;
use crate::gfp::Gfp;

#[derive(Debug)]
pub(super) struct State<const N: usize> {
    /// Odd while the reader is in.
    readers: Vec<AtomicU64>,
    retired: Mutex<Retired<N>>,
    /// Nodes that were allocated and neither freed nor retired.
    pub(super) live: AtomicUsize,
    pub(super) poisoned: AtomicUsize,
}

#[derive(Default, Debug)]
struct Retired<const N: usize> {
    /// With what each reader's number was.
    waiting: Vec<(NonNull<Node<N>>, Vec<u64>)>,
    poisoned: Vec<NonNull<Node<N>>>,
}

// SAFETY: nodes are atomics, which whoever has the list may free.
unsafe impl<const N: usize> Send for Retired<N> {}

#[derive(Clone, Debug)]
pub(super) struct Poisoning<const N: usize>(pub(super) Arc<State<N>>);

pub(super) struct Inside<const N: usize>(Arc<State<N>>, usize);

impl<const N: usize> Poisoning<N> {
    pub(super) fn new(readers: usize) -> Self {
        let readers = (0..readers).map(|_| AtomicU64::new(0)).collect();
        let (live, poisoned) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(State { readers, retired: Mutex::default(), live, poisoned }))
    }

    /// Reader `index`, which is one thread, goes in.
    pub(super) fn enter(&self, index: usize) -> Inside<N> {
        self.0.readers[index].fetch_add(1, SeqCst);
        Inside(self.0.clone(), index)
    }
}

impl<const N: usize> Drop for Inside<N> {
    fn drop(&mut self) {
        self.0.readers[self.1].fetch_add(1, SeqCst);
    }
}

impl<const N: usize> Drop for State<N> {
    fn drop(&mut self) {
        let retired = self.retired.get_mut().unwrap();
        let waiting = retired.waiting.drain(..).map(|(node, _)| node);
        for node in waiting.chain(retired.poisoned.drain(..)) {
            // SAFETY: from `alloc`, and nobody is left.
            drop(unsafe { Box::from_raw(node.as_ptr()) });
        }
    }
}

impl<const N: usize> Nodes<N> for Poisoning<N> {
    type Guard = Inside<N>;

    fn alloc(&self, _: Gfp) -> Result<NonNull<Node<N>>, AllocError> {
        self.0.live.fetch_add(1, SeqCst);
        Ok(NonNull::from(Box::leak(Box::default())))
    }

    unsafe fn free(&self, node: NonNull<Node<N>>) {
        self.0.live.fetch_sub(1, SeqCst);
        // SAFETY: from `alloc`, and the caller gives it away.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }

    unsafe fn retire(&self, node: NonNull<Node<N>>) {
        self.0.live.fetch_sub(1, SeqCst);
        let numbers = || self.0.readers.iter().map(|reader| reader.load(SeqCst));
        let mut retired = self.0.retired.lock().unwrap();
        retired.waiting.push((node, numbers().collect()));
        let Retired { waiting, poisoned } = &mut *retired;
        waiting.retain(|(node, seen)| {
            let may_read = numbers().zip(seen).any(|(now, &seen)| seen % 2 == 1 && now == seen);
            if !may_read {
                // SAFETY: from `alloc`, and freed at the end only.
                unsafe { node.as_ref() }.poison();
                poisoned.push(*node);
                self.0.poisoned.fetch_add(1, SeqCst);
            }
            may_read
        });
    }
}
