/* remap_file_pages(2), and the calls of the family that are not there. */
#include "family.h"

void other_rows(void) {
    ROW("remap_file_pages", "remap_file_pages", "other pages of the file, in any order, populated") {
        int file = letters_file(4, NULL);
        char *at = shared_file(file, 4);
        CHECK(remap_file_pages(at, PAGE, 0, 3, 0) == 0);
        CHECK(remap_file_pages(at + 3 * PAGE + 9, PAGE, 0, 0, 0) == 0);
        CHECK(at[0] == 'd' && at[PAGE] == 'b' && at[3 * PAGE] == 'a' && mappings(at, 4) == 3);
        at[0] = 'D';
        char byte;
        CHECK(pread(file, &byte, 1, 3 * PAGE) == 1 && byte == 'D' && !strcmp(rights(at), "rw-s"));
        CHECK(remap_file_pages(at, 2 * PAGE, 0, 2, 0) == 0 && at[0] == 'c' && at[PAGE] == 'D');
    }
    ROW("remap_file_pages", "MAP_NONBLOCK", "without it the pages are there to be touched without a fault, with it they are not") {
        int file = letters_file(1, NULL);
        CHECK(ftruncate(file, 128 * PAGE) == 0);
        char *at = shared_file(file, 128);
        CHECK(remap_file_pages(at, 64 * PAGE, 0, 64, 0) == 0 && faults_of(at, 64, false) < 32);
        char *upper = at + 64 * PAGE;
        CHECK(remap_file_pages(upper, 64 * PAGE, 0, 0, MAP_NONBLOCK) == 0 && faults_of(upper, 64, false) >= 64);
    }
    ROW("remap_file_pages", "EINVAL", "no shared mapping, or a hole") {
        int file = letters_file(4, NULL);
        char *private = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0), *at = shared_file(file, 4);
        CHECK_ERRNO(remap_file_pages(private, PAGE, 0, 1, 0), EINVAL);
        CHECK_ERRNO(remap_file_pages(letters(1), PAGE, 0, 0, 0), EINVAL);
        CHECK_ERRNO(remap_file_pages(room(1), PAGE, 0, 0, 0), EINVAL);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(remap_file_pages(at, 3 * PAGE, 0, 1, 0), EINVAL);
        CHECK(at[0] == 'a' && at[2 * PAGE] == 'c');
    }
    ROW("remap_file_pages", "EINVAL", "size 0, or below a page") {
        char *at = shared_file(letters_file(2, NULL), 2);
        CHECK_ERRNO(remap_file_pages(at, 0, 0, 1, 0), EINVAL);
        CHECK_ERRNO(remap_file_pages(at, PAGE - 1, 0, 1, 0), EINVAL);
    }
    ROW("remap_file_pages", "EINVAL", "address and size wrap, or reach past the mapping") {
        char *at = shared_file(letters_file(2, NULL), 2);
        CHECK_ERRNO(remap_file_pages(at, -PAGE, 0, 1, 0), EINVAL);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(remap_file_pages(at, 2 * PAGE, 0, 0, 0), EINVAL);
    }
    ROW("remap_file_pages", "EINVAL", "prot is not 0") {
        char *at = shared_file(letters_file(2, NULL), 2);
        CHECK_ERRNO(remap_file_pages(at, PAGE, PROT_READ, 1, 0), EINVAL);
        CHECK(at[0] == 'a');
    }
    ROW("remap_file_pages", "EINVAL", "the page's number and the size wrap") {
        char *at = shared_file(letters_file(2, NULL), 2);
        CHECK_ERRNO(remap_file_pages(at, 2 * PAGE, 0, -1ul, 0), EINVAL);
        CHECK(at[0] == 'a');
    }
    ROW("remap_file_pages", "EOVERFLOW", "past what a file can hold") {
        char *at = shared_file(letters_file(2, NULL), 2);
        CHECK_ERRNO(remap_file_pages(at, 2 * PAGE, 0, 0x7fffffffffffful, 0), EOVERFLOW);
    }
    ROW("pkey_mprotect", "ENOSYS", "the architecture has no keys") {
        CHECK_ERRNO(syscall(SYS_pkey_mprotect, letters(1), PAGE, PROT_READ, -1), ENOSYS);
        CHECK_ERRNO(syscall(SYS_pkey_alloc, 0, 0), ENOSYS);
    }
    RUX_ROW("process_madvise", "ENOSYS", "there are no descriptors of processes") {
        CHECK_ERRNO(syscall(SYS_process_madvise, 0, NULL, 0, MADV_COLD, 0), ENOSYS);
        CHECK_ERRNO(syscall(SYS_pidfd_open, getpid(), 0), ENOSYS);
    }
}
