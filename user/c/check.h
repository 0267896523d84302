/* What the test programs share: a check that says where it failed, and a few numbers of /proc. */
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define MB (1ul << 20)

/* Ends the program, or the forked child that it is in, when `condition` does not hold. */
#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            int error = errno;                                                                        \
            dprintf(2, "%s:%d: %s does not hold (errno %d)\n", __FILE__, __LINE__, #condition, error); \
            _exit(1);                                                                                 \
        }                                                                                             \
    } while (0)

/* The call must fail with that errno. */
#define CHECK_ERRNO(call, wanted) \
    do {                          \
        errno = 0;                \
        CHECK((call) == -1);      \
        CHECK(errno == (wanted)); \
    } while (0)

/* A field of /proc/meminfo in KB, -1 if it is not there. */
__attribute__((unused)) static long meminfo(const char *field) {
    char line[128];
    long kb = -1;
    FILE *file = fopen("/proc/meminfo", "r");
    CHECK(file);
    size_t length = strlen(field);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, field, length) && line[length] == ':')
            kb = atol(line + length + 1);
    fclose(file);
    return kb;
}

__attribute__((unused)) static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) {
    }
}

/* Milliseconds of a clock that only goes forward. */
__attribute__((unused)) static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for that child; its exit status, 128+n for signal n. */
__attribute__((unused)) static int status_of(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) != pid)
        CHECK(errno == EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Random numbers that are the same in every run (xorshift64*). */
__attribute__((unused)) static uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}
