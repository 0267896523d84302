/* munmap(2) and mprotect(2). */
#include "family.h"

void munmap_rows(void) {
    ROW("munmap", "SIGSEGV", "what was unmapped is gone, to the page, and the rest stays") {
        char *at = letters(5);
        CHECK(munmap(at + PAGE, 2 * PAGE + 1) == 0);
        CHECK(mappings(at, 5) == 2 && at[0] == 'a' && at[4 * PAGE] == 'e');
        CHECK_FAULT(can_read, at + PAGE, SIGSEGV, SEGV_MAPERR);
        CHECK_FAULT(can_write, at + 4 * PAGE - 1, SIGSEGV, SEGV_MAPERR);
    }
    ROW("munmap", "SIGSEGV", "where nothing is mapped it is no error, and several mappings go at once") {
        char *at = room(8);
        CHECK(munmap(at, 8 * PAGE) == 0);
        CHECK(mmap(at + PAGE, PAGE, RW, PRIVATE | MAP_FIXED, -1, 0) == at + PAGE);
        CHECK(mmap(at + 5 * PAGE, 2 * PAGE, PROT_READ, SHARED | MAP_FIXED, -1, 0) == at + 5 * PAGE);
        CHECK(munmap(at, 6 * PAGE) == 0 && mappings(at, 8) == 1 && can_read(at + 6 * PAGE));
        CHECK_FAULT(can_read, at + PAGE, SIGSEGV, SEGV_MAPERR);
    }
    ROW("munmap", "EINVAL", "not at a page") {
        char *at = letters(1);
        CHECK_ERRNO(munmap(at + 1, PAGE), EINVAL);
        CHECK(*at == 'a');
    }
    ROW("munmap", "EINVAL", "length 0") {
        CHECK_ERRNO(munmap(letters(1), 0), EINVAL);
        CHECK_ERRNO(munmap(room(1), 0), EINVAL);
    }
    ROW("munmap", "EINVAL", "past the addresses of a program") {
        CHECK_ERRNO(munmap((char *)-4096l, PAGE), EINVAL);
        CHECK_ERRNO(munmap(letters(1), -1ul), EINVAL);
        CHECK_ERRNO(munmap((char *)PAGE, 1ul << 62), EINVAL);
    }
    ROW("munmap", "ENOMEM", "in the middle of a mapping, of which there are too many already") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_ERRNO(munmap(at + PAGE, PAGE), ENOMEM);
        CHECK(at[PAGE] == 'b');
        CHECK(munmap(at + 3 * PAGE, PAGE) == 0 && munmap(at, PAGE) == 0);
        CHECK(at[PAGE] == 'b' && mappings(at, 4) == 1);
    }
}

static void protections(void) {
    ROW("mprotect", "PROT_NONE", "no access works, and what was there is kept") {
        char *at = letters(3);
        CHECK(mprotect(at + PAGE, PAGE, PROT_NONE) == 0 && mappings(at, 3) == 3);
        CHECK_FAULT(can_read, at + PAGE, SIGSEGV, SEGV_ACCERR);
        CHECK_FAULT(can_write, at + 2 * PAGE - 1, SIGSEGV, SEGV_ACCERR);
        CHECK(at[0] == 'a' && at[2 * PAGE] == 'c');
        CHECK(mprotect(at + PAGE, PAGE, RW) == 0 && at[PAGE] == 'b' && mappings(at, 3) == 1);
    }
    ROW("mprotect", "PROT_READ", "loads work, stores do not") {
        char *at = letters(1);
        CHECK(mprotect(at, PAGE, PROT_READ) == 0 && *at == 'a');
        CHECK_FAULT(can_write, at, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mprotect", "PROT_WRITE", "stores work, into a private copy where the page is shared") {
        int file = letters_file(1, NULL);
        char byte, *at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
        CHECK(at != MAP_FAILED && *at == 'a' && mprotect(at, PAGE, PROT_WRITE) == 0);
        CHECK(can_write(at) && *at == 'w' && pread(file, &byte, 1, 0) == 1 && byte == 'a');
    }
    ROW("mprotect", "PROT_EXEC", "code runs, then no more") {
        char *at = memory(1);
        put_code(at);
        CHECK(mprotect(at, PAGE, PROT_READ | PROT_EXEC) == 0 && can_run(at));
        CHECK_FAULT(can_write, at, SIGSEGV, SEGV_ACCERR);
        CHECK(mprotect(at, PAGE, PROT_READ) == 0);
        CHECK_FAULT(can_run, at, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mprotect", "PROT_SEM", "taken, and without effect") {
        char *at = letters(1);
        CHECK(mprotect(at, PAGE, PROT_READ | PROT_SEM) == 0 && !strcmp(rights(at), "r--p"));
        CHECK(mprotect(at, PAGE, RW | PROT_SEM) == 0 && can_write(at));
    }
    ROW("mprotect", "PROT_SAO", "no flag of this architecture: EINVAL") {
        const int PROT_SAO = 0x10;
        CHECK_ERRNO(mprotect(letters(1), PAGE, PROT_READ | PROT_SAO), EINVAL);
    }
    ROW("mprotect", "PROT_GROWSDOWN", "from the mapping's start on") {
        char *at = room(8);
        CHECK(mmap(at, 8 * PAGE, RW, PRIVATE | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == at);
        CHECK(mprotect(at + 5 * PAGE, PAGE, PROT_READ | PROT_GROWSDOWN) == 0);
        CHECK(end_of(at) == at + 6 * PAGE && !strcmp(rights(at), "r--p") && !strcmp(rights(at + 6 * PAGE), "rw-p"));
    }
    ROW("mprotect", "PROT_GROWSDOWN", "of what does not grow it is EINVAL, of nothing ENOMEM") {
        CHECK_ERRNO(mprotect(letters(2), PAGE, PROT_READ | PROT_GROWSDOWN), EINVAL);
        CHECK_ERRNO(mprotect(room(1), PAGE, PROT_READ | PROT_GROWSDOWN), ENOMEM);
    }
    ROW("mprotect", "PROT_GROWSUP", "nothing grows up here: EINVAL") {
        CHECK_ERRNO(mprotect(letters(1), PAGE, PROT_READ | PROT_GROWSUP), EINVAL);
        CHECK_ERRNO(mprotect(room(1), PAGE, PROT_READ | PROT_GROWSUP), ENOMEM);
    }
}

static void errors(void) {
    ROW("mprotect", "EACCES", "a shared mapping of a file that is not open for writing") {
        char name[32];
        letters_file(1, name);
        int file = open(name, O_RDONLY);
        char *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
        CHECK(at != MAP_FAILED && unlink(name) == 0);
        CHECK_ERRNO(mprotect(at, PAGE, PROT_WRITE), EACCES);
        CHECK(!strcmp(rights(at), "r--s"));
    }
    ROW("mprotect", "EACCES", "what comes before it is changed") {
        char name[32], *at = letters(3);
        letters_file(1, name);
        int file = open(name, O_RDONLY);
        CHECK(mmap(at + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == at + PAGE && unlink(name) == 0);
        CHECK_ERRNO(mprotect(at, 3 * PAGE, PROT_WRITE), EACCES);
        CHECK(!strcmp(rights(at), "-w-p") && !strcmp(rights(at + PAGE), "r--s"));
        CHECK(!strcmp(rights(at + 2 * PAGE), "rw-p"));
    }
    ROW("mprotect", "EINVAL", "not at a page") {
        CHECK_ERRNO(mprotect(letters(1) + 1, PAGE, PROT_READ), EINVAL);
        CHECK_ERRNO(mprotect((char *)1, 0, PROT_READ), EINVAL);
    }
    ROW("mprotect", "EINVAL", "PROT_GROWSDOWN and PROT_GROWSUP") {
        CHECK_ERRNO(mprotect(letters(1), PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP), EINVAL);
        CHECK_ERRNO(mprotect((char *)1, PAGE, PROT_GROWSDOWN | PROT_GROWSUP), EINVAL);
    }
    ROW("mprotect", "EINVAL", "flags that are none") {
        CHECK_ERRNO(mprotect(letters(1), PAGE, PROT_READ | 0x10), EINVAL);
        CHECK_ERRNO(mprotect(letters(1), PAGE, 0x800000), EINVAL);
        /* Of no bytes they are not looked at. */
        CHECK(mprotect(letters(1), 0, 0x800000) == 0);
    }
    ROW("mprotect", "ENOMEM", "a hole, up to which all is changed") {
        char *at = letters(4);
        CHECK(munmap(at + 2 * PAGE, PAGE) == 0);
        CHECK_ERRNO(mprotect(at, 4 * PAGE, PROT_READ), ENOMEM);
        CHECK(!strcmp(rights(at + PAGE), "r--p") && !strcmp(rights(at + 3 * PAGE), "rw-p"));
        CHECK_ERRNO(mprotect(at + 2 * PAGE, 2 * PAGE, PROT_READ), ENOMEM);
        CHECK(!strcmp(rights(at + 3 * PAGE), "rw-p"));
    }
    ROW("mprotect", "ENOMEM", "addresses past those of a program, or a length that wraps") {
        CHECK_ERRNO(mprotect((char *)-4096l, PAGE, PROT_READ), ENOMEM);
        CHECK_ERRNO(mprotect((char *)-8192l, 3 * PAGE, PROT_READ), ENOMEM);
        CHECK_ERRNO(mprotect(letters(1), -PAGE, PROT_READ), ENOMEM);
    }
    ROW("mprotect", "ENOMEM", "more would be promised than the machine has") {
        const size_t bytes = 64 * 1024 * MB;
        char *at = mmap(NULL, bytes, PROT_READ, PRIVATE, -1, 0);
        CHECK(at != MAP_FAILED);
        CHECK_ERRNO(mprotect(at, bytes, RW), ENOMEM);
        CHECK(mprotect(at, bytes, PROT_NONE) == 0);
    }
    ROW("mprotect", "ENOMEM", "RLIMIT_DATA") {
        char *at = mmap(NULL, 128 * MB, PROT_READ, PRIVATE, -1, 0);
        set_limit(RLIMIT_DATA, 64 * MB);
        CHECK_ERRNO(mprotect(at, 128 * MB, RW), ENOMEM);
        CHECK(mprotect(at, 16 * MB, RW) == 0);
    }
    ROW("mprotect", "ENOMEM", "too many mappings") {
        char *at = letters(4);
        exhaust_mappings();
        CHECK_ERRNO(mprotect(at + PAGE, PAGE, PROT_READ), ENOMEM);
        CHECK(can_write(at + PAGE) && mprotect(at, 4 * PAGE, PROT_READ) == 0);
    }
}

void mprotect_rows(void) {
    protections();
    errors();
}
