/* Ten thousand mappings of a page, side by side, between whose protections nothing merges. */
#include "bench.h"

enum {
    COUNT = 10000,
    TAKEN = 2000,
    /* The first ones may find holes elsewhere. */
    ELSEWHERE = 16,
};

static char *mapping[COUNT];
static int order[COUNT];

/* A random order, the same in every run. */
static void shuffle(void) {
    uint64_t state = 88172645463325252;
    for (int i = 0; i < COUNT; i++)
        order[i] = i;
    for (int i = COUNT - 1; i > 0; i--) {
        int j = next_random(&state) % (i + 1), kept = order[i];
        order[i] = order[j], order[j] = kept;
    }
}

static void create(void) {
    for (int i = 0; i < COUNT; i++)
        mapping[i] = mmap(0, PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void look_at_all(void) {
    for (int i = 0; i < COUNT; i++)
        (void)*(volatile char *)mapping[i];
}

static void unmap(void) {
    for (int i = 0; i < COUNT; i++)
        CHECK(munmap(mapping[i], PAGE) == 0);
}

static void created(void) {
    for (int pass = 0; pass < 3; pass++) {
        touch((char *)mapping, sizeof mapping, PAGE);
        begin();
        create();
        end(COUNT);
        unmap();
    }
}

static void read_random(void) {
    shuffle();
    create();
    begin();
    for (int i = 0; i < COUNT; i++)
        (void)*(volatile char *)mapping[order[i]];
    end(COUNT);
}

static void unmap_random(void) {
    shuffle();
    create();
    look_at_all();
    begin();
    for (int i = 0; i < TAKEN; i++)
        munmap(mapping[order[i]], PAGE);
    end(TAKEN);
}

static void unmap_all(void) {
    for (int pass = 0; pass < 3; pass++) {
        create();
        look_at_all();
        char *lowest = mapping[COUNT - 1];
        size_t bytes = (COUNT - ELSEWHERE) * PAGE;
        CHECK(lowest + bytes == mapping[ELSEWHERE] + PAGE);
        begin();
        munmap(lowest, bytes);
        end(COUNT - ELSEWHERE);
        for (int i = 0; i < ELSEWHERE; i++)
            CHECK(munmap(mapping[i], PAGE) == 0);
    }
}

const struct row many_rows[] = {
    {"vmas-create", "10,000 mappings of a page, side by side: mmap of each", "a mapping", created},
    {"vmas-read", "... a load in each, in random order", "a page", read_random},
    {"vmas-unmap-random", "... munmap of 2,000 of them, in random order, all read before", "a mapping", unmap_random},
    {"vmas-unmap-all", "... munmap of all at once, all read before", "a mapping", unmap_all},
    {0},
};
