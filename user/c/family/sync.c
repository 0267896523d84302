/* msync(2) and mincore(2). */
#include "family.h"
#include <sys/stat.h>

void mincore_rows(void) {
    ROW("mincore", "mincore", "private pages are there once they were touched") {
        unsigned char there[4] = {9, 9, 9, 9};
        char *at = memory(4);
        at[PAGE] = 1;
        (void)*(volatile char *)(at + 3 * PAGE);
        CHECK(mincore(at, 3 * PAGE + 1, there) == 0);
        CHECK(!(there[0] & 1) && there[1] & 1 && !(there[2] & 1) && there[3] & 1);
        CHECK(mincore(at, 0, NULL) == 0);
    }
    ROW("mincore", "mincore", "a file's pages are there without being touched, its holes are not") {
        int file = letters_file(3, NULL);
        CHECK(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) == 0);
        unsigned char there[3];
        char *at = shared_file(file, 3);
        CHECK(mincore(at, 3 * PAGE, there) == 0 && there[0] & 1 && !(there[1] & 1) && there[2] & 1);
        CHECK(resident(mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0), 3) == 2);
    }
    ROW("mincore", "mincore", "of a file that is not the caller's to write all is said to be there") {
        char name[32];
        int file = letters_file(1, name);
        CHECK(ftruncate(file, 3 * PAGE) == 0 && fchmod(file, 0644) == 0 && resident(shared_file(file, 3), 3) == 1);
        become_nobody();
        int again = open(name, O_RDONLY);
        char *at = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, again, 0);
        unsigned char there[3];
        CHECK(at != MAP_FAILED && mincore(at, 3 * PAGE, there) == 0 && there[0] & there[1] & there[2] & 1);
    }
    ROW("mincore", "EFAULT", "the vector is nowhere, or cannot be written") {
        char *at = letters(2), *constant = mmap(NULL, PAGE, PROT_READ, PRIVATE, -1, 0);
        CHECK_ERRNO(mincore(at, 2 * PAGE, (unsigned char *)room(1)), EFAULT);
        CHECK_ERRNO(mincore(at, 2 * PAGE, (unsigned char *)constant), EFAULT);
        CHECK_ERRNO(mincore(at, 2 * PAGE, (unsigned char *)-1l), EFAULT);
    }
    ROW("mincore", "EINVAL", "not at a page") {
        unsigned char there[2];
        CHECK_ERRNO(mincore(letters(1) + 1, PAGE, there), EINVAL);
    }
    ROW("mincore", "ENOMEM", "past the addresses of a program") {
        unsigned char there[2];
        CHECK_ERRNO(mincore(letters(1), -1ul, there), ENOMEM);
        CHECK_ERRNO(mincore((char *)-4096l, PAGE, there), ENOMEM);
    }
    ROW("mincore", "ENOMEM", "a hole") {
        unsigned char there[3];
        char *at = letters(3);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(mincore(at, 3 * PAGE, there), ENOMEM);
        CHECK_ERRNO(mincore(at + PAGE, PAGE, there), ENOMEM);
        CHECK(mincore(at + 2 * PAGE, PAGE, there) == 0);
    }
}

void msync_rows(void) {
    ROW("msync", "MS_ASYNC", "taken, and the file has what was written") {
        int file = letters_file(2, NULL);
        char byte, *at = shared_file(file, 2);
        at[PAGE] = 'A';
        CHECK(msync(at, 2 * PAGE, MS_ASYNC) == 0 && pread(file, &byte, 1, PAGE) == 1 && byte == 'A');
        CHECK(msync(letters(1), PAGE, MS_ASYNC) == 0);
    }
    ROW("msync", "MS_SYNC", "taken, and the file has what was written") {
        int file = letters_file(2, NULL);
        char byte, *at = shared_file(file, 2);
        at[0] = 'S';
        CHECK(msync(at, 1, MS_SYNC) == 0 && pread(file, &byte, 1, 0) == 1 && byte == 'S');
        CHECK(msync(letters(1), PAGE, MS_SYNC) == 0 && msync(at, PAGE, 0) == 0 && msync(room(1), 0, MS_SYNC) == 0);
    }
    ROW("msync", "MS_INVALIDATE", "other mappings of the file show what was written, which they did before") {
        int file = letters_file(1, NULL);
        char *at = shared_file(file, 1), *other = shared_file(file, 1);
        at[0] = 'I';
        CHECK(msync(at, PAGE, MS_SYNC | MS_INVALIDATE) == 0 && other[0] == 'I');
        CHECK(msync(at, PAGE, MS_INVALIDATE) == 0 && msync(at, PAGE, MS_ASYNC | MS_INVALIDATE) == 0);
    }
    ROW("msync", "EBUSY", "MS_INVALIDATE of locked pages") {
        char *at = letters(2);
        CHECK(mlock(at + PAGE, PAGE) == 0 && msync(at, PAGE, MS_INVALIDATE) == 0);
        CHECK_ERRNO(msync(at, 2 * PAGE, MS_INVALIDATE), EBUSY);
        CHECK(msync(at, 2 * PAGE, MS_SYNC) == 0);
    }
    ROW("msync", "EINVAL", "not at a page") {
        CHECK_ERRNO(msync(letters(1) + 1, PAGE, MS_SYNC), EINVAL);
        CHECK_ERRNO(msync((char *)1, 0, MS_SYNC), EINVAL);
    }
    ROW("msync", "EINVAL", "flags that are none") {
        CHECK_ERRNO(msync(letters(1), PAGE, 8), EINVAL);
        CHECK_ERRNO(msync(room(1), PAGE, MS_SYNC | 0x100), EINVAL);
    }
    ROW("msync", "EINVAL", "MS_SYNC and MS_ASYNC") {
        CHECK_ERRNO(msync(letters(1), PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    }
    ROW("msync", "ENOMEM", "a hole") {
        char *at = letters(3);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(msync(at, 3 * PAGE, MS_SYNC), ENOMEM);
        CHECK_ERRNO(msync(at, 3 * PAGE, MS_ASYNC), ENOMEM);
        CHECK_ERRNO(msync(at + PAGE, PAGE, 0), ENOMEM);
        /* What is past the hole is looked at, but for MS_ASYNC alone. */
        CHECK(mlock(at + 2 * PAGE, PAGE) == 0);
        CHECK_ERRNO(msync(at, 3 * PAGE, MS_SYNC | MS_INVALIDATE), EBUSY);
    }
    ROW("msync", "ENOMEM", "past the addresses of a program, or a range that wraps") {
        CHECK_ERRNO(msync((char *)-4096l, PAGE, MS_SYNC), ENOMEM);
        CHECK_ERRNO(msync(letters(1), -PAGE, MS_SYNC), ENOMEM);
        CHECK_ERRNO(msync(letters(1), 1ul << 62, MS_SYNC), ENOMEM);
    }
}
