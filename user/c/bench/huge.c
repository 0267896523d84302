/* Huge pages, transparent and of the pool. */
#include "bench.h"

enum { ROUNDS = 200, POOL = 4 };

static const size_t HUGE = 2 * MB;

static long faults(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_minflt;
}

static void transparent(void) {
    /* An aligned place. */
    char *room = mmap(0, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED && munmap(room, 2 * HUGE) == 0);
    char *at = (char *)(((uintptr_t)room + HUGE - 1) & -HUGE);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    for (int pass = 0; pass < 6; pass++) {
        long before = faults();
        begin();
        for (int i = 0; i < ROUNDS; i++) {
            mmap(at, HUGE, PROT_READ | PROT_WRITE, flags, -1, 0);
            if (madvise(at, HUGE, MADV_HUGEPAGE) != 0)
                not_built(errno);
            touch(at, HUGE, PAGE);
            munmap(at, HUGE);
        }
        end(ROUNDS);
        /* One fault for each, and a few of our own. */
        if (faults() - before > 2 * ROUNDS)
            not_built(EOPNOTSUPP);
    }
}

static void of_the_pool(void) {
    int pool = open("/proc/sys/vm/nr_hugepages", O_WRONLY);
    NEEDS(pool);
    NEEDS(dprintf(pool, "%d\n", POOL));
    close(pool);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    for (int pass = 0; pass < 6; pass++) {
        begin();
        for (int i = 0; i < ROUNDS; i++) {
            char *at = mmap(0, HUGE, PROT_READ | PROT_WRITE, flags, -1, 0);
            if (at == MAP_FAILED)
                not_built(errno);
            touch(at, HUGE, PAGE);
            munmap(at, HUGE);
        }
        end(ROUNDS);
    }
}

const struct row huge_rows[] = {
    {"thp", "mmap, MADV_HUGEPAGE, a store in each 4 KB, munmap; 2 MB", "a round", transparent},
    {"hugetlb", "mmap with MAP_HUGETLB, a store in each 4 KB, munmap; 2 MB", "a round", of_the_pool},
    {0},
};
