/* mmap(2): what prot says, and the flags that are about place, locks and when pages come. */
#include "family.h"

static char *map(void *at, size_t pages, int prot, int flags) {
    return mmap(at, pages * PAGE, prot, flags, -1, 0);
}

static void protections(void) {
    ROW("mmap", "PROT_EXEC", "code runs there, and nowhere else") {
        char *code = map(NULL, 1, RW | PROT_EXEC, PRIVATE), *data = memory(1);
        put_code(code), put_code(data);
        CHECK(can_run(code));
        CHECK_FAULT(can_run, data, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mmap", "PROT_EXEC", "alone it can neither be read nor written") {
        char *at = map(NULL, 1, PROT_EXEC, PRIVATE);
        CHECK(!strcmp(rights(at), "--xp"));
        CHECK_FAULT(can_read, at, SIGSEGV, SEGV_ACCERR);
        CHECK_FAULT(can_write, at, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mmap", "PROT_READ", "loads work, stores do not") {
        char *at = map(NULL, 1, PROT_READ, PRIVATE);
        CHECK(can_read(at) && *at == 0);
        CHECK_FAULT(can_write, at + 5, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mmap", "PROT_WRITE", "stores work, and loads, which no page of this architecture forbids then") {
        char *at = map(NULL, 2, PROT_WRITE, PRIVATE);
        CHECK(!strcmp(rights(at), "-w-p"));
        CHECK(can_write(at) && can_read(at) && *at == 'w' && can_read(at + PAGE));
    }
    ROW("mmap", "PROT_NONE", "no access works") {
        char *at = map(NULL, 1, PROT_NONE, PRIVATE);
        CHECK(!strcmp(rights(at), "---p"));
        CHECK_FAULT(can_read, at, SIGSEGV, SEGV_ACCERR);
        CHECK_FAULT(can_write, at, SIGSEGV, SEGV_ACCERR);
        CHECK_FAULT(can_run, at, SIGSEGV, SEGV_ACCERR);
    }
}

static void places(void) {
    ROW("mmap", "MAP_FIXED", "it is just there, and what was there is gone") {
        char *at = letters(4);
        CHECK(map(at + PAGE, 2, PROT_READ, PRIVATE | MAP_FIXED) == at + PAGE);
        CHECK(at[0] == 'a' && at[PAGE] == 0 && at[2 * PAGE] == 0 && at[3 * PAGE] == 'd');
        CHECK(mappings(at, 4) == 3);
    }
    ROW("mmap", "MAP_FIXED", "without it an address is a hint, rounded to a page") {
        char *at = room(2);
        CHECK(map(at + 5, 1, RW, PRIVATE) == at);
        char *elsewhere = map(at, 1, RW, PRIVATE);
        CHECK(elsewhere != MAP_FAILED && elsewhere != at);
        CHECK(map(at, 1, RW, PRIVATE | MAP_FIXED) == at);
    }
    ROW("mmap", "MAP_FIXED_NOREPLACE", "where nothing is, it is just there") {
        char *at = room(2);
        CHECK(map(at, 2, RW, PRIVATE | MAP_FIXED_NOREPLACE) == at);
        CHECK(can_write(at + PAGE));
    }
    ROW("mmap", "MAP_GROWSDOWN", "an access below makes it grow to there") {
        char *at = room(64) + 60 * PAGE;
        CHECK(map(at, 1, RW, PRIVATE | MAP_GROWSDOWN | MAP_FIXED) == at);
        CHECK(can_write(at - 1) && start_of(at) == at - PAGE);
        CHECK(can_read(at - 20 * PAGE) && start_of(at) == at - 20 * PAGE && end_of(at) == at + PAGE);
    }
    ROW("mmap", "MAP_GROWSDOWN", "256 pages above another mapping it grows no further") {
        char *below = room(800), *at = below + 700 * PAGE;
        CHECK(map(below, 1, RW, PRIVATE | MAP_FIXED) == below);
        CHECK(map(at, 1, RW, PRIVATE | MAP_GROWSDOWN | MAP_FIXED) == at);
        CHECK(can_write(below + 257 * PAGE) && start_of(at) == below + 257 * PAGE);
        CHECK_FAULT(can_write, below + 257 * PAGE - 1, SIGSEGV, SEGV_MAPERR);
        CHECK_FAULT(can_read, below + PAGE, SIGSEGV, SEGV_MAPERR);
    }
    ROW("mmap", "MAP_GROWSDOWN", "one without rights below does not keep it away") {
        char *below = room(800), *at = below + 10 * PAGE;
        CHECK(map(below, 1, PROT_NONE, PRIVATE | MAP_FIXED) == below);
        CHECK(map(at, 1, RW, PRIVATE | MAP_GROWSDOWN | MAP_FIXED) == at);
        CHECK(can_write(below + PAGE) && start_of(at) == below + PAGE);
        CHECK_FAULT(can_write, below + PAGE - 1, SIGSEGV, SEGV_ACCERR);
    }
    ROW("mmap", "MAP_GROWSDOWN", "other mappings are not placed in its gap") {
        char *at = room(800) + 700 * PAGE;
        CHECK(map(at, 1, RW, PRIVATE | MAP_GROWSDOWN | MAP_FIXED) == at);
        char *near = map(at - 255 * PAGE, 1, RW, PRIVATE), *far = map(at - 257 * PAGE, 1, RW, PRIVATE);
        CHECK(near != at - 255 * PAGE && far == at - 257 * PAGE);
    }
    ROW("mmap", "MAP_GROWSDOWN", "its flag is shown") {
        char *at = map(NULL, 1, RW, PRIVATE | MAP_GROWSDOWN);
        CHECK(at != MAP_FAILED && has_flag(at, "gd") && !has_flag(memory(1), "gd"));
    }
    ROW("mmap", "MAP_STACK", "a mapping like others, that huge pages stay out of") {
        char *at = map(NULL, 4, RW, PRIVATE | MAP_STACK);
        CHECK(at != MAP_FAILED && can_write(at) && !strcmp(rights(at), "rw-p"));
        CHECK(has_flag(at, "nh"));
    }
}

static void when(void) {
    ROW("mmap", "MAP_LOCKED", "pages are there and stay, as VmLck says") {
        char *at = map(NULL, 8, RW, PRIVATE | MAP_LOCKED);
        CHECK(at != MAP_FAILED && resident(at, 8) == 8 && status_kb("VmLck") == 32);
        CHECK(has_flag(at, "lo"));
        CHECK_ERRNO(madvise(at, PAGE, MADV_DONTNEED), EINVAL);
        CHECK(munmap(at, 8 * PAGE) == 0 && status_kb("VmLck") == 0);
    }
    ROW("mmap", "MAP_LOCKED", "pages that cannot be had are no failure") {
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED | MAP_LOCKED, file, 0);
        CHECK(at != MAP_FAILED && resident(at, 1) == 1 && status_kb("VmLck") == 16);
        CHECK_FAULT(can_read, at + PAGE, SIGBUS, BUS_ADRERR);
    }
    ROW("mmap", "MAP_POPULATE", "pages are there before they are touched") {
        char *at = map(NULL, 8, RW, PRIVATE | MAP_POPULATE), *lazy = memory(8);
        CHECK(resident(at, 8) == 8 && resident(lazy, 8) == 0);
        CHECK(at[7 * PAGE] == 0);
    }
    ROW("mmap", "MAP_POPULATE", "read-only memory has the zero page, which is resident") {
        long before = status_kb("RssAnon");
        char *at = map(NULL, 64, PROT_READ, PRIVATE | MAP_POPULATE);
        CHECK(resident(at, 64) == 64 && status_kb("RssAnon") < before + 128);
    }
    ROW("mmap", "MAP_POPULATE", "a file's pages are mapped, so that no access faults") {
        int file = letters_file(64, NULL);
        char *at = mmap(NULL, 64 * PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
        CHECK(at != MAP_FAILED && faults_of(at, 64, false) < 4);
        CHECK(status_kb("RssShmem") >= 256);
    }
    ROW("mmap", "MAP_POPULATE", "a mapping that nobody may touch is no failure") {
        char *at = map(NULL, 8, PROT_NONE, PRIVATE | MAP_POPULATE);
        CHECK(at != MAP_FAILED && resident(at, 8) == 0);
    }
    ROW("mmap", "MAP_NONBLOCK", "with MAP_POPULATE nothing is populated") {
        char *at = map(NULL, 8, RW, PRIVATE | MAP_POPULATE | MAP_NONBLOCK);
        CHECK(at != MAP_FAILED && resident(at, 8) == 0);
    }
    ROW("mmap", "MAP_NORESERVE", "more than the machine has can be mapped") {
        const size_t pages = 64 * 1024 * MB / PAGE;
        CHECK(map(NULL, pages, RW, PRIVATE) == MAP_FAILED && errno == ENOMEM);
        char *at = map(NULL, pages, RW, PRIVATE | MAP_NORESERVE);
        CHECK(at != MAP_FAILED && can_write(at) && can_write(at + (pages - 1) * PAGE));
    }
    ROW("mmap", "MAP_NORESERVE", "it is not counted as committed") {
        long before = meminfo("Committed_AS");
        char *free = map(NULL, 16384, RW, PRIVATE | MAP_NORESERVE);
        long between = meminfo("Committed_AS");
        char *counted = map(NULL, 16384, RW, PRIVATE);
        CHECK(free != MAP_FAILED && counted != MAP_FAILED && has_flag(free, "nr"));
        CHECK(between - before < 32768 && meminfo("Committed_AS") - between > 32768);
    }
    ROW("mmap", "MAP_HUGETLB", "the pool is empty") {
        CHECK(map(NULL, 512, RW, PRIVATE | MAP_HUGETLB) == MAP_FAILED && errno == ENOMEM);
        become_nobody();
        CHECK(map(NULL, 512, RW, SHARED | MAP_HUGETLB) == MAP_FAILED && errno == ENOMEM);
    }
    ROW("mmap", "MAP_HUGETLB", "a file that is not of the pool cannot be mapped so") {
        int file = letters_file(1, NULL);
        CHECK(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_HUGETLB, file, 0) == MAP_FAILED && errno == EINVAL);
    }
    ROW("mmap", "MAP_HUGE_2MB", "the pool of that size is empty") {
        int flags = PRIVATE | MAP_HUGETLB | MAP_HUGE_2MB;
        CHECK(map(NULL, 512, RW, flags) == MAP_FAILED && errno == ENOMEM);
    }
    ROW("mmap", "MAP_HUGE_2MB", "there is no pool of a size that is none") {
        int flags = PRIVATE | MAP_HUGETLB | (MAP_HUGE_2MB + (1 << MAP_HUGE_SHIFT));
        CHECK(map(NULL, 1024, RW, flags) == MAP_FAILED && errno == EINVAL);
    }
    ROW("mmap", "MAP_HUGE_1GB", "the pool of that size is empty") {
        int flags = PRIVATE | MAP_HUGETLB | MAP_HUGE_1GB;
        CHECK(map(NULL, 262144, RW, flags) == MAP_FAILED && errno == ENOMEM);
    }
}

void mmap_flags(void) {
    protections();
    places();
    when();
}
