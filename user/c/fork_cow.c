/* Copy-on-write: 64 children each write to all of 8 MB that they share with their parent, and everybody sees only
   their own bytes. `fork_cow [RUNS [SLACK]]` does it RUNS times, each in a new process, and from the second run on
   MemFree after a run must be within SLACK (64) KB of what it was before. Linux, whose harts keep free pages for
   themselves, needs a larger SLACK on more than one hart. */
#include "check.h"

enum { CHILDREN = 64 };
static const size_t SHARED = 8 * MB;

static unsigned char value(int who, size_t at) {
    return (unsigned char)(who * 31 + at / PAGE * 7 + at % 251);
}

/* Every 64th byte, so every page at many places. */
static void fill(unsigned char *memory, int who) {
    for (size_t at = 0; at < SHARED; at += 64)
        memory[at] = value(who, at);
}

static void verify(const unsigned char *memory, int who) {
    for (size_t at = 0; at < SHARED; at += 64)
        CHECK(memory[at] == value(who, at));
}

static int run(void) {
    unsigned char *memory = mmap(0, SHARED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    fill(memory, 0);
    pid_t children[CHILDREN];
    for (int who = 1; who <= CHILDREN; who++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            verify(memory, 0);
            fill(memory, who);
            sched_yield();
            verify(memory, who);
            _exit(0);
        }
        children[who - 1] = pid;
    }
    verify(memory, 0);
    for (int who = 0; who < CHILDREN; who++)
        CHECK(status_of(children[who]) == 0);
    verify(memory, 0);
    fill(memory, CHILDREN + 1);
    verify(memory, CHILDREN + 1);
    return 0;
}

int main(int argc, char **argv) {
    int runs = argc > 1 ? atoi(argv[1]) : 2;
    long slack_kb = argc > 2 ? atol(argv[2]) : 64;
    if (runs == 0)
        return run();
    for (int i = 0; i < runs; i++) {
        long before = meminfo("MemFree");
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            execl(argv[0], argv[0], "0", NULL);
            _exit(127);
        }
        CHECK(status_of(pid) == 0);
        /* Memory that the kernel frees a moment later has had its moment. */
        sleep_ms(300);
        long after = meminfo("MemFree");
        printf("run %d: MemFree %ld KB before, %ld KB after (%+ld)\n", i + 1, before, after, after - before);
        fflush(stdout);
        if (i > 0)
            CHECK(labs(after - before) <= slack_kb);
    }
    puts("fork_cow: ok");
    return 0;
}
