//! Files whose pages come from a slow and failing store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use super::*;
use crate::filemap::{FileError, Store};
use crate::kbox_dyn;
use crate::page::Folio;
use crate::slab::KBox;

/// What the test knows of the store.
#[derive(Default)]
struct Watch {
    reads: AtomicU32,
    broken: AtomicBool,
    /// Whether `mmap_lock` was free during the last read.
    unlocked: AtomicBool,
    space: std::sync::Mutex<Option<usize>>,
}

struct TestStore(Arc<Watch>);

impl Store for TestStore {
    fn read_folio(&self, folio: &Folio, index: u64) -> Result<(), FileError> {
        self.0.reads.fetch_add(1, SeqCst);
        if let Some(space) = *self.0.space.lock().unwrap() {
            // SAFETY: the test's own, which outlives its faults.
            let space = unsafe { &*(space as *const Space) };
            self.0.unlocked.store(!space.layout.is_locked(), SeqCst);
        }
        if self.0.broken.load(SeqCst) {
            return Err(FileError::Io);
        }
        folio.bytes_at(0, PAGE_SIZE).copy_from(&[index as u8 + 1; PAGE_SIZE]);
        Ok(())
    }
}

fn stored_file(pages: u64) -> (Arc<Watch>, KArc<Mapping>, KArc<dyn VmFile>) {
    let watch = Arc::new(Watch::default());
    let store = KBox::new(TestStore(watch.clone()), Gfp::KERNEL).unwrap();
    let mapping = Mapping::new_file(pages * PAGE, kbox_dyn!(store => dyn Store)).unwrap();
    let file = TestFile { mapping: mapping.clone(), writable: true };
    (watch, mapping, karc_dyn!(KArc::new(file, Gfp::KERNEL).unwrap() => dyn VmFile))
}

#[test]
fn a_page_is_read_once_and_without_the_lock() {
    let _machine = Machine::new();
    let (watch, mapping, file) = stored_file(4);
    let space = new_space();
    *watch.space.lock().unwrap() = Some((&raw const *space).addr());
    let addr = map_file(&space, &file, 0, 4, RW, abi::MAP_PRIVATE, 0).unwrap();
    assert_eq!(load(&space, addr + PAGE), Ok(2));
    assert!(watch.unlocked.load(SeqCst), "read with mmap_lock held");
    assert_eq!((watch.reads.load(SeqCst), space.stat().major_faults), (1, 1));
    let again = map_file(&space, &file, 0, 4, RW, abi::MAP_SHARED, 0).unwrap();
    assert_eq!(load(&space, again + PAGE), Ok(2));
    store(&space, again + PAGE, 9).unwrap();
    assert_eq!(watch.reads.load(SeqCst), 1, "it is in the cache");
    assert_eq!(load(&space, addr + PAGE), Ok(9));
    let usage = space.stat().rss;
    assert_eq!((usage.file, usage.shmem), (2, 0));
    *watch.space.lock().unwrap() = None;
    let mut bytes = [0; 3];
    assert_eq!(mapping.read(4 * PAGE - 2, &mut bytes), Ok(2));
    assert_eq!(bytes, [4, 4, 0]);
    space.validate();
}

#[test]
fn a_page_that_cannot_be_read_is_sigbus_until_it_can() {
    let _machine = Machine::new();
    let (watch, mapping, file) = stored_file(2);
    let space = new_space();
    let addr = map_file(&space, &file, 0, 2, RW, abi::MAP_PRIVATE, 0).unwrap();
    watch.broken.store(true, SeqCst);
    assert_eq!(load(&space, addr), Err(sigbus(addr)));
    assert_eq!(store(&space, addr, 1), Err(sigbus(addr)));
    assert_eq!(mapping.read(0, &mut [0; 1]), Err(FileError::Io));
    watch.broken.store(false, SeqCst);
    assert_eq!(load(&space, addr), Ok(1));
    mapping.set_size(PAGE).unwrap();
    assert_eq!(load(&space, addr + PAGE), Err(sigbus(addr + PAGE)));
    space.validate();
}
