/* mmap(2): the ways to fail. */
#include "family.h"
#include <sys/mount.h>
#include <sys/stat.h>

#define CHECK_NO_MAP(wanted, ...)                                      \
    do {                                                               \
        errno = 0;                                                     \
        CHECK(mmap(__VA_ARGS__) == MAP_FAILED && errno == (wanted));    \
    } while (0)

static void access_errors(void) {
    ROW("mmap", "EACCES", "the file is not open for reading") {
        char name[32];
        letters_file(1, name);
        int file = open(name, O_WRONLY);
        CHECK(file >= 0 && unlink(name) == 0);
        CHECK_NO_MAP(EACCES, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
        CHECK_NO_MAP(EACCES, NULL, PAGE, PROT_WRITE, MAP_SHARED, file, 0);
    }
    ROW("mmap", "EACCES", "MAP_SHARED and PROT_WRITE, and the file is not open for writing") {
        char name[32];
        letters_file(1, name);
        int file = open(name, O_RDONLY);
        CHECK(file >= 0 && unlink(name) == 0);
        CHECK_NO_MAP(EACCES, NULL, PAGE, RW, MAP_SHARED, file, 0);
        CHECK_NO_MAP(EACCES, NULL, PAGE, PROT_WRITE, MAP_SHARED_VALIDATE, file, 0);
        CHECK(mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0) != MAP_FAILED);
    }
    ROW("mmap", "EAGAIN", "MAP_LOCKED, past RLIMIT_MEMLOCK") {
        set_limit(RLIMIT_MEMLOCK, 4 * PAGE);
        CHECK(mmap(NULL, 5 * PAGE, RW, PRIVATE | MAP_LOCKED, -1, 0) != MAP_FAILED); /* root may */
        CHECK(munlockall() == 0);
        become_nobody();
        CHECK(mmap(NULL, 4 * PAGE, RW, PRIVATE | MAP_LOCKED, -1, 0) != MAP_FAILED);
        CHECK_NO_MAP(EAGAIN, NULL, PAGE, RW, PRIVATE | MAP_LOCKED, -1, 0);
    }
    ROW("mmap", "EPERM", "MAP_LOCKED, and RLIMIT_MEMLOCK is 0") {
        set_limit(RLIMIT_MEMLOCK, 0);
        become_nobody();
        CHECK_NO_MAP(EPERM, NULL, PAGE, RW, PRIVATE | MAP_LOCKED, -1, 0);
    }
    ROW("mmap", "EPERM", "PROT_EXEC in a file of a file system without execution") {
        CHECK(mkdir("/tmp/family-noexec", 0700) == 0);
        CHECK(mount("none", "/tmp/family-noexec", "tmpfs", MS_NOEXEC, NULL) == 0);
        int file = open("/tmp/family-noexec/file", O_RDWR | O_CREAT, 0700);
        CHECK(umount2("/tmp/family-noexec", MNT_DETACH) == 0 && rmdir("/tmp/family-noexec") == 0);
        CHECK(file >= 0 && ftruncate(file, PAGE) == 0);
        CHECK_NO_MAP(EPERM, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
        char *at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
        CHECK(at != MAP_FAILED);
        CHECK_ERRNO(mprotect(at, PAGE, PROT_READ | PROT_EXEC), EACCES);
    }
    ROW("mmap", "EPERM", "the file is sealed against writing") {
        int file = memfd_create("sealed", MFD_ALLOW_SEALING);
        CHECK(file >= 0 && ftruncate(file, PAGE) == 0 && fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0);
        CHECK_NO_MAP(EPERM, NULL, PAGE, RW, MAP_SHARED, file, 0);
        CHECK(mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0) != MAP_FAILED);
        char *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
        CHECK(at != MAP_FAILED);
        CHECK_ERRNO(mprotect(at, PAGE, RW), EACCES);
    }
    ROW("mmap", "EPERM", "below /proc/sys/vm/mmap_min_addr, which root may") {
        char text[32] = "";
        int file = open("/proc/sys/vm/mmap_min_addr", O_RDONLY);
        CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
        char *lowest = (char *)atol(text), *below = lowest - PAGE;
        CHECK(lowest >= (char *)PAGE && mmap(below, PAGE, RW, PRIVATE | MAP_FIXED, -1, 0) == below);
        CHECK(munmap(below, PAGE) == 0);
        become_nobody();
        CHECK_NO_MAP(EPERM, below, PAGE, RW, PRIVATE | MAP_FIXED, -1, 0);
        CHECK_NO_MAP(EPERM, below, 2 * PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
        /* A hint is moved up. */
        char *at = mmap((char *)1, PAGE, RW, PRIVATE, -1, 0);
        CHECK(at >= lowest && at != MAP_FAILED);
    }
}

static void argument_errors(void) {
    ROW("mmap", "EBADF", "no such descriptor") {
        CHECK_NO_MAP(EBADF, NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0);
        CHECK_NO_MAP(EBADF, NULL, PAGE, PROT_READ, MAP_SHARED, 999, 0);
        int file = open("/tmp", O_PATH);
        CHECK_NO_MAP(EBADF, NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
    }
    ROW("mmap", "EEXIST", "MAP_FIXED_NOREPLACE meets a mapping") {
        char *at = letters(2);
        CHECK_NO_MAP(EEXIST, at, PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
        CHECK_NO_MAP(EEXIST, at - PAGE, 2 * PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
        CHECK_NO_MAP(EEXIST, at + PAGE, 2 * PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE | MAP_FIXED, -1, 0);
        CHECK(at[0] == 'a' && at[PAGE] == 'b');
    }
    ROW("mmap", "EINVAL", "MAP_FIXED at no page") {
        CHECK_NO_MAP(EINVAL, room(2) + 1, PAGE, RW, PRIVATE | MAP_FIXED, -1, 0);
        CHECK_NO_MAP(EINVAL, room(2) + 1, PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
    }
    ROW("mmap", "EINVAL", "an offset that is no page's") {
        int file = letters_file(2, NULL);
        CHECK(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 5) == -1 && errno == EINVAL);
        CHECK(syscall(SYS_mmap, NULL, PAGE, PROT_READ, PRIVATE, -1, PAGE / 2) == -1 && errno == EINVAL);
        /* Before all else. */
        CHECK(syscall(SYS_mmap, NULL, 0, PROT_READ, MAP_PRIVATE, -1, 1) == -1 && errno == EINVAL);
    }
    ROW("mmap", "EINVAL", "length 0") {
        CHECK_NO_MAP(EINVAL, NULL, 0, RW, PRIVATE, -1, 0);
        CHECK_NO_MAP(EINVAL, room(1), 0, RW, PRIVATE | MAP_FIXED, -1, 0);
    }
    ROW("mmap", "EINVAL", "neither MAP_PRIVATE nor MAP_SHARED nor MAP_SHARED_VALIDATE") {
        int file = letters_file(1, NULL);
        CHECK_NO_MAP(EINVAL, NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0);
        CHECK_NO_MAP(EINVAL, NULL, PAGE, RW, 0, file, 0);
        CHECK_NO_MAP(EINVAL, NULL, PAGE, RW, MAP_ANONYMOUS | 0xf, -1, 0);
        CHECK_NO_MAP(EINVAL, NULL, PAGE, RW, 4, file, 0);
    }
    ROW("mmap", "EINVAL", "MAP_GROWSDOWN of what is no private anonymous memory") {
        int file = letters_file(1, NULL);
        CHECK_NO_MAP(EINVAL, NULL, PAGE, RW, SHARED | MAP_GROWSDOWN, -1, 0);
        CHECK_NO_MAP(EINVAL, NULL, PAGE, RW, MAP_PRIVATE | MAP_GROWSDOWN, file, 0);
    }
    ROW("mmap", "ENODEV", "what is behind the descriptor cannot be mapped") {
        int ends[2], folder = open("/tmp", O_RDONLY), text = open("/proc/self/status", O_RDONLY);
        CHECK(pipe(ends) == 0 && folder >= 0 && text >= 0);
        CHECK_NO_MAP(ENODEV, NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0);
        CHECK_NO_MAP(ENODEV, NULL, PAGE, PROT_READ, MAP_PRIVATE, folder, 0);
        CHECK_NO_MAP(ENODEV, NULL, PAGE, PROT_READ, MAP_SHARED, text, 0);
    }
    ROW("mmap", "EOVERFLOW", "past what a file can hold") {
        int file = letters_file(1, NULL);
        CHECK_NO_MAP(EOVERFLOW, NULL, 2 * PAGE, PROT_READ, MAP_SHARED, file, 0x7ffffffffffff000);
        CHECK_NO_MAP(EOVERFLOW, NULL, PAGE, PROT_READ, MAP_PRIVATE, file, (off_t)0xfffffffffffff000);
        CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0x7fffffffffffe000) != MAP_FAILED);
    }
    ROW("mmap", "EOPNOTSUPP", "MAP_SHARED_VALIDATE and a flag that is not known") {
        int file = letters_file(1, NULL);
        CHECK_NO_MAP(EOPNOTSUPP, NULL, PAGE, RW, MAP_SHARED_VALIDATE | 0x1000000, file, 0);
        CHECK_NO_MAP(EOPNOTSUPP, NULL, PAGE, RW, MAP_SHARED_VALIDATE | 0x200000, file, 0);
    }
    ROW("mmap", "EOPNOTSUPP", "the flags that MAP_SHARED_VALIDATE knows, bit by bit") {
        int file = letters_file(1, NULL);
        unsigned not_known = 0;
        for (int bit = 4; bit < 32; bit++) {
            int flags = (int)(MAP_SHARED_VALIDATE | 1u << bit);
            if (mmap(room(1), PAGE, PROT_READ, flags, file, 0) == MAP_FAILED && errno == EOPNOTSUPP)
                not_known |= 1u << bit;
        }
        CHECK(not_known == 0x83f806c0);
    }
    ROW("mmap", "EOPNOTSUPP", "MAP_SYNC of a file that is not persistent memory") {
        int file = letters_file(1, NULL);
        CHECK_NO_MAP(EOPNOTSUPP, NULL, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, file, 0);
    }
}

static void shortage(void) {
    ROW("mmap", "ENOMEM", "more than the machine has") {
        CHECK_NO_MAP(ENOMEM, NULL, 64 * 1024 * MB, RW, PRIVATE, -1, 0);
        CHECK_NO_MAP(ENOMEM, NULL, 64 * 1024 * MB, RW, SHARED, -1, 0);
        CHECK(mmap(NULL, 64 * 1024 * MB, PROT_READ, PRIVATE, -1, 0) != MAP_FAILED); /* nothing is promised */
    }
    ROW("mmap", "ENOMEM", "too many mappings") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_NO_MAP(ENOMEM, NULL, PAGE, PROT_READ, SHARED, -1, 0);
        CHECK_NO_MAP(ENOMEM, at + 2 * PAGE, PAGE, PROT_EXEC, PRIVATE | MAP_FIXED, -1, 0);
        CHECK(munmap(at, 4 * PAGE) == 0 && mmap(NULL, PAGE, PROT_READ, SHARED, -1, 0) != MAP_FAILED);
    }
    ROW("mmap", "ENOMEM", "RLIMIT_DATA") {
        set_limit(RLIMIT_DATA, 64 * MB);
        CHECK(mmap(NULL, 32 * MB, RW, PRIVATE, -1, 0) != MAP_FAILED);
        CHECK_NO_MAP(ENOMEM, NULL, 32 * MB, RW, PRIVATE, -1, 0);
        CHECK(mmap(NULL, 128 * MB, PROT_READ, PRIVATE, -1, 0) != MAP_FAILED);
        CHECK(mmap(NULL, 128 * MB, RW, SHARED, -1, 0) != MAP_FAILED);
    }
    ROW("mmap", "ENOMEM", "RLIMIT_AS") {
        set_limit(RLIMIT_AS, 256 * MB);
        CHECK_NO_MAP(ENOMEM, NULL, 256 * MB, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
        char *at = mmap(NULL, 128 * MB, PROT_NONE, PRIVATE, -1, 0);
        CHECK(at != MAP_FAILED);
        /* What is replaced counts no more. */
        CHECK(mmap(at, 128 * MB, PROT_READ, PRIVATE | MAP_FIXED, -1, 0) == at);
    }
    ROW("mmap", "ENOMEM", "addresses past those of a program") {
        CHECK_NO_MAP(ENOMEM, (char *)(-4096l), PAGE, RW, PRIVATE | MAP_FIXED, -1, 0);
        CHECK_NO_MAP(ENOMEM, NULL, 1ul << 62, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
        CHECK_NO_MAP(ENOMEM, (char *)(1ul << 56), PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
    }
    ROW("mmap", "ENOMEM", "a length that wraps when it is rounded up") {
        CHECK_NO_MAP(ENOMEM, NULL, -1ul, RW, PRIVATE, -1, 0);
        CHECK_NO_MAP(ENOMEM, room(1), -4095l, RW, PRIVATE | MAP_FIXED, -1, 0);
    }
}

void mmap_errnos(void) {
    access_errors();
    argument_errors();
    shortage();
}
