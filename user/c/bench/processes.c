/* Processes: made, ended and waited for. */
#include "bench.h"

/* What the small process has touched besides its own few pages: about 40 in all. */
enum { SMALL_PAGES = 12 };
static char small[SMALL_PAGES * PAGE] __attribute__((aligned(PAGE)));

static void fork_and_wait(void) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(0);
    CHECK(status_of(pid) == 0);
}

static void fork_small(void) {
    touch(small, sizeof small, PAGE);
    fork_and_wait();
    for (int pass = 0; pass < 5; pass++) {
        begin();
        for (int i = 0; i < 100; i++)
            fork_and_wait();
        end(100);
    }
}

const struct row process_rows[] = {
    {"fork-small", "fork, _exit in the child, wait; about 40 pages touched", "a process", fork_small},
    {0},
};
