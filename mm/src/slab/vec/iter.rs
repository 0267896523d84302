//! The values of a [`KVec`] one after the other: lent, all of them for good, or those of a range.

use core::mem;
use core::ops::Range;

use super::KVec;

impl<T> KVec<T> {
    /// Takes the values of `range` out. Those behind them move up when the iterator is dropped.
    ///
    /// # Panics
    /// When the range is not within the array.
    pub fn drain(&mut self, range: Range<usize>) -> Drain<'_, T> {
        let Range { start, end } = range;
        assert!(start <= end && end <= self.len, "drain {start}..{end} of {}", self.len);
        let tail = self.len - end;
        self.len = start;
        Drain { vec: self, next: start, end, tail }
    }
}

impl<'a, T> IntoIterator for &'a KVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut KVec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(mut self) -> IntoIter<T> {
        let end = mem::take(&mut self.len);
        IntoIter { vec: self, next: 0, end }
    }
}

/// The values of a [`KVec`], by value.
#[derive(Debug)]
pub struct IntoIter<T> {
    /// Owns the memory; its length is 0.
    vec: KVec<T>,
    next: usize,
    end: usize,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        // SAFETY: a value between `next` and `end`, taken once.
        Some(unsafe { self.vec.ptr.add(self.next - 1).read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    fn next_back(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        // SAFETY: a value between `next` and `end`, taken once.
        Some(unsafe { self.vec.ptr.add(self.end).read() })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// The values of a range of a [`KVec`], by value; see [`KVec::drain`].
#[derive(Debug)]
pub struct Drain<'a, T> {
    /// Its length is where the range started.
    vec: &'a mut KVec<T>,
    next: usize,
    end: usize,
    /// How many values there are behind the range.
    tail: usize,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        // SAFETY: a value of the range, taken once.
        Some(unsafe { self.vec.ptr.add(self.next - 1).read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}

impl<T> Drop for Drain<'_, T> {
    fn drop(&mut self) {
        self.for_each(drop);
        let start = self.vec.len;
        // SAFETY: the range is empty now; the values behind it move to where it started.
        unsafe { self.vec.ptr.add(start).copy_from(self.vec.ptr.add(self.end), self.tail) };
        self.vec.len = start + self.tail;
    }
}
