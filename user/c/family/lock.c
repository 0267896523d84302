/* mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2). */
#include "family.h"

/* The C library's mlock2 is the system call; its mlock, too. */
static void one_range(void) {
    ROW("mlock", "mlock", "all pages with a byte of the range are there, and counted") {
        char *at = memory(4);
        CHECK(mlock(at + PAGE + 1, PAGE) == 0 && resident(at, 4) == 2 && status_kb("VmLck") == 8);
        CHECK(has_flag(at + 2 * PAGE, "lo") && !has_flag(at, "lo") && mappings(at, 4) >= 2);
        CHECK(mlock(at, 2 * PAGE) == 0 && status_kb("VmLck") == 12);
    }
    ROW("mlock", "mlock", "private memory gets pages of its own, a file's mapping the file's") {
        int file = letters_file(2, NULL);
        char *private = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, file, 0), *shared = shared_file(file, 2);
        long before = status_kb("RssAnon");
        CHECK(mlock(private, 2 * PAGE) == 0 && mlock(shared, 2 * PAGE) == 0);
        CHECK(status_kb("RssAnon") >= before + 8 && pwrite(file, "X", 1, 0) == 1);
        CHECK(private[0] == 'a' && shared[0] == 'X');
    }
    ROW("mlock", "mlock", "a child has no locks") {
        char *at = letters(2);
        CHECK(mlock(at, 2 * PAGE) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            CHECK(status_kb("VmLck") == 0 && !has_flag(at, "lo") && madvise(at, PAGE, MADV_DONTNEED) == 0);
            _exit(0);
        }
        CHECK(status_of(pid) == 0 && status_kb("VmLck") == 8);
    }
    ROW("mlock", "EINVAL", "address and length wrap") {
        CHECK_ERRNO(mlock(letters(1), -PAGE), EINVAL);
        CHECK(mlock(letters(1), 0) == 0 && mlock(room(1), 0) == 0);
    }
    ROW("mlock", "ENOMEM", "a hole, up to which pages are locked") {
        char *at = letters(3);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(mlock(at, 3 * PAGE), ENOMEM);
        CHECK(status_kb("VmLck") == 4 && has_flag(at, "lo") && !has_flag(at + 2 * PAGE, "lo"));
        CHECK_ERRNO(mlock((char *)-8192l, PAGE), ENOMEM);
    }
    ROW("mlock", "ENOMEM", "pages that cannot be had: past a file's end, or without rights") {
        int file = letters_file(1, NULL);
        char *at = shared_file(file, 2), *none = mmap(NULL, PAGE, PROT_NONE, PRIVATE, -1, 0);
        CHECK_ERRNO(mlock(at, 2 * PAGE), ENOMEM);
        CHECK_ERRNO(mlock(none, PAGE), ENOMEM);
        CHECK(status_kb("VmLck") == 12);
    }
    ROW("mlock", "ENOMEM", "too many mappings") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_ERRNO(mlock(at + PAGE, PAGE), ENOMEM);
        CHECK(mlock(at, 4 * PAGE) == 0);
    }
    ROW("mlock", "ENOMEM", "RLIMIT_MEMLOCK, which root need not obey") {
        char *at = letters(6);
        set_limit(RLIMIT_MEMLOCK, 3 * PAGE);
        CHECK(mlock(at, 6 * PAGE) == 0 && munlock(at, 6 * PAGE) == 0);
        become_nobody();
        CHECK(mlock(at, 2 * PAGE) == 0);
        CHECK_ERRNO(mlock(at + 4 * PAGE, 2 * PAGE), ENOMEM);
        /* What is locked already counts once. */
        CHECK(mlock(at, 3 * PAGE) == 0 && status_kb("VmLck") == 12);
    }
    ROW("mlock", "EPERM", "RLIMIT_MEMLOCK is 0") {
        set_limit(RLIMIT_MEMLOCK, 0);
        CHECK(mlock(letters(1), PAGE) == 0);
        become_nobody();
        CHECK_ERRNO(mlock(letters(1), PAGE), EPERM);
        CHECK_ERRNO(mlock(letters(1), 0), EPERM);
    }
    ROW("mlock2", "mlock2", "flags 0 is mlock") {
        char *at = memory(2);
        CHECK(mlock2(at, 2 * PAGE, 0) == 0 && resident(at, 2) == 2 && status_kb("VmLck") == 8);
    }
    ROW("mlock2", "MLOCK_ONFAULT", "pages that are there stay, others when they come") {
        char *at = memory(3);
        at[0] = 1;
        CHECK(mlock2(at, 3 * PAGE, MLOCK_ONFAULT) == 0 && resident(at, 3) == 1 && status_kb("VmLck") == 12);
        CHECK(has_flag(at, "lf") && has_flag(at, "lo") && can_write(at + PAGE) && resident(at, 3) == 2);
        CHECK_ERRNO(madvise(at, PAGE, MADV_DONTNEED), EINVAL);
        CHECK(mlock(at, 3 * PAGE) == 0 && resident(at, 3) == 3 && !has_flag(at, "lf"));
    }
    ROW("mlock2", "EINVAL", "flags that are none") {
        CHECK_ERRNO(mlock2(letters(1), PAGE, 2), EINVAL);
        CHECK_ERRNO(mlock2(letters(1), PAGE, 0x80000001), EINVAL);
    }
    ROW("mlock2", "EINVAL", "address and length wrap") {
        CHECK_ERRNO(mlock2(letters(1), -PAGE, MLOCK_ONFAULT), EINVAL);
    }
    ROW("mlock2", "ENOMEM", "a hole") {
        char *at = letters(2);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(mlock2(at, 2 * PAGE, MLOCK_ONFAULT), ENOMEM);
        CHECK(has_flag(at, "lf"));
    }
    ROW("mlock2", "ENOMEM", "too many mappings") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_ERRNO(mlock2(at + PAGE, PAGE, MLOCK_ONFAULT), ENOMEM);
    }
    ROW("mlock2", "ENOMEM", "RLIMIT_MEMLOCK") {
        char *at = memory(6);
        set_limit(RLIMIT_MEMLOCK, 3 * PAGE);
        become_nobody();
        CHECK_ERRNO(mlock2(at, 4 * PAGE, MLOCK_ONFAULT), ENOMEM);
        CHECK(mlock2(at, 3 * PAGE, MLOCK_ONFAULT) == 0);
    }
    ROW("mlock2", "EPERM", "RLIMIT_MEMLOCK is 0") {
        set_limit(RLIMIT_MEMLOCK, 0);
        become_nobody();
        CHECK_ERRNO(mlock2(letters(1), PAGE, MLOCK_ONFAULT), EPERM);
    }
    ROW("munlock", "munlock", "pages may go, and the mapping is one again") {
        char *at = letters(3);
        CHECK(mlock(at + PAGE, PAGE) == 0 && mappings(at, 3) == 3 && munlock(at, 3 * PAGE) == 0);
        CHECK(mappings(at, 3) == 1 && status_kb("VmLck") == 0 && madvise(at, 3 * PAGE, MADV_DONTNEED) == 0);
    }
    ROW("munlock", "EINVAL", "address and length wrap") {
        CHECK_ERRNO(munlock(letters(1), -PAGE), EINVAL);
    }
    ROW("munlock", "ENOMEM", "a hole, up to which pages are unlocked") {
        char *at = letters(3);
        CHECK(mlock(at, 3 * PAGE) == 0 && munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(munlock(at, 3 * PAGE), ENOMEM);
        CHECK(status_kb("VmLck") == 4 && !has_flag(at, "lo") && has_flag(at + 2 * PAGE, "lo"));
    }
    ROW("munlock", "ENOMEM", "too many mappings") {
        char *at = letters(4);
        CHECK(mlock(at, 4 * PAGE) == 0);
        exhaust_mappings();
        CHECK_ERRNO(munlock(at + PAGE, PAGE), ENOMEM);
        CHECK(munlock(at, 4 * PAGE) == 0);
    }
}

void mlock_rows(void) {
    one_range();
}

void mlockall_rows(void) {
    ROW("mlockall", "MCL_CURRENT", "all that is mapped, and nothing that comes") {
        char *at = memory(4);
        CHECK(mlockall(MCL_CURRENT) == 0 && resident(at, 4) == 4 && has_flag(at, "lo") && has_flag(&at, "lo"));
        char *later = memory(4);
        CHECK(resident(later, 4) == 0 && !has_flag(later, "lo") && status_kb("VmLck") > 16);
    }
    ROW("mlockall", "MCL_FUTURE", "what comes, and nothing that is there") {
        char *at = memory(4);
        CHECK(mlockall(MCL_FUTURE) == 0 && resident(at, 4) == 0 && status_kb("VmLck") == 0);
        char *later = memory(4);
        CHECK(resident(later, 4) == 4 && status_kb("VmLck") == 16);
        char *end = sbrk(PAGE);
        CHECK(end != (char *)-1 && has_flag(end + PAGE - 1, "lo") && status_kb("VmLck") >= 20);
    }
    ROW("mlockall", "MCL_FUTURE", "not in a child") {
        CHECK(mlockall(MCL_FUTURE) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            CHECK(resident(memory(4), 4) == 0 && status_kb("VmLck") == 0);
            _exit(0);
        }
        CHECK(status_of(pid) == 0);
    }
    ROW("mlockall", "MCL_ONFAULT", "with MCL_CURRENT nothing is populated") {
        char *at = memory(4);
        CHECK(mlockall(MCL_CURRENT | MCL_ONFAULT) == 0 && resident(at, 4) == 0 && has_flag(at, "lf"));
        CHECK(status_kb("VmLck") > 16);
    }
    ROW("mlockall", "MCL_ONFAULT", "with MCL_FUTURE neither") {
        CHECK(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0);
        char *at = memory(4);
        CHECK(resident(at, 4) == 0 && has_flag(at, "lf") && status_kb("VmLck") == 16);
    }
    ROW("mlockall", "EINVAL", "flags that are none, and none at all") {
        CHECK_ERRNO(mlockall(0), EINVAL);
        CHECK_ERRNO(mlockall(8), EINVAL);
        CHECK_ERRNO(mlockall(MCL_CURRENT | 16), EINVAL);
    }
    ROW("mlockall", "EINVAL", "MCL_ONFAULT alone") {
        CHECK_ERRNO(mlockall(MCL_ONFAULT), EINVAL);
    }
    ROW("mlockall", "ENOMEM", "RLIMIT_MEMLOCK") {
        set_limit(RLIMIT_MEMLOCK, 4 * PAGE);
        become_nobody();
        CHECK_ERRNO(mlockall(MCL_CURRENT), ENOMEM);
        CHECK(status_kb("VmLck") == 0 && mlockall(MCL_FUTURE) == 0);
        CHECK(mmap(NULL, 8 * PAGE, RW, PRIVATE, -1, 0) == MAP_FAILED && errno == EAGAIN);
    }
    ROW("mlockall", "EPERM", "RLIMIT_MEMLOCK is 0") {
        set_limit(RLIMIT_MEMLOCK, 0);
        become_nobody();
        CHECK_ERRNO(mlockall(MCL_CURRENT), EPERM);
        CHECK_ERRNO(mlockall(MCL_FUTURE), EPERM);
    }
    ROW("munlockall", "munlockall", "nothing is locked, and nothing will be") {
        char *at = letters(2);
        CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0 && munlockall() == 0 && status_kb("VmLck") == 0);
        CHECK(madvise(at, 2 * PAGE, MADV_DONTNEED) == 0 && resident(memory(4), 4) == 0);
        become_nobody();
        CHECK(munlockall() == 0);
    }
}
