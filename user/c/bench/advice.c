/* What is said about memory: advice, locks, and what there is of it. */
#include "bench.h"

enum { PASSES = 21, ROUNDS = 200 };

static const size_t REGION = 1 * MB;

static char *touched(size_t bytes) {
    char *at = anonymous(bytes);
    touch(at, bytes, PAGE);
    return at;
}

static void dont_need(void) {
    char *at = touched(REGION);
    for (int pass = 0; pass < PASSES; pass++) {
        begin();
        madvise(at, REGION, MADV_DONTNEED);
        end(1);
        CHECK(*at == 0);
        touch(at, REGION, PAGE);
    }
}

static void refault(void) {
    char *at = touched(REGION);
    for (int pass = 0; pass < PASSES; pass++) {
        CHECK(madvise(at, REGION, MADV_DONTNEED) == 0);
        begin();
        touch(at, REGION, PAGE);
        end(1);
    }
}

static void lazy_free(void) {
    char *at = touched(REGION);
    for (int pass = 0; pass < PASSES; pass++) {
        begin();
        int result = madvise(at, REGION, MADV_FREE);
        end(1);
        NEEDS(result);
        touch(at, REGION, PAGE);
    }
}

static void lock(void) {
    char *at = touched(REGION);
    NEEDS(mlock(at, REGION));
    NEEDS(munlock(at, REGION));
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        mlock(at, REGION);
        munlock(at, REGION);
    }
    end(ROUNDS);
}

static void in_core(void) {
    static unsigned char there[16 * MB / PAGE];
    char *at = touched(16 * MB);
    NEEDS(mincore(at, 16 * MB, there));
    begin();
    for (int i = 0; i < ROUNDS; i++)
        mincore(at, 16 * MB, there);
    end(ROUNDS);
    CHECK(there[0] == 1 && there[sizeof there - 1] == 1);
}

const struct row advice_rows[] = {
    {"dontneed", "madvise(MADV_DONTNEED) of 1 MB that is touched", "a call", dont_need},
    {"dontneed-refault", "a store a page after that, 1 MB", "1 MB", refault},
    {"madvise-free", "madvise(MADV_FREE) of 1 MB that is touched", "a call", lazy_free},
    {"mlock", "mlock and munlock of 1 MB that is touched", "2 calls", lock},
    {"mincore", "mincore of 16 MB that are touched", "a call", in_core},
    {0},
};
