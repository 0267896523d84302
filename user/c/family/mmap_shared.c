/* mmap(2): whose the memory is, what is behind it, and the signals of what is not. */
#include "family.h"

static void whose(void) {
    ROW("mmap", "MAP_SHARED", "a store reaches the file and whoever maps it") {
        int file = letters_file(2, NULL);
        char *one = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, file, 0), *other = shared_file(file, 2), byte;
        CHECK(one != MAP_FAILED);
        one[PAGE] = 'X';
        CHECK(other[PAGE] == 'X' && pread(file, &byte, 1, PAGE) == 1 && byte == 'X');
        CHECK(pwrite(file, "Y", 1, 0) == 1 && one[0] == 'Y');
        CHECK(!strcmp(rights(one), "rw-s"));
    }
    ROW("mmap", "MAP_SHARED", "anonymous memory is one for parent and child") {
        char *at = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED && at[PAGE] == 0);
        pid_t pid = fork();
        if (pid == 0) {
            at[0] = 'c';
            at[PAGE] = 'd';
            _exit(0);
        }
        CHECK(status_of(pid) == 0 && at[0] == 'c' && at[PAGE] == 'd');
    }
    ROW("mmap", "MAP_SHARED", "flags that are not known are ignored") {
        char *at = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | 0x1000000, -1, 0);
        CHECK(at != MAP_FAILED && can_write(at));
    }
    ROW("mmap", "MAP_SHARED", "a file that can only be read is mapped, and stays so") {
        char name[32];
        letters_file(1, name);
        int file = open(name, O_RDONLY);
        char *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
        CHECK(at != MAP_FAILED && *at == 'a' && !strcmp(rights(at), "r--s"));
        CHECK_ERRNO(mprotect(at, PAGE, RW), EACCES);
        unlink(name);
    }
    ROW("mmap", "MAP_SHARED_VALIDATE", "as MAP_SHARED") {
        int file = letters_file(1, NULL);
        char byte, *at = mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE, file, 0);
        CHECK(at != MAP_FAILED && !strcmp(rights(at), "rw-s"));
        *at = 'V';
        CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'V');
    }
    ROW("mmap", "MAP_SHARED_VALIDATE", "of no use without a file") {
        CHECK(mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
    }
    ROW("mmap", "MAP_PRIVATE", "stores stay here, the file's changes come until then") {
        int file = letters_file(2, NULL);
        char byte, *at = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, file, 0);
        CHECK(at != MAP_FAILED && *at == 'a' && at[PAGE] == 'b');
        *at = 'P';
        CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'a');
        CHECK(pwrite(file, "fF", 2, PAGE - 1) == 2 && *at == 'P' && at[PAGE] == 'F' && at[PAGE - 1] == 0);
    }
    ROW("mmap", "MAP_PRIVATE", "a child has a copy") {
        char *at = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED);
        at[0] = 'a', at[PAGE] = 'b';
        pid_t pid = fork();
        if (pid == 0) {
            at[0] = 'C';
            _exit(at[PAGE] != 'b');
        }
        CHECK(status_of(pid) == 0 && at[0] == 'a');
    }
    ROW("mmap", "MAP_ANONYMOUS", "zeroes, whatever the descriptor") {
        char *at = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, 99, 0);
        CHECK(at != MAP_FAILED && at[0] == 0 && at[2 * PAGE - 1] == 0);
    }
    ROW("mmap", "MAP_ANON", "the same") {
        char *at = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANON, -1, PAGE);
        CHECK(at != MAP_FAILED && *at == 0 && MAP_ANON == MAP_ANONYMOUS);
    }
    ROW("mmap", "MAP_DENYWRITE", "ignored: the file can be written") {
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_DENYWRITE, file, 0);
        CHECK(at != MAP_FAILED && pwrite(file, "w", 1, 0) == 1 && *at == 'w');
    }
    ROW("mmap", "MAP_EXECUTABLE", "ignored: nothing runs there") {
        char *at = mmap(NULL, PAGE, RW, PRIVATE | MAP_EXECUTABLE, -1, 0);
        CHECK(at != MAP_FAILED && !strcmp(rights(at), "rw-p"));
        put_code(at);
        CHECK_FAULT(can_run, at, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mmap", "MAP_FILE", "nothing at all") {
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, PAGE, RW, MAP_FILE | MAP_PRIVATE, file, 0);
        CHECK(MAP_FILE == 0 && at != MAP_FAILED && *at == 'a');
    }
    ROW("mmap", "MAP_UNINITIALIZED", "ignored: a page that another had is zero") {
        for (int round = 0; round < 8; round++) {
            char *at = mmap(NULL, 16 * PAGE, RW, PRIVATE | MAP_UNINITIALIZED, -1, 0);
            CHECK(at != MAP_FAILED);
            for (size_t byte = 0; byte < 16 * PAGE; byte++)
                CHECK(at[byte] == 0);
            memset(at, 'u', 16 * PAGE);
            CHECK(munmap(at, 16 * PAGE) == 0);
        }
    }
    ROW("mmap", "MAP_SYNC", "MAP_SHARED ignores it") {
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_SYNC, file, 0);
        CHECK(at != MAP_FAILED && *at == 'a');
    }
}

static void signals(void) {
    ROW("mmap", "SIGSEGV", "a store where only loads are allowed, in a file too") {
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
        CHECK(at != MAP_FAILED && can_read(at));
        CHECK_FAULT(can_write, at + 77, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mmap", "SIGSEGV", "where nothing is mapped, the kernel's half and address 0 included") {
        CHECK_FAULT(can_read, room(1) + 3, SIGSEGV, SEGV_MAPERR);
        CHECK_FAULT(can_write, (char *)16, SIGSEGV, SEGV_MAPERR);
        CHECK_FAULT(can_read, (char *)-4096l, SIGSEGV, SEGV_MAPERR);
    }
    ROW("mmap", "SIGBUS", "past the end of the file, loads and stores, shared and private") {
        int file = letters_file(2, NULL);
        CHECK(ftruncate(file, PAGE + 100) == 0);
        char *shared = shared_file(file, 4), *private = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, file, 0);
        CHECK(private != MAP_FAILED);
        CHECK(can_read(shared + PAGE) && shared[PAGE] == 'b' && can_write(private + 2 * PAGE - 1));
        CHECK_FAULT(can_read, shared + 2 * PAGE + 9, SIGBUS, BUS_ADRERR);
        CHECK_FAULT(can_write, shared + 3 * PAGE, SIGBUS, BUS_ADRERR);
        CHECK_FAULT(can_write, private + 2 * PAGE, SIGBUS, BUS_ADRERR);
    }
    ROW("mmap", "SIGBUS", "pages that truncation took, private copies too") {
        int file = letters_file(3, NULL);
        char *shared = shared_file(file, 3), *private = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE, file, 0);
        CHECK(can_write(private + 2 * PAGE) && can_write(private) && can_read(shared + 2 * PAGE));
        CHECK(ftruncate(file, PAGE) == 0);
        CHECK_FAULT(can_read, private + 2 * PAGE, SIGBUS, BUS_ADRERR);
        CHECK_FAULT(can_read, shared + PAGE, SIGBUS, BUS_ADRERR);
        CHECK(private[0] == 'w' && shared[0] == 'a');
        CHECK(ftruncate(file, 3 * PAGE) == 0 && shared[2 * PAGE] == 0 && private[2 * PAGE] == 0);
    }
    ROW("mmap", "SIGBUS", "not within the last page, whose rest is zero") {
        int file = letters_file(1, NULL);
        CHECK(ftruncate(file, 1) == 0);
        char *at = shared_file(file, 1);
        CHECK(at[0] == 'a' && at[1] == 0 && can_read(at + PAGE - 1) && at[PAGE - 1] == 0);
        char *longer = shared_file(file, 2);
        CHECK_FAULT(can_read, longer + PAGE, SIGBUS, BUS_ADRERR);
    }
}

void mmap_shared(void) {
    whose();
    signals();
}
