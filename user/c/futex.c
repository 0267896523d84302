/* futex: wait, wake, bitsets, requeue, time-outs, between threads and between processes; and what glibc builds on it. */
#include "check.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>

static uint32_t word, other;

static long futex(uint32_t *at, int operation, uint32_t value, const void *time, uint32_t *second, uint32_t last) {
    return syscall(SYS_futex, at, operation, value, time, second, last);
}

static void *wait_here(void *bits) {
    long result = futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (uint32_t)(uintptr_t)bits);
    return (void *)(result == 0 ? 0l : (long)errno);
}

static pthread_t waiter(uint32_t bits) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_here, (void *)(uintptr_t)bits) == 0);
    return thread;
}

static void join(pthread_t thread) {
    void *result;
    CHECK(pthread_join(thread, &result) == 0 && result == 0);
}

static void errors(void) {
    struct timespec soon = {0, 30000000}, bad = {0, 1000000000};
    word = 1;
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EAGAIN);
    long start = now_ms();
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 1, &soon, NULL, 0), ETIMEDOUT);
    CHECK(now_ms() - start >= 29);
    struct timespec then;
    clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_nsec += 30000000;
    if (then.tv_nsec >= 1000000000)
        then.tv_sec++, then.tv_nsec -= 1000000000;
    start = now_ms();
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, &then, NULL, 1), ETIMEDOUT);
    CHECK(now_ms() - start >= 28);
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_PRIVATE, 1, &bad, NULL, 0), EINVAL);
    CHECK_ERRNO(futex((void *)((char *)&word + 1), FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERRNO(futex((void *)4096, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EFAULT);
    CHECK_ERRNO(futex((void *)-4096l, FUTEX_WAIT, 1, NULL, NULL, 0), EFAULT);
    CHECK_ERRNO(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERRNO(futex(&word, 127, 1, NULL, NULL, 0), ENOSYS);
    CHECK(futex(&word, FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0) == 0);
}

static void wakes(void) {
    word = 0;
    pthread_t one = waiter(1), two = waiter(2);
    sleep_ms(50);
    CHECK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 4) == 0);
    CHECK(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 2) == 1);
    join(two);
    CHECK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 1);
    join(one);

    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = waiter(~0u);
    sleep_ms(50);
    CHECK_ERRNO(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)(long)INT_MAX, &other, 9), EAGAIN);
    /* One is woken, the others now wait on the other word. */
    CHECK(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)(long)INT_MAX, &other, 0) == 4);
    CHECK(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 0);
    CHECK(futex(&other, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 3);
    for (int i = 0; i < 4; i++)
        join(threads[i]);
}

static void between_processes(void) {
    uint32_t *shared = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        while (__atomic_load_n(shared, __ATOMIC_ACQUIRE) == 0)
            futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0);
        __atomic_store_n(shared, 2, __ATOMIC_RELEASE);
        futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0);
        _exit(0);
    }
    sleep_ms(30);
    __atomic_store_n(shared, 1, __ATOMIC_RELEASE);
    futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (__atomic_load_n(shared, __ATOMIC_ACQUIRE) != 2)
        futex(shared, FUTEX_WAIT, 1, NULL, NULL, 0);
    CHECK(status_of(child) == 0 && munmap(shared, PAGE) == 0);
}

enum { WORKERS = 4, TURNS = 500 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_came = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static int turn;
static long total;

static void *take_turns(void *argument) {
    int who = (int)(long)argument;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < TURNS; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != who)
            pthread_cond_wait(&turn_came, &mutex);
        turn = (turn + 1) % WORKERS;
        total++;
        pthread_cond_broadcast(&turn_came);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void glibc(void) {
    pthread_t threads[WORKERS];
    CHECK(pthread_barrier_init(&barrier, NULL, WORKERS) == 0);
    for (long who = 0; who < WORKERS; who++)
        CHECK(pthread_create(&threads[who], NULL, take_turns, (void *)who) == 0);
    for (int who = 0; who < WORKERS; who++)
        CHECK(pthread_join(threads[who], NULL) == 0);
    CHECK(total == WORKERS * TURNS);
}

/* A robust mutex tells of its owner's death. */
static void *die_with_it(void *robust) {
    pthread_mutex_lock(robust);
    return NULL;
}

static void robust(void) {
    pthread_mutexattr_t attributes;
    pthread_mutex_t robust;
    pthread_t thread;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    CHECK(pthread_mutex_init(&robust, &attributes) == 0);
    CHECK(pthread_create(&thread, NULL, die_with_it, &robust) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
    CHECK(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0);
}

int main(void) {
    errors();
    wakes();
    between_processes();
    glibc();
    robust();
    puts("futex: ok");
    return 0;
}
