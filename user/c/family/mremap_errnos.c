/* mremap(2): the ways to fail; and the heap's end, brk(2) and sbrk(3). */
#include "family.h"
#include <sys/auxv.h>

#define CHECK_NO_REMAP(wanted, ...)                                     \
    do {                                                                \
        errno = 0;                                                      \
        CHECK(mremap(__VA_ARGS__) == MAP_FAILED && errno == (wanted));   \
    } while (0)

static void arguments(void) {
    ROW("mremap", "EINVAL", "not at a page") {
        CHECK_NO_REMAP(EINVAL, letters(1) + 1, PAGE, PAGE, 0);
    }
    ROW("mremap", "EINVAL", "flags that are none") {
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, PAGE, 8);
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, PAGE, MREMAP_MAYMOVE | 0x100, NULL);
    }
    ROW("mremap", "EINVAL", "new size 0, or one that wraps to it") {
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, 0, 0);
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, -1ul, MREMAP_MAYMOVE);
    }
    ROW("mremap", "EINVAL", "a new size past the addresses of a program, to a place") {
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, 1ul << 62, MREMAP_MAYMOVE | MREMAP_FIXED, room(1));
    }
    ROW("mremap", "EINVAL", "a new address that is no page's, or past those of a program") {
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room(1) + 1);
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)-4096l);
    }
    ROW("mremap", "EINVAL", "old and new place have pages in common") {
        char *at = letters(4);
        CHECK_NO_REMAP(EINVAL, at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + PAGE);
        CHECK_NO_REMAP(EINVAL, at + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at);
        CHECK_NO_REMAP(EINVAL, at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at);
        CHECK(at[0] == 'a' && at[PAGE] == 'b');
    }
    ROW("mremap", "EINVAL", "MREMAP_FIXED without MREMAP_MAYMOVE") {
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, PAGE, MREMAP_FIXED, room(1));
    }
    ROW("mremap", "EINVAL", "MREMAP_DONTUNMAP without MREMAP_MAYMOVE") {
        CHECK_NO_REMAP(EINVAL, letters(1), PAGE, PAGE, MREMAP_DONTUNMAP, NULL);
    }
    ROW("mremap", "EINVAL", "MREMAP_DONTUNMAP of what is the kernel's") {
        char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
        CHECK(vdso);
        CHECK_NO_REMAP(EINVAL, vdso, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    }
    ROW("mremap", "EINVAL", "MREMAP_DONTUNMAP and another size") {
        CHECK_NO_REMAP(EINVAL, letters(2), PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        CHECK_NO_REMAP(EINVAL, letters(2), 2 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    }
    ROW("mremap", "EINVAL", "old size 0 of private memory") {
        CHECK_NO_REMAP(EINVAL, letters(1), 0, PAGE, MREMAP_MAYMOVE);
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0);
        CHECK_NO_REMAP(EINVAL, at, 0, PAGE, MREMAP_MAYMOVE);
    }
    ROW("mremap", "EFAULT", "nothing is mapped there") {
        CHECK_NO_REMAP(EFAULT, room(1), PAGE, PAGE, 0);
        CHECK_NO_REMAP(EFAULT, room(1), PAGE, 2 * PAGE, MREMAP_MAYMOVE);
        CHECK_NO_REMAP(EFAULT, (char *)-4096l, PAGE, PAGE, 0);
    }
    ROW("mremap", "EFAULT", "the old size reaches into another mapping, or past the end") {
        char *at = letters(4);
        CHECK(mprotect(at + 2 * PAGE, 2 * PAGE, PROT_READ) == 0);
        CHECK_NO_REMAP(EFAULT, at, 3 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
        CHECK_NO_REMAP(EFAULT, at, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room(3));
        CHECK_NO_REMAP(EFAULT, at + 2 * PAGE, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
        CHECK(at[3 * PAGE] == 'd' && at[PAGE] == 'b');
    }
    ROW("mremap", "EFAULT", "the kernel's mappings do not grow") {
        char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
        CHECK_NO_REMAP(EFAULT, vdso, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    }
}

static void shortage(void) {
    ROW("mremap", "EAGAIN", "a locked mapping would grow past RLIMIT_MEMLOCK") {
        char *at = letters(2);
        CHECK(mlock(at, 2 * PAGE) == 0);
        set_limit(RLIMIT_MEMLOCK, 3 * PAGE);
        become_nobody();
        CHECK(mremap(at, 2 * PAGE, 3 * PAGE, 0) == at);
        CHECK_NO_REMAP(EAGAIN, at, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    }
    ROW("mremap", "ENOMEM", "no room behind, and no MREMAP_MAYMOVE") {
        char *at = letters(2);
        CHECK_NO_REMAP(ENOMEM, at, PAGE, 2 * PAGE, 0);
        CHECK(mremap(at, 2 * PAGE, 3 * PAGE, 0) == at);
    }
    ROW("mremap", "ENOMEM", "old size 0 without MREMAP_MAYMOVE") {
        char *at = mmap(NULL, PAGE, RW, SHARED, -1, 0);
        CHECK_NO_REMAP(ENOMEM, at, 0, PAGE, 0);
    }
    ROW("mremap", "ENOMEM", "RLIMIT_AS, and RLIMIT_DATA") {
        char *at = mmap(NULL, 16 * MB, RW, PRIVATE, -1, 0);
        set_limit(RLIMIT_DATA, 24 * MB);
        CHECK_NO_REMAP(ENOMEM, at, 16 * MB, 32 * MB, MREMAP_MAYMOVE);
        set_limit(RLIMIT_AS, 24 * MB);
        char *shared = mmap(NULL, MB, RW, SHARED, -1, 0);
        CHECK_NO_REMAP(ENOMEM, shared, MB, 32 * MB, MREMAP_MAYMOVE);
        CHECK(mremap(shared, MB, 2 * MB, MREMAP_MAYMOVE) != MAP_FAILED);
    }
    ROW("mremap", "ENOMEM", "more would be promised than the machine has") {
        CHECK_NO_REMAP(ENOMEM, letters(1), PAGE, 64 * 1024 * MB, MREMAP_MAYMOVE);
        CHECK_NO_REMAP(ENOMEM, letters(1), PAGE, 1ul << 62, MREMAP_MAYMOVE);
    }
    ROW("mremap", "ENOMEM", "MREMAP_DONTUNMAP past RLIMIT_AS") {
        char *at = mmap(NULL, 16 * MB, PROT_READ, PRIVATE, -1, 0);
        set_limit(RLIMIT_AS, 24 * MB);
        CHECK_NO_REMAP(ENOMEM, at, 16 * MB, 16 * MB, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        CHECK(mremap(at, 16 * MB, 16 * MB, MREMAP_MAYMOVE | MREMAP_FIXED, at + 32 * MB) == at + 32 * MB);
    }
    ROW("mremap", "ENOMEM", "too many mappings") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_NO_REMAP(ENOMEM, at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 16 * PAGE);
        CHECK_NO_REMAP(ENOMEM, at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        CHECK(at[0] == 'a' && mremap(at, 4 * PAGE, 8 * PAGE, 0) == at);
    }
}

void mremap_errnos(void) {
    arguments();
    shortage();
}

void brk_rows(void) {
    ROW("brk", "brk", "the heap grows by zeroes and shrinks by pages") {
        char *end = sbrk(0), *page = (char *)(((unsigned long)end + PAGE - 1) / PAGE * PAGE);
        CHECK(brk(page + 3 * PAGE + 1) == 0 && sbrk(0) == page + 3 * PAGE + 1);
        CHECK(page[3 * PAGE] == 0 && can_write(page + 4 * PAGE - 1) && has_flag(page, "ac"));
        CHECK(brk(page + 1) == 0 && can_write(page));
        CHECK_FAULT(can_read, page + PAGE, SIGSEGV, SEGV_MAPERR);
        CHECK(brk(page + 4 * PAGE) == 0 && page[3 * PAGE] == 0);
    }
    ROW("brk", "brk", "the system call says where the end is, whatever was asked") {
        char *end = (char *)syscall(SYS_brk, 0);
        CHECK(end == sbrk(0) && (char *)syscall(SYS_brk, -1l) == end && (char *)syscall(SYS_brk, 4096) == end);
        CHECK((char *)syscall(SYS_brk, end + 10) == end + 10 && brk(end) == 0);
    }
    ROW("brk", "ENOMEM", "RLIMIT_DATA") {
        set_limit(RLIMIT_DATA, 4 * MB);
        char *end = sbrk(0);
        CHECK_ERRNO(brk(end + 8 * MB), ENOMEM);
        CHECK(sbrk(0) == end && brk(end + MB) == 0);
    }
    ROW("brk", "ENOMEM", "RLIMIT_AS") {
        set_limit(RLIMIT_AS, 16 * MB);
        CHECK_ERRNO(brk((char *)sbrk(0) + 32 * MB), ENOMEM);
    }
    ROW("brk", "ENOMEM", "a mapping is in the way, or the page before it") {
        char *end = sbrk(0), *page = (char *)(((unsigned long)end + PAGE - 1) / PAGE * PAGE);
        CHECK(mmap(page + 4 * PAGE, PAGE, PROT_READ, PRIVATE | MAP_FIXED, -1, 0) == page + 4 * PAGE);
        CHECK_ERRNO(brk(page + 5 * PAGE), ENOMEM);
        CHECK_ERRNO(brk(page + 4 * PAGE), ENOMEM);
        CHECK(brk(page + 3 * PAGE) == 0);
    }
    ROW("brk", "ENOMEM", "below the heap's start, and past the addresses of a program") {
        char *end = sbrk(0);
        CHECK((char *)syscall(SYS_brk, PAGE) == end);
        CHECK_ERRNO(brk((char *)-1l), ENOMEM);
        CHECK(sbrk(0) == end);
    }
    ROW("brk", "ENOMEM", "locked by mlockall, past RLIMIT_MEMLOCK") {
        CHECK(mlockall(MCL_FUTURE) == 0);
        set_limit(RLIMIT_MEMLOCK, 16 * PAGE);
        become_nobody();
        CHECK_ERRNO(brk((char *)sbrk(0) + 64 * PAGE), ENOMEM);
        char *end = sbrk(0), *page = (char *)(((unsigned long)end + PAGE - 1) / PAGE * PAGE);
        CHECK(brk(page + 4 * PAGE) == 0 && resident(page, 4) == 4);
    }
    ROW("sbrk", "ENOMEM", "more than the machine has") {
        char *end = sbrk(0);
        CHECK(sbrk(1l << 40) == (void *)-1 && errno == ENOMEM && sbrk(0) == end);
        CHECK(sbrk(PAGE) == end && sbrk(-(long)PAGE) == end + PAGE && sbrk(0) == end);
    }
}
