/* Anonymous memory by faults. */
#include "bench.h"
#include <sys/prctl.h>

static const size_t REGION = 64 * MB;

/* One a table. */
enum { APART = 512 };

static void anonymous_fault(void) {
    for (int pass = 0; pass < 5; pass++) {
        char *region = anonymous(REGION);
        begin();
        touch(region, REGION, PAGE);
        end(REGION / PAGE);
        CHECK(munmap(region, REGION) == 0);
    }
}

static void fault_in_new_table(void) {
    size_t bytes = APART * 2 * MB;
    for (int pass = 0; pass < 5; pass++) {
        char *region = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(region != MAP_FAILED && (madvise(region, bytes, MADV_NOHUGEPAGE) == 0 || errno == EINVAL));
        begin();
        touch(region, bytes, 2 * MB);
        end(APART);
        CHECK(munmap(region, bytes) == 0);
    }
}

static void populate(void) {
    /* The pages come before any advice can be given. EINVAL: a kernel without huge pages. */
    CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 || errno == EINVAL);
    for (int pass = 0; pass < 5; pass++) {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
        begin();
        char *region = mmap(0, REGION, PROT_READ | PROT_WRITE, flags, -1, 0);
        end(REGION / PAGE);
        CHECK(region != MAP_FAILED && munmap(region, REGION) == 0);
    }
}

static void unmap_touched(void) {
    for (int pass = 0; pass < 5; pass++) {
        char *region = anonymous(REGION);
        touch(region, REGION, PAGE);
        begin();
        munmap(region, REGION);
        end(REGION / PAGE);
    }
}

static void read_zero(void) {
    for (int pass = 0; pass < 5; pass++) {
        char *region = anonymous(REGION);
        begin();
        look(region, REGION, PAGE);
        end(REGION / PAGE);
        CHECK(munmap(region, REGION) == 0);
    }
}

static void write_after_zero(void) {
    for (int pass = 0; pass < 5; pass++) {
        char *region = anonymous(REGION);
        look(region, REGION, PAGE);
        begin();
        touch(region, REGION, PAGE);
        end(REGION / PAGE);
        CHECK(munmap(region, REGION) == 0);
    }
}

/* Down from what the stack has so far, a megabyte a pass. */
static void grow_stack(void) {
    char *at = (char *)((uintptr_t)__builtin_frame_address(0) & -PAGE) - 64 * PAGE;
    for (int pass = 0; pass < 5; pass++) {
        begin();
        for (size_t i = 0; i < MB / PAGE; i++, at -= PAGE)
            *(volatile char *)at = 1;
        end(MB / PAGE);
    }
}

const struct row fault_rows[] = {
    {"anonymous-fault", "64 MB, a store a page in order, tables not yet there", "a page", anonymous_fault},
    {"fault-new-table", "512 pages 2 MB apart, each in a table not yet there", "a page", fault_in_new_table},
    {"populate", "mmap of 64 MB with MAP_POPULATE", "a page", populate},
    {"unmap-touched", "munmap of 64 MB that are touched", "a page", unmap_touched},
    {"read-zero", "64 MB, a load a page in order, tables not yet there", "a page", read_zero},
    {"write-after-zero", "64 MB, a store a page after a load a page", "a page", write_after_zero},
    {"stack-growth", "1 MB, a store a page downwards", "a page", grow_stack},
    {0},
};
