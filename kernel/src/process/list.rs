//! Lists through their elements (Linux: `struct list_head`), each element held by the list.
//!
//! Joining allocates nothing, so it cannot fail half-way through a fork. What kind of list it is says a
//! tag; an element is on at most one list of each kind.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr;

use rux_mm::slab::KArc;

/// An element's place on one kind of list.
pub struct Link<T> {
    next: Cell<*const T>,
    prev: Cell<*const T>,
    /// The list, while on one: a list does not move while it has elements.
    list: Cell<*const ()>,
}

impl<T> Link<T> {
    /// On no list.
    pub const fn new() -> Self {
        Self { next: Cell::new(ptr::null()), prev: Cell::new(ptr::null()), list: Cell::new(ptr::null()) }
    }
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// An element of the lists of kind `Tag`.
///
/// # Safety
/// `link` always returns the same link, which nothing but [`List`] touches; and all lists of kind `Tag`
/// that one element can ever be on are guarded by the same lock.
pub unsafe trait Linked<Tag>: Sized {
    /// The element's link.
    fn link(&self) -> &Link<Self>;
}

/// A list that holds a reference to each of its elements.
pub struct List<T: Linked<Tag>, Tag> {
    head: *const T,
    tail: *const T,
    len: usize,
    tag: PhantomData<(KArc<T>, Tag)>,
}

// SAFETY: the pointers are references that the list owns; `Linked` says that one lock guards them.
unsafe impl<T: Linked<Tag> + Send + Sync, Tag> Send for List<T, Tag> {}
// SAFETY: a shared list is only read.
unsafe impl<T: Linked<Tag> + Send + Sync, Tag> Sync for List<T, Tag> {}

impl<T: Linked<Tag>, Tag> List<T, Tag> {
    /// Without elements.
    pub const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null(), len: 0, tag: PhantomData }
    }

    /// How many elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `item` last. An item that is on a list of this kind already is given back.
    pub fn push_back(&mut self, item: KArc<T>) -> Result<(), KArc<T>> {
        let link = item.link();
        if !link.list.get().is_null() {
            return Err(item);
        }
        link.list.set(ptr::from_ref(self).cast());
        link.prev.set(self.tail);
        link.next.set(ptr::null());
        let raw = KArc::into_raw(item);
        // SAFETY: `tail` is an element that the list holds.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.link().next.set(raw),
            None => self.head = raw,
        }
        self.tail = raw;
        self.len += 1;
        Ok(())
    }

    /// Takes `item` off; `None` when it is not on this list.
    pub fn remove(&mut self, item: &T) -> Option<KArc<T>> {
        let link = item.link();
        if link.list.get() != ptr::from_ref(self).cast() {
            return None;
        }
        let (prev, next) = (link.prev.get(), link.next.get());
        // SAFETY: the neighbours of an element are elements, or null.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.link().next.set(next),
            None => self.head = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.link().prev.set(prev),
            None => self.tail = prev,
        }
        link.list.set(ptr::null());
        self.len -= 1;
        // SAFETY: `push_back` made a raw pointer of the reference that the list held to this element.
        Some(unsafe { KArc::from_raw(item) })
    }

    /// Takes the first element off.
    pub fn pop_front(&mut self) -> Option<KArc<T>> {
        // SAFETY: `head` is an element that the list holds.
        let head = unsafe { self.head.as_ref() }?;
        self.remove(head)
    }

    /// The first element.
    pub fn first(&self) -> Option<&T> {
        // SAFETY: `head` is an element that the list holds, as long as `self` is borrowed.
        unsafe { self.head.as_ref() }
    }

    /// The elements from the first to the last.
    pub fn iter(&self) -> Iter<'_, T, Tag> {
        Iter { next: self.first(), tag: PhantomData }
    }

    /// Another reference to `item`, an element of this list.
    pub fn hold(&self, item: &T) -> Option<KArc<T>> {
        if item.link().list.get() != ptr::from_ref(self).cast() {
            return None;
        }
        // SAFETY: the element's raw reference stays the list's: a copy is made of it, and it is forgotten.
        let held = core::mem::ManuallyDrop::new(unsafe { KArc::<T>::from_raw(item) });
        Some(KArc::clone(&held))
    }
}

impl<T: Linked<Tag>, Tag> Default for List<T, Tag> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Linked<Tag>, Tag> Drop for List<T, Tag> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

/// See [`List::iter`].
pub struct Iter<'a, T: Linked<Tag>, Tag> {
    next: Option<&'a T>,
    tag: PhantomData<Tag>,
}

impl<'a, T: Linked<Tag>, Tag> Iterator for Iter<'a, T, Tag> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        let item = self.next?;
        // SAFETY: the list, and with it each of its elements, is borrowed for `'a`.
        self.next = unsafe { item.link().next.get().as_ref() };
        Some(item)
    }
}
