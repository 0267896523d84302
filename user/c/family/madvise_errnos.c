/* madvise(2): what fork does as advised, and the ways to fail. */
#include "family.h"

/* What a child finds at an address: its byte, or -1 where nothing is mapped. */
static int in_child(char *at) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (!can_read(at))
            _exit(fault.code == SEGV_MAPERR ? 255 : 254);
        _exit(*at);
    }
    int status = status_of(pid);
    return status == 255 ? -1 : status;
}

void madvise_fork(void) {
    ROW("madvise", "MADV_DONTFORK", "a child does not have the mapping") {
        char *at = letters(3);
        CHECK(madvise(at + PAGE, PAGE, MADV_DONTFORK) == 0 && has_flag(at + PAGE, "dc"));
        CHECK(in_child(at) == 'a' && in_child(at + PAGE) == -1 && in_child(at + 2 * PAGE) == 'c' && at[PAGE] == 'b');
    }
    ROW("madvise", "MADV_DOFORK", "it has it again") {
        char *at = letters(1);
        CHECK(madvise(at, PAGE, MADV_DONTFORK) == 0 && madvise(at, PAGE, MADV_DOFORK) == 0 && !has_flag(at, "dc"));
        CHECK(in_child(at) == 'a');
    }
    ROW("madvise", "MADV_WIPEONFORK", "a child has zeroes, and so have its children") {
        char *at = letters(2);
        CHECK(madvise(at, PAGE, MADV_WIPEONFORK) == 0 && has_flag(at, "wf"));
        CHECK(in_child(at) == 0 && in_child(at + PAGE) == 'b' && at[0] == 'a');
        pid_t pid = fork();
        if (pid == 0) {
            at[0] = 'X';
            CHECK(has_flag(at, "wf") && in_child(at) == 0 && at[0] == 'X');
            _exit(0);
        }
        CHECK(status_of(pid) == 0);
    }
    ROW("madvise", "MADV_KEEPONFORK", "a child has a copy again") {
        char *at = letters(1);
        CHECK(madvise(at, PAGE, MADV_WIPEONFORK) == 0 && madvise(at, PAGE, MADV_KEEPONFORK) == 0);
        CHECK(!has_flag(at, "wf") && in_child(at) == 'a');
    }
}

static void invalid(void) {
    ROW("madvise", "EINVAL", "not at a page") {
        CHECK_ERRNO(madvise(letters(1) + 1, PAGE, MADV_NORMAL), EINVAL);
        CHECK_ERRNO(madvise((char *)1, 0, MADV_DONTNEED), EINVAL);
    }
    ROW("madvise", "EINVAL", "a length that is negative, or past the end of all addresses") {
        CHECK_ERRNO(madvise(letters(1), -PAGE, MADV_NORMAL), EINVAL);
        CHECK_ERRNO(madvise(letters(1), -1ul, MADV_NORMAL), EINVAL);
        CHECK(madvise(room(1), 0, MADV_DONTNEED) == 0);
    }
    ROW("madvise", "EINVAL", "advice that is none") {
        CHECK_ERRNO(madvise(letters(1), PAGE, 7), EINVAL);
        CHECK_ERRNO(madvise(letters(1), PAGE, -1), EINVAL);
        CHECK_ERRNO(madvise(letters(1), 0, 9999), EINVAL);
    }
    ROW("madvise", "EINVAL", "MADV_COLD of locked pages") {
        char *at = letters(2);
        CHECK(mlock(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(madvise(at, 2 * PAGE, MADV_COLD), EINVAL);
    }
    ROW("madvise", "EINVAL", "MADV_PAGEOUT of locked pages") {
        char *at = letters(1);
        CHECK(mlock(at, PAGE) == 0);
        CHECK_ERRNO(madvise(at, PAGE, MADV_PAGEOUT), EINVAL);
        CHECK(*at == 'a');
    }
    ROW("madvise", "EINVAL", "MADV_DONTNEED of locked pages, after those before them") {
        char *at = letters(3);
        CHECK(mlock(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_DONTNEED), EINVAL);
        CHECK(at[0] == 0 && at[PAGE] == 'b' && at[2 * PAGE] == 'c');
    }
    ROW("madvise", "EINVAL", "MADV_REMOVE of locked pages, and of private memory") {
        char *at = mmap(NULL, PAGE, RW, SHARED, -1, 0);
        CHECK(mlock(at, PAGE) == 0);
        CHECK_ERRNO(madvise(at, PAGE, MADV_REMOVE), EINVAL);
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_REMOVE), EINVAL);
    }
    ROW("madvise", "EINVAL", "MADV_FREE of what is not private anonymous memory, or locked") {
        int file = letters_file(1, NULL);
        char *locked = letters(1), *private = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0);
        CHECK(mlock(locked, PAGE) == 0);
        CHECK_ERRNO(madvise(locked, PAGE, MADV_FREE), EINVAL);
        CHECK_ERRNO(madvise(shared_file(file, 1), PAGE, MADV_FREE), EINVAL);
        CHECK_ERRNO(madvise(private, PAGE, MADV_FREE), EINVAL);
        CHECK_ERRNO(madvise(mmap(NULL, PAGE, RW, SHARED, -1, 0), PAGE, MADV_FREE), EINVAL);
    }
    ROW("madvise", "EINVAL", "MADV_WIPEONFORK of what is not private anonymous memory") {
        int file = letters_file(1, NULL);
        CHECK_ERRNO(madvise(mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0), PAGE, MADV_WIPEONFORK), EINVAL);
        CHECK_ERRNO(madvise(mmap(NULL, PAGE, RW, SHARED, -1, 0), PAGE, MADV_WIPEONFORK), EINVAL);
    }
    ROW("madvise", "EINVAL", "MADV_POPULATE_READ where no load is allowed") {
        char *at = letters(2);
        CHECK(mprotect(at + PAGE, PAGE, PROT_NONE) == 0);
        CHECK_ERRNO(madvise(at, 2 * PAGE, MADV_POPULATE_READ), EINVAL);
    }
    ROW("madvise", "EINVAL", "MADV_POPULATE_WRITE where no store is allowed") {
        char *at = mmap(NULL, PAGE, PROT_READ, PRIVATE, -1, 0);
        CHECK_ERRNO(madvise(at, PAGE, MADV_POPULATE_WRITE), EINVAL);
        CHECK(madvise(at, PAGE, MADV_POPULATE_READ) == 0);
    }
}

void madvise_errnos(void) {
    invalid();
    ROW("madvise", "EACCES", "MADV_REMOVE of what is not mapped shared and writable") {
        char name[32];
        int file = letters_file(1, name), same = open(name, O_RDONLY);
        CHECK_ERRNO(madvise(mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0), PAGE, MADV_REMOVE), EACCES);
        CHECK_ERRNO(madvise(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, same, 0), PAGE, MADV_REMOVE), EACCES);
        /* That it might be written is enough. */
        CHECK(madvise(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0), PAGE, MADV_REMOVE) == 0 && unlink(name) == 0);
    }
    ROW("madvise", "EAGAIN", "a mapping would be split, and there are too many") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_ERRNO(madvise(at + PAGE, PAGE, MADV_DONTDUMP), EAGAIN);
        CHECK(madvise(at, 4 * PAGE, MADV_DONTDUMP) == 0);
    }
    ROW("madvise", "EFAULT", "MADV_POPULATE_READ and MADV_POPULATE_WRITE past the end of the file") {
        int file = letters_file(1, NULL);
        char *at = shared_file(file, 3);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_POPULATE_READ), EFAULT);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_POPULATE_WRITE), EFAULT);
        CHECK(resident(at, 1) == 1);
    }
    ROW("madvise", "ENOMEM", "a hole, past which the advice is followed all the same") {
        char *at = letters(3);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_DONTNEED), ENOMEM);
        CHECK(at[0] == 0 && at[2 * PAGE] == 0);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_DONTFORK), ENOMEM);
        CHECK(has_flag(at, "dc") && has_flag(at + 2 * PAGE, "dc"));
        CHECK_ERRNO(madvise(at + PAGE, PAGE, MADV_NORMAL), ENOMEM);
        CHECK_ERRNO(madvise((char *)-8192l, PAGE, MADV_NORMAL), ENOMEM);
    }
    ROW("madvise", "ENOMEM", "MADV_POPULATE_READ stops at a hole") {
        char *at = memory(3);
        CHECK(munmap(at + PAGE, PAGE) == 0);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_POPULATE_READ), ENOMEM);
        CHECK(resident(at, 1) == 1 && resident(at + 2 * PAGE, 1) == 0);
        CHECK_ERRNO(madvise(at, 3 * PAGE, MADV_POPULATE_WRITE), ENOMEM);
    }
}
