/* madvise(2): what each piece of advice does. */
#include "family.h"
#include <sys/auxv.h>
#include <sys/stat.h>

/* What is not built, and what Linux says to it where it is configured so. */
static void not_built(void) {
    ROW("madvise", "MADV_HWPOISON", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_HWPOISON), EINVAL);
    }
    ROW("madvise", "MADV_SOFT_OFFLINE", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_SOFT_OFFLINE), EINVAL);
    }
    RUX_ROW("madvise", "MADV_MERGEABLE", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_MERGEABLE), EINVAL);
    }
    RUX_ROW("madvise", "MADV_UNMERGEABLE", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_UNMERGEABLE), EINVAL);
    }
    RUX_ROW("madvise", "MADV_HUGEPAGE", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_HUGEPAGE), EINVAL);
    }
    RUX_ROW("madvise", "MADV_NOHUGEPAGE", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_NOHUGEPAGE), EINVAL);
    }
    RUX_ROW("madvise", "MADV_COLLAPSE", "not built: EINVAL") {
        CHECK_ERRNO(madvise(letters(1), PAGE, MADV_COLLAPSE), EINVAL);
    }
}

static void flags(void) {
    ROW("madvise", "MADV_RANDOM", "its flag is shown, and splits the mapping") {
        char *at = letters(3);
        CHECK(madvise(at + PAGE, PAGE, MADV_RANDOM) == 0 && has_flag(at + PAGE, "rr") && !has_flag(at, "rr"));
        CHECK(mappings(at, 3) == 3 && at[PAGE] == 'b');
    }
    ROW("madvise", "MADV_SEQUENTIAL", "its flag is shown, and takes the other's place") {
        char *at = letters(1);
        CHECK(madvise(at, PAGE, MADV_RANDOM) == 0 && madvise(at, PAGE, MADV_SEQUENTIAL) == 0);
        CHECK(has_flag(at, "sr") && !has_flag(at, "rr"));
    }
    ROW("madvise", "MADV_NORMAL", "both flags go, and the mapping is one again") {
        char *at = letters(3);
        CHECK(madvise(at, PAGE, MADV_RANDOM) == 0 && madvise(at + PAGE, PAGE, MADV_SEQUENTIAL) == 0);
        CHECK(mappings(at, 3) == 3 && madvise(at, 3 * PAGE, MADV_NORMAL) == 0);
        CHECK(mappings(at, 3) == 1 && !has_flag(at, "rr") && !has_flag(at, "sr"));
    }
    ROW("madvise", "MADV_DONTDUMP", "its flag is shown") {
        char *at = letters(1);
        CHECK(!has_flag(at, "dd") && madvise(at, PAGE, MADV_DONTDUMP) == 0 && has_flag(at, "dd") && *at == 'a');
    }
    ROW("madvise", "MADV_DODUMP", "the flag goes; not for the kernel's mappings") {
        char *at = letters(1), *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
        CHECK(madvise(at, PAGE, MADV_DONTDUMP) == 0 && madvise(at, PAGE, MADV_DODUMP) == 0 && !has_flag(at, "dd"));
        CHECK_ERRNO(madvise(vdso, PAGE, MADV_DODUMP), EINVAL);
    }
    ROW("madvise", "MADV_WILLNEED", "taken, for memory and for files") {
        int file = letters_file(2, NULL);
        char *at = letters(2), *shared = shared_file(file, 2);
        CHECK(madvise(at, 2 * PAGE, MADV_WILLNEED) == 0 && at[PAGE] == 'b');
        CHECK(madvise(shared, 2 * PAGE, MADV_WILLNEED) == 0 && shared[PAGE] == 'b');
    }
}

static void pages(void) {
    ROW("madvise", "MADV_DONTNEED", "private memory is zero again") {
        char *at = letters(3);
        long before = status_kb("VmRSS");
        CHECK(madvise(at + PAGE, PAGE + 1, MADV_DONTNEED) == 0 && resident(at, 3) == 1);
        CHECK(status_kb("VmRSS") <= before - 8 && at[0] == 'a' && at[PAGE] == 0 && at[2 * PAGE] == 0);
    }
    ROW("madvise", "MADV_DONTNEED", "a private copy of a file's page goes, and the file shows") {
        int file = letters_file(1, NULL);
        char *at = mmap(NULL, PAGE, RW, MAP_PRIVATE, file, 0);
        CHECK(can_write(at) && *at == 'w' && madvise(at, PAGE, MADV_DONTNEED) == 0 && *at == 'a');
    }
    ROW("madvise", "MADV_DONTNEED", "shared memory keeps what was written") {
        char *at = mmap(NULL, 2 * PAGE, RW, SHARED, -1, 0);
        CHECK(can_write(at + PAGE) && madvise(at, 2 * PAGE, MADV_DONTNEED) == 0 && at[PAGE] == 'w');
    }
    ROW("madvise", "MADV_DONTNEED_LOCKED", "as MADV_DONTNEED, locked or not") {
        char *at = letters(2);
        CHECK(mlock(at, PAGE) == 0 && madvise(at, 2 * PAGE, MADV_DONTNEED_LOCKED) == 0);
        CHECK(at[0] == 0 && at[PAGE] == 0 && status_kb("VmLck") == 4);
    }
    ROW("madvise", "MADV_FREE", "what was there may be gone, what is written then stays") {
        char *at = letters(2);
        CHECK(madvise(at, 2 * PAGE, MADV_FREE) == 0);
        CHECK((at[0] == 'a' || at[0] == 0) && can_write(at + PAGE) && at[PAGE] == 'w');
    }
    ROW("madvise", "MADV_REMOVE", "shared pages are zero, in the file too, which has a hole there") {
        int file = letters_file(4, NULL);
        char byte = 'x', *at = shared_file(file, 4);
        struct stat before, after;
        CHECK(fstat(file, &before) == 0 && madvise(at + PAGE, 2 * PAGE, MADV_REMOVE) == 0);
        CHECK(at[0] == 'a' && at[PAGE] == 0 && at[2 * PAGE] == 0 && at[3 * PAGE] == 'd');
        CHECK(pread(file, &byte, 1, PAGE) == 1 && byte == 0 && fstat(file, &after) == 0);
        CHECK(after.st_size == before.st_size);
    }
    ROW("madvise", "MADV_REMOVE", "a hole takes no blocks") {
        int file = letters_file(4, NULL);
        char *at = shared_file(file, 4);
        struct stat before, after;
        CHECK(fstat(file, &before) == 0 && madvise(at, 3 * PAGE, MADV_REMOVE) == 0 && fstat(file, &after) == 0);
        CHECK(before.st_blocks == 32 && after.st_blocks == 8);
    }
    ROW("madvise", "MADV_REMOVE", "of shared anonymous memory, for a child too") {
        char *at = mmap(NULL, PAGE, RW, SHARED, -1, 0);
        CHECK(can_write(at));
        pid_t pid = fork();
        if (pid == 0)
            _exit(madvise(at, PAGE, MADV_REMOVE) != 0);
        CHECK(status_of(pid) == 0 && *at == 0);
    }
    ROW("madvise", "MADV_COLD", "nothing is lost") {
        int file = letters_file(2, NULL);
        char *at = letters(2), *shared = shared_file(file, 2);
        CHECK(shared[PAGE] == 'b' && madvise(shared, 2 * PAGE, MADV_COLD) == 0 && resident(shared, 2) == 2);
        CHECK(madvise(at, 2 * PAGE, MADV_COLD) == 0 && resident(at, 2) == 2 && at[PAGE] == 'b' && can_write(at));
    }
    ROW("madvise", "MADV_PAGEOUT", "without swap private memory stays") {
        char *at = letters(2);
        CHECK(madvise(at, 2 * PAGE, MADV_PAGEOUT) == 0 && resident(at, 2) == 2 && at[PAGE] == 'b' && can_write(at));
    }
    ROW("madvise", "MADV_PAGEOUT", "a file's pages that were never written leave memory, as mincore sees") {
        int file = letters_file(1, NULL);
        CHECK(ftruncate(file, 64 * PAGE) == 0);
        char *at = shared_file(file, 64);
        CHECK(madvise(at, 64 * PAGE, MADV_POPULATE_READ) == 0 && resident(at, 64) == 64);
        CHECK(madvise(at, 64 * PAGE, MADV_PAGEOUT) == 0 && resident(at, 64) == 1);
        CHECK(at[0] == 'a' && at[63 * PAGE] == 0);
    }
    ROW("madvise", "MADV_PAGEOUT", "written ones of memory's own files stay, and are mapped no more") {
        char *at = mmap(NULL, 64 * PAGE, RW, SHARED, -1, 0);
        CHECK(madvise(at, 64 * PAGE, MADV_POPULATE_WRITE) == 0 && faults_of(at, 64, true) < 16);
        long before = status_kb("RssShmem");
        CHECK(madvise(at, 64 * PAGE, MADV_PAGEOUT) == 0 && resident(at, 64) == 64);
        CHECK(status_kb("RssShmem") == before - 256 && at[PAGE] == 1);
    }
    ROW("madvise", "MADV_PAGEOUT", "not those that are mapped elsewhere, too") {
        int file = letters_file(1, NULL);
        CHECK(ftruncate(file, 8 * PAGE) == 0);
        char *at = shared_file(file, 8), byte;
        CHECK(madvise(at, 8 * PAGE, MADV_POPULATE_READ) == 0);
        char *twin = shared_file(file, 4);
        CHECK(madvise(twin, 4 * PAGE, MADV_POPULATE_READ) == 0 && madvise(at, 8 * PAGE, MADV_PAGEOUT) == 0);
        CHECK(resident(at, 8) == 4 && pread(file, &byte, 1, 0) == 1 && byte == 'a');
    }
    ROW("madvise", "MADV_POPULATE_READ", "all pages are there, private ones as the zero page") {
        char *at = memory(64);
        long before = status_kb("RssAnon");
        CHECK(madvise(at, 64 * PAGE, MADV_POPULATE_READ) == 0 && resident(at, 64) == 64);
        CHECK(status_kb("RssAnon") < before + 128);
    }
    ROW("madvise", "MADV_POPULATE_READ", "it makes pages of a file's hole, which no access faults on") {
        int file = letters_file(1, NULL);
        CHECK(ftruncate(file, 64 * PAGE) == 0);
        char *at = shared_file(file, 64);
        CHECK(madvise(at, 64 * PAGE, MADV_POPULATE_READ) == 0 && resident(at, 64) == 64);
        CHECK(faults_of(at, 64, false) < 16);
    }
    ROW("madvise", "MADV_POPULATE_WRITE", "all pages are there, to be written without a fault") {
        char *at = memory(64);
        CHECK(madvise(at, 64 * PAGE, MADV_POPULATE_WRITE) == 0 && resident(at, 64) == 64);
        CHECK(faults_of(at, 64, true) < 16 && faults_of(memory(64), 64, true) >= 64);
    }
}

void madvise_rows(void) {
    not_built();
    flags();
    pages();
}
