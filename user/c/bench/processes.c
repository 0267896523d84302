/* Processes and threads: made, ended, waited for and switched between; what they share copied. */
#include "bench.h"
#include <pthread.h>

/* What the small process has touched besides its own few pages: about 40 in all. */
enum { SMALL_PAGES = 12 };
static char small[SMALL_PAGES * PAGE] __attribute__((aligned(PAGE)));

static const size_t SHARED = 32 * MB;

static void fork_and_wait(void) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(0);
    CHECK(status_of(pid) == 0);
}

static void forks(int passes, int rounds) {
    fork_and_wait();
    for (int pass = 0; pass < passes; pass++) {
        begin();
        for (int i = 0; i < rounds; i++)
            fork_and_wait();
        end(rounds);
    }
}

static void fork_small(void) {
    touch(small, sizeof small, PAGE);
    forks(5, 100);
}

static void fork_with(size_t bytes, int rounds) {
    char *at = anonymous(bytes);
    touch(at, bytes, PAGE);
    forks(3, rounds);
}

static void fork_16m(void) {
    fork_with(16 * MB, 10);
}

static void fork_128m(void) {
    fork_with(128 * MB, 3);
}

static void break_in_child(void) {
    char *at = anonymous(SHARED);
    touch(at, SHARED, PAGE);
    for (int pass = 0; pass < 3; pass++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            begin();
            touch(at, SHARED, PAGE);
            end(SHARED / PAGE);
            _exit(0);
        }
        CHECK(status_of(pid) == 0);
    }
}

static void write_exclusive(void) {
    char *at = anonymous(SHARED);
    touch(at, SHARED, PAGE);
    for (int pass = 0; pass < 3; pass++) {
        fork_and_wait();
        begin();
        touch(at, SHARED, PAGE);
        end(SHARED / PAGE);
    }
}

static void *nothing(void *argument) {
    return argument;
}

static void threads(void) {
    enum { ROUNDS = 200 };
    for (int pass = 0; pass < 6; pass++) {
        begin();
        for (int i = 0; i < ROUNDS; i++) {
            pthread_t thread;
            CHECK(pthread_create(&thread, 0, nothing, 0) == 0);
            CHECK(pthread_join(thread, 0) == 0);
        }
        end(ROUNDS);
    }
}

/* A byte to and fro: each way is a write, a switch, and the end of a read. */
static void switches(void) {
    enum { ROUNDS = 500 };
    int there[2], back[2];
    char byte = 0;
    CHECK(pipe(there) == 0 && pipe(back) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            CHECK(write(back[1], &byte, 1) == 1);
        _exit(0);
    }
    for (int pass = 0; pass < 6; pass++) {
        begin();
        for (int i = 0; i < ROUNDS; i++) {
            CHECK(write(there[1], &byte, 1) == 1);
            CHECK(read(back[0], &byte, 1) == 1);
        }
        end(2 * ROUNDS);
    }
    close(there[1]);
    CHECK(status_of(pid) == 0);
}

const struct row process_rows[] = {
    {"fork-small", "fork, _exit in the child, wait; about 40 pages touched", "a process", fork_small},
    {"fork-16m", "... 16 MB touched", "a process", fork_16m},
    {"fork-128m", "... 128 MB touched", "a process", fork_128m},
    {"cow-break", "32 MB shared with the parent, a store a page in the child", "a page", break_in_child},
    {"cow-exclusive", "32 MB after a child ended, a store a page in the parent", "a page", write_exclusive},
    {"thread", "pthread_create and pthread_join", "a thread", threads},
    {"switch", "a byte through a pipe to another process, on the same hart", "a way", switches},
    {0},
};
