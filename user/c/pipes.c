/* Pipes: ends, capacity, atomic writes, non-blocking ends, poll and select on them; descriptors that are copied. */
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>

enum { CAPACITY = 65536 };

static short events(int fd, short wanted, int ms) {
    struct pollfd entry = {fd, wanted, 0};
    int ready = poll(&entry, 1, ms);
    CHECK(ready >= 0 && (ready == 1) == (entry.revents != 0));
    return entry.revents;
}

static void ends(void) {
    int p[2];
    char byte;
    CHECK(pipe(p) == 0);
    CHECK(write(p[1], "ab", 2) == 2 && read(p[0], &byte, 1) == 1 && byte == 'a');
    CHECK(close(p[1]) == 0);
    CHECK(read(p[0], &byte, 1) == 1 && byte == 'b');
    CHECK(read(p[0], &byte, 1) == 0);
    CHECK(events(p[0], POLLIN, 0) == POLLHUP);
    CHECK(close(p[0]) == 0);
    CHECK_ERRNO(read(p[0], &byte, 1), EBADF);
    CHECK(pipe(p) == 0 && close(p[0]) == 0);
    CHECK(events(p[1], POLLOUT, 0) == (POLLOUT | POLLERR));
    CHECK_ERRNO(write(p[1], "x", 1), EPIPE);
    CHECK_ERRNO(lseek(p[1], 0, SEEK_SET), ESPIPE);
    CHECK_ERRNO(read(p[1], &byte, 1), EBADF);
    close(p[1]);
    CHECK_ERRNO(pipe((int *)4096), EFAULT);
    CHECK_ERRNO(pipe2(p, 0x123), EINVAL);
}

static void capacity(void) {
    static char block[4096];
    int p[2], queued;
    CHECK(pipe2(p, O_NONBLOCK | O_CLOEXEC) == 0);
    CHECK(fcntl(p[0], F_GETFD) == FD_CLOEXEC && (fcntl(p[0], F_GETFL) & O_NONBLOCK));
    CHECK_ERRNO(read(p[0], block, 1), EAGAIN);
    CHECK(fcntl(p[1], F_GETPIPE_SZ) == CAPACITY);
    size_t total = 0;
    ssize_t n;
    CHECK(events(p[1], POLLOUT, 0) == POLLOUT);
    while ((n = write(p[1], block, sizeof block)) > 0)
        total += n;
    CHECK(n == -1 && errno == EAGAIN && total == CAPACITY);
    CHECK(events(p[1], POLLOUT, 0) == 0 && events(p[0], POLLIN, 0) == POLLIN);
    CHECK(ioctl(p[0], FIONREAD, &queued) == 0 && queued == CAPACITY);
    /* A write of up to PIPE_BUF goes in whole or not at all. */
    CHECK(read(p[0], block, 100) == 100);
    CHECK_ERRNO(write(p[1], block, sizeof block), EAGAIN);
    CHECK(read(p[0], block, sizeof block) == sizeof block);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0);
}

/* Many writers, records of one length: none is torn. */
static void atomic_writes(void) {
    enum { WRITERS = 4, RECORDS = 200, LENGTH = 512 };
    int p[2];
    CHECK(pipe(p) == 0);
    for (int who = 0; who < WRITERS; who++) {
        if (fork() == 0) {
            char record[LENGTH];
            memset(record, 'a' + who, LENGTH);
            for (int i = 0; i < RECORDS; i++)
                CHECK(write(p[1], record, LENGTH) == LENGTH);
            _exit(0);
        }
    }
    CHECK(close(p[1]) == 0);
    int counts[WRITERS] = {0};
    char record[LENGTH];
    for (;;) {
        size_t have = 0;
        ssize_t n;
        while (have < LENGTH && (n = read(p[0], record + have, LENGTH - have)) > 0)
            have += n;
        if (have == 0)
            break;
        CHECK(have == LENGTH);
        for (int i = 1; i < LENGTH; i++)
            CHECK(record[i] == record[0]);
        counts[record[0] - 'a']++;
    }
    for (int who = 0; who < WRITERS; who++)
        CHECK(counts[who] == RECORDS && wait(NULL) > 0);
    CHECK(close(p[0]) == 0);
}

static void waiting(void) {
    int p[2];
    CHECK(pipe(p) == 0);
    long start = now_ms();
    CHECK(events(p[0], POLLIN, 50) == 0 && now_ms() - start >= 49);
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(50);
        CHECK(write(p[1], "x", 1) == 1);
        _exit(0);
    }
    CHECK(events(p[0], POLLIN, 5000) == POLLIN);
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(p[0], &readable);
    FD_SET(p[1], &writable);
    struct timeval none = {0, 0};
    CHECK(select(p[1] + 1, &readable, &writable, NULL, &none) == 2);
    CHECK(FD_ISSET(p[0], &readable) && FD_ISSET(p[1], &writable));
    CHECK(status_of(child) == 0);
    CHECK(events(99, POLLIN, 0) == POLLNVAL);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0);
}

static void vectors(void) {
    int p[2];
    char a[3], b[4];
    CHECK(pipe(p) == 0);
    struct iovec out[2] = {{"abc", 3}, {"defg", 4}}, in[2] = {{a, 3}, {b, 4}};
    CHECK(writev(p[1], out, 2) == 7 && readv(p[0], in, 2) == 7);
    CHECK(!memcmp(a, "abc", 3) && !memcmp(b, "defg", 4));
    CHECK_ERRNO(writev(p[1], out, -1), EINVAL);
    CHECK_ERRNO(writev(p[1], (void *)-4096l, 1), EFAULT);
    CHECK_ERRNO(write(p[1], (void *)-4096l, 1), EFAULT);
    /* A copy shares the open file: it keeps the pipe open. */
    int copy = dup(p[1]);
    CHECK(copy > 2 && close(p[1]) == 0 && write(copy, "z", 1) == 1 && read(p[0], a, 3) == 1);
    CHECK(dup2(copy, 50) == 50 && close(copy) == 0 && write(50, "y", 1) == 1 && read(p[0], a, 3) == 1);
    CHECK(close(50) == 0 && read(p[0], a, 3) == 0);
    CHECK_ERRNO(dup2(50, 51), EBADF);
    CHECK_ERRNO(dup3(p[0], p[0], 0), EINVAL);
    close(p[0]);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    ends();
    capacity();
    atomic_writes();
    waiting();
    vectors();
    puts("pipes: ok");
    return 0;
}
