/* Mappings made, changed and moved, in a process with a dozen of them. */
#include "bench.h"

enum { ROUNDS = 4000, FEW_ROUNDS = 400, NEIGHBOURS = 6, PROTECT_PASSES = 11 };

/* Side by side, as those of a program and its libraries are, so that a process has a dozen of them. */
static void dozen(void) {
    char *at = mmap(0, NEIGHBOURS * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    for (int i = 0; i < NEIGHBOURS; i += 2)
        CHECK(mprotect(at + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
}

static void map_unmap(size_t bytes, int touched, int rounds) {
    dozen();
    begin();
    for (int i = 0; i < rounds; i++) {
        char *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (touched)
            touch(at, bytes, PAGE);
        munmap(at, bytes);
    }
    end(rounds);
}

static void map_untouched(void) {
    map_unmap(PAGE, 0, ROUNDS);
}

static void map_4k(void) {
    map_unmap(PAGE, 1, ROUNDS);
}

static void map_64k(void) {
    map_unmap(64 << 10, 1, ROUNDS);
}

static void map_1m(void) {
    map_unmap(MB, 1, FEW_ROUNDS);
}

static void grow_heap(void) {
    dozen();
    /* What malloc took is left alone. */
    char *top = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & -PAGE);
    CHECK(brk(top) == 0);
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        syscall(SYS_brk, top + PAGE);
        *(volatile char *)top = 1;
        syscall(SYS_brk, top);
    }
    end(ROUNDS);
}

static void split_and_merge(void) {
    dozen();
    char *at = anonymous(16 * PAGE);
    touch(at, 16 * PAGE, PAGE);
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        mprotect(at + 8 * PAGE, PAGE, PROT_READ);
        mprotect(at + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE);
    }
    end(ROUNDS);
}

enum { TO_READ, TO_WRITE, WRITE_AFTER };

static void protect(int measured) {
    size_t bytes = 16 * MB;
    dozen();
    char *at = anonymous(bytes);
    touch(at, bytes, PAGE);
    for (int pass = 0; pass < PROTECT_PASSES; pass++) {
        if (measured == TO_READ)
            begin();
        CHECK(mprotect(at, bytes, PROT_READ) == 0);
        if (measured == TO_READ)
            end(1);
        if (measured == TO_WRITE)
            begin();
        CHECK(mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0);
        if (measured == TO_WRITE)
            end(1);
        if (measured == WRITE_AFTER)
            begin();
        touch(at, bytes, PAGE);
        if (measured == WRITE_AFTER)
            end(bytes / PAGE);
    }
}

static void protect_to_read(void) {
    protect(TO_READ);
}

static void protect_to_write(void) {
    protect(TO_WRITE);
}

static void write_after_protect(void) {
    protect(WRITE_AFTER);
}

static void remap_grow(void) {
    dozen();
    /* Room to grow in place. */
    char *room = anonymous(3 * MB);
    CHECK(munmap(room + MB, 2 * MB) == 0);
    begin();
    for (int i = 0; i < ROUNDS; i++) {
        mremap(room, MB, 2 * MB, 0);
        mremap(room, 2 * MB, MB, 0);
    }
    end(ROUNDS);
    CHECK(mremap(room, MB, 2 * MB, 0) == room);
}

static void remap_move(void) {
    dozen();
    char *room = anonymous(8 * MB);
    char *from = (char *)(((uintptr_t)room + 2 * MB - 1) & -(2 * MB)), *to = from + 4 * MB;
    CHECK(munmap(room, 8 * MB) == 0);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    CHECK(mmap(from, MB, PROT_READ | PROT_WRITE, flags, -1, 0) == from);
    CHECK(madvise(from, MB, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    touch(from, MB, PAGE);
    begin();
    for (int i = 0; i < ROUNDS; i += 2) {
        mremap(from, MB, MB, MREMAP_MAYMOVE | MREMAP_FIXED, to);
        mremap(to, MB, MB, MREMAP_MAYMOVE | MREMAP_FIXED, from);
    }
    end(ROUNDS);
    CHECK(*from == 1);
}

const struct row mapping_rows[] = {
    {"map-unmap", "mmap and munmap of 4 KB, untouched", "a pair", map_untouched},
    {"map-touch-unmap-4k", "mmap, a store, munmap; 4 KB", "a round", map_4k},
    {"map-touch-unmap-64k", "mmap, a store a page, munmap; 64 KB", "a round", map_64k},
    {"map-touch-unmap-1m", "mmap, a store a page, munmap; 1 MB", "a round", map_1m},
    {"brk", "brk up a page, a store, brk down", "a round", grow_heap},
    {"protect-split-merge", "mprotect of one page of 16 to read-only and back", "2 calls", split_and_merge},
    {"protect-read", "mprotect of 16 MB that are touched to read-only", "a call", protect_to_read},
    {"protect-write", "... and back to writable", "a call", protect_to_write},
    {"write-after-protect", "a store a page after that", "a page", write_after_protect},
    {"remap-grow", "mremap from 1 MB to 2 MB in place and back, untouched", "2 calls", remap_grow},
    {"remap-move", "mremap of 1 MB, touched, to another place 2 MB-aligned", "a call", remap_move},
    {0},
};
