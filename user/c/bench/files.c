/* Files of tmpfs, mapped. */
#include "bench.h"

enum { PASSES = 5 };

static const size_t FILE_SIZE = 16 * MB;

/* A file without a name; its pages are there if `filled`. */
static int file(int filled) {
    static char block[1 << 16];
    char name[] = "/tmp/benchXXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, FILE_SIZE) == 0);
    for (size_t at = 0; filled && at < FILE_SIZE; at += sizeof block)
        CHECK(pwrite(fd, block, sizeof block, at) == sizeof block);
    return fd;
}

static char *map(int fd, int kind) {
    char *at = mmap(0, FILE_SIZE, PROT_READ | PROT_WRITE, kind, fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void measure(int kind, int look_before, void (*access)(char *)) {
    int fd = file(1);
    for (int pass = 0; pass < PASSES; pass++) {
        char *at = map(fd, kind);
        if (look_before)
            look(at, FILE_SIZE, PAGE);
        begin();
        access(at);
        end(FILE_SIZE / PAGE);
        CHECK(munmap(at, FILE_SIZE) == 0);
    }
}

static void load(char *at) {
    look(at, FILE_SIZE, PAGE);
}

static void store(char *at) {
    touch(at, FILE_SIZE, PAGE);
}

static void private_read(void) {
    measure(MAP_PRIVATE, 0, load);
}

static void private_write(void) {
    measure(MAP_PRIVATE, 0, store);
}

static void private_write_after_read(void) {
    measure(MAP_PRIVATE, 1, store);
}

static void shared_read(void) {
    measure(MAP_SHARED, 0, load);
}

static void shared_write(void) {
    measure(MAP_SHARED, 0, store);
}

static void allocate(void) {
    for (int pass = 0; pass < PASSES; pass++) {
        int fd = file(0);
        char *at = map(fd, MAP_SHARED);
        begin();
        store(at);
        end(FILE_SIZE / PAGE);
        CHECK(munmap(at, FILE_SIZE) == 0 && close(fd) == 0);
    }
}

const struct row file_rows[] = {
    {"tmpfs-private-read", "16 MB of a file that is there, mapped privately, a load a page", "a page", private_read},
    {"tmpfs-private-write", "... a store a page", "a page", private_write},
    {"tmpfs-private-write-after-read", "... a store a page after a load a page", "a page", private_write_after_read},
    {"tmpfs-shared-read", "16 MB of a file that is there, mapped shared, a load a page", "a page", shared_read},
    {"tmpfs-shared-write", "... a store a page", "a page", shared_write},
    {"shmem-allocate", "16 MB of a file without pages, mapped shared, a store a page", "a page", allocate},
    {0},
};
