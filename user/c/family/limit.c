/* setrlimit(2), getrlimit(2) and prlimit(2), as far as memory obeys them. */
#include "family.h"

static void limits(void) {
    ROW("setrlimit", "RLIMIT_AS", "all that is mapped, by each of the calls") {
        char *at = letters(1);
        set_limit(RLIMIT_AS, 32 * MB);
        CHECK(mmap(NULL, 64 * MB, PROT_NONE, PRIVATE, -1, 0) == MAP_FAILED && errno == ENOMEM);
        CHECK(mremap(at, PAGE, 64 * MB, MREMAP_MAYMOVE) == MAP_FAILED && errno == ENOMEM);
        CHECK_ERRNO(brk((char *)sbrk(0) + 64 * MB), ENOMEM);
        CHECK(mmap(NULL, MB, PROT_NONE, PRIVATE, -1, 0) != MAP_FAILED);
    }
    ROW("setrlimit", "RLIMIT_AS", "a stack that would grow past it has SIGSEGV") {
        char *at = room(512) + 500 * PAGE;
        CHECK(mmap(at, PAGE, RW, PRIVATE | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == at && can_write(at - PAGE));
        set_limit(RLIMIT_AS, PAGE);
        CHECK_FAULT(can_write, at - 2 * PAGE, SIGSEGV, SEGV_MAPERR);
    }
    ROW("setrlimit", "RLIMIT_DATA", "the heap and private memory that can be written") {
        set_limit(RLIMIT_DATA, 8 * MB);
        CHECK(mmap(NULL, 16 * MB, RW, PRIVATE, -1, 0) == MAP_FAILED && errno == ENOMEM);
        CHECK(mmap(NULL, 16 * MB, PROT_READ, PRIVATE, -1, 0) != MAP_FAILED);
        CHECK_ERRNO(brk((char *)sbrk(0) + 16 * MB), ENOMEM);
        CHECK(mmap(NULL, 16 * MB, RW, PRIVATE | MAP_GROWSDOWN, -1, 0) != MAP_FAILED);
    }
    ROW("setrlimit", "RLIMIT_STACK", "no stack grows longer") {
        char *at = room(512) + 500 * PAGE;
        CHECK(mmap(at, PAGE, RW, PRIVATE | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == at);
        set_limit(RLIMIT_STACK, 16 * PAGE);
        CHECK(can_write(at - 15 * PAGE) && start_of(at) == at - 15 * PAGE);
        CHECK_FAULT(can_write, at - 16 * PAGE, SIGSEGV, SEGV_MAPERR);
    }
    ROW("setrlimit", "RLIMIT_STACK", "the first stack, too") {
        char here;
        set_limit(RLIMIT_STACK, MB);
        CHECK(can_write(&here - MB / 2) && has_flag(&here, "gd"));
        CHECK_FAULT(can_write, &here - MB, SIGSEGV, SEGV_MAPERR);
    }
    ROW("setrlimit", "RLIMIT_STACK", "where mappings go leaves room for it in the next program") {
        set_limit(RLIMIT_STACK, 1024 * MB);
        struct where where = where_of_program(0);
        CHECK(where.stack - where.mapping > 1024 * MB && where.stack - where.mapping < 8192 * MB);
    }
    ROW("setrlimit", "RLIMIT_STACK", "without one, mappings go from the bottom up in the next program") {
        struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
        CHECK(setrlimit(RLIMIT_STACK, &none) == 0);
        struct where where = where_of_program(0);
        CHECK(where.mapping < where.stack / 2);
    }
    ROW("setrlimit", "RLIMIT_MEMLOCK", "rounded down to pages, and not for root") {
        char *at = memory(8);
        set_limit(RLIMIT_MEMLOCK, 2 * PAGE + 4095);
        CHECK(mlock(at, 8 * PAGE) == 0 && munlock(at, 8 * PAGE) == 0);
        become_nobody();
        CHECK_ERRNO(mlock(at, 3 * PAGE), ENOMEM);
        CHECK(mlock(at, 2 * PAGE) == 0);
    }
    ROW("setrlimit", "RLIMIT_MEMLOCK", "a stack that would grow past it after mlockall has SIGSEGV") {
        char *at = room(512) + 500 * PAGE;
        CHECK(mlockall(MCL_FUTURE) == 0);
        CHECK(mmap(at, PAGE, RW, PRIVATE | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == at);
        set_limit(RLIMIT_MEMLOCK, 4 * PAGE);
        become_nobody();
        CHECK(can_write(at - 3 * PAGE) && status_kb("VmLck") == 16);
        CHECK_FAULT(can_write, at - 4 * PAGE, SIGSEGV, SEGV_MAPERR);
    }
}

static void calls(void) {
    struct rlimit limit = {PAGE, PAGE}, inverse = {2 * PAGE, PAGE};
    void *const nowhere = (void *)8, *const constant = mmap(NULL, PAGE, PROT_READ, PRIVATE, -1, 0);
    ROW("setrlimit", "EFAULT", "the limit is nowhere") {
        CHECK_ERRNO(syscall(SYS_setrlimit, RLIMIT_AS, nowhere), EFAULT);
    }
    ROW("setrlimit", "EINVAL", "no such limit") {
        CHECK_ERRNO(syscall(SYS_setrlimit, RLIM_NLIMITS, &limit), EINVAL);
        CHECK_ERRNO(syscall(SYS_setrlimit, -1, &limit), EINVAL);
    }
    ROW("setrlimit", "EINVAL", "the soft limit is above the hard one") {
        CHECK_ERRNO(syscall(SYS_setrlimit, RLIMIT_MEMLOCK, &inverse), EINVAL);
    }
    ROW("setrlimit", "EPERM", "the hard limit would be raised by who may not") {
        set_limit(RLIMIT_MEMLOCK, PAGE);
        struct rlimit more = {PAGE, 2 * PAGE};
        CHECK(syscall(SYS_setrlimit, RLIMIT_MEMLOCK, &more) == 0);
        become_nobody();
        more.rlim_max = 3 * PAGE;
        CHECK_ERRNO(syscall(SYS_setrlimit, RLIMIT_MEMLOCK, &more), EPERM);
        CHECK(syscall(SYS_setrlimit, RLIMIT_MEMLOCK, &limit) == 0);
    }
    ROW("setrlimit", "EPERM", "RLIMIT_NOFILE above /proc/sys/fs/nr_open, for root, too") {
        struct rlimit files = {1024, 1ul << 40};
        CHECK_ERRNO(syscall(SYS_setrlimit, RLIMIT_NOFILE, &files), EPERM);
    }
    ROW("getrlimit", "EFAULT", "there is no place for the limit") {
        CHECK_ERRNO(syscall(SYS_getrlimit, RLIMIT_AS, nowhere), EFAULT);
        CHECK_ERRNO(syscall(SYS_getrlimit, RLIMIT_AS, constant), EFAULT);
    }
    ROW("getrlimit", "EINVAL", "no such limit") {
        CHECK_ERRNO(syscall(SYS_getrlimit, RLIM_NLIMITS, &limit), EINVAL);
    }
    ROW("prlimit", "prlimit", "of another process: what it was, and what it is") {
        struct rlimit old, now;
        int ends[2];
        CHECK(pipe(ends) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            char byte;
            close(ends[1]);
            _exit(read(ends[0], &byte, 1) != 0);
        }
        CHECK(prlimit(pid, RLIMIT_MEMLOCK, &limit, &old) == 0 && old.rlim_cur == 8 * MB);
        CHECK(prlimit(pid, RLIMIT_MEMLOCK, NULL, &now) == 0 && now.rlim_cur == PAGE && now.rlim_max == PAGE);
        CHECK(getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == 8 * MB);
        CHECK(close(ends[1]) == 0 && status_of(pid) == 0);
    }
    ROW("prlimit", "EFAULT", "the limit is nowhere, or there is no place for the old one") {
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_AS, nowhere, NULL), EFAULT);
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_AS, NULL, constant), EFAULT);
    }
    ROW("prlimit", "EINVAL", "no such limit") {
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, RLIM_NLIMITS, NULL, &limit), EINVAL);
    }
    ROW("prlimit", "EINVAL", "the soft limit is above the hard one") {
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_DATA, &inverse, NULL), EINVAL);
    }
    ROW("prlimit", "EPERM", "the hard limit would be raised by who may not") {
        set_limit(RLIMIT_MEMLOCK, PAGE / 2);
        become_nobody();
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_MEMLOCK, &limit, NULL), EPERM);
    }
    ROW("prlimit", "EPERM", "RLIMIT_NOFILE above /proc/sys/fs/nr_open") {
        struct rlimit files = {1024, 1ul << 40};
        CHECK_ERRNO(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, NULL), EPERM);
    }
    ROW("prlimit", "EPERM", "a process of somebody else") {
        become_nobody();
        CHECK_ERRNO(syscall(SYS_prlimit64, 1, RLIMIT_AS, NULL, &limit), EPERM);
        CHECK_ERRNO(syscall(SYS_prlimit64, 1, RLIMIT_AS, &limit, NULL), EPERM);
    }
    ROW("prlimit", "ESRCH", "no such process") {
        CHECK_ERRNO(syscall(SYS_prlimit64, 0x3fffffff, RLIMIT_AS, NULL, &limit), ESRCH);
    }
}

void limit_rows(void) {
    limits();
    calls();
}
