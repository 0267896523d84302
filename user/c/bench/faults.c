/* Anonymous memory by faults. */
#include "bench.h"

static const size_t REGION = 64 * MB;

static void anonymous_fault(void) {
    for (int pass = 0; pass < 5; pass++) {
        char *region = anonymous(REGION);
        begin();
        touch(region, REGION, PAGE);
        end(REGION / PAGE);
        CHECK(munmap(region, REGION) == 0);
    }
}

const struct row fault_rows[] = {
    {"anonymous-fault", "64 MB, a store a page in order, tables not yet there", "a page", anonymous_fault},
    {0},
};
