/* Eight threads each do 1,000 rounds of mmap, touch and munmap in one address space. `threads_mmap [TIMES]` does all
   of it TIMES times, each in a new process. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 1000, MOST_PAGES = 32 };

static void *work(void *argument) {
    long who = (long)argument;
    uint64_t random = 88172645463325252ull + who;
    for (int round = 0; round < ROUNDS; round++) {
        size_t pages = 1 + next_random(&random) % MOST_PAGES;
        volatile long *memory = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED);
        for (size_t page = 0; page < pages; page++) {
            volatile long *word = memory + page * PAGE / sizeof(long);
            /* Most pages are stored to first. A store after a load replaces the page of zeroes, which every hart must
               have forgotten: on a busy machine that takes its time. */
            if (page % 16 != 1)
                word[1] = round;
            CHECK(*word == 0);
            *word = who << 32 | round;
        }
        for (size_t page = 0; page < pages; page++)
            CHECK(memory[page * PAGE / sizeof(long)] == (who << 32 | round));
        /* Every other mapping goes in three pieces, the middle first. Another thread may have what was unmapped by
           then, so no page is unmapped twice. */
        char *start = (char *)memory;
        if (pages > 2 && round % 2) {
            CHECK(munmap(start + PAGE, PAGE) == 0);
            CHECK(munmap(start, PAGE) == 0);
            CHECK(munmap(start + 2 * PAGE, (pages - 2) * PAGE) == 0);
        } else {
            CHECK(munmap(start, pages * PAGE) == 0);
        }
    }
    return (void *)(who + 1);
}

static int run(void) {
    pthread_t threads[THREADS];
    for (long who = 0; who < THREADS; who++)
        CHECK(pthread_create(&threads[who], NULL, work, (void *)who) == 0);
    for (long who = 0; who < THREADS; who++) {
        void *result;
        CHECK(pthread_join(threads[who], &result) == 0);
        CHECK(result == (void *)(who + 1));
    }
    return 0;
}

int main(int argc, char **argv) {
    int times = argc > 1 ? atoi(argv[1]) : 1;
    for (int i = 0; i < times; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(run());
        CHECK(status_of(pid) == 0);
    }
    printf("threads_mmap: ok (%d times %d threads, %d rounds each)\n", times, THREADS, ROUNDS);
    return 0;
}
