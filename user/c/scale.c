/* What a second hart gains: how much of some work is done in a tenth of a second on one hart, and on each of two at the
   same time. The gain is the one divided by the other, 2 at the most.

       scale [RUNS]    11 unless given

   What is measured takes turns, RUNS times. Beside each, a loop that touches no memory is measured in the same way: it
   shows what the machine below us gives. Where that gains less than 1.5, or more than two harts can, something else ran
   there, and the pair is done again, a few times at most. A line is: name, median of the gains, median of the loop's,
   runs whose loop stayed outside, separated by tabs; what has a tab at its start tells how far it is. */
#include "check.h"
#include <pthread.h>
#include <sys/utsname.h>

enum { HARTS = 2, MOST_RUNS = 99, AGAIN = 6 };
static const double LEAST = 1.5, MOST = 2.1;
static const size_t REGION = 128 * MB;
static const int64_t WINDOW = 100000000;

/* What the workers share, threads or processes. */
static struct {
    int ready, go;
    /* Of work in a second. */
    double speed[HARTS];
} *shared;

/* Who does a piece of work; the memory is the worker's own part. */
struct worker {
    int hart;
    char *memory;
    const struct kind *kind;
};

struct kind {
    const char *name;
    int threads;
    /* One mapping for both, or one each, prepared before the time runs; or none. */
    enum { NONE, ONE, EACH } mappings;
    /* Works until it is `end`, or the memory is used up; how much it has done. */
    long (*work)(char *memory, int64_t end);
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static long spin(char *memory, int64_t end) {
    (void)memory;
    uint64_t value = 1;
    long done = 0;
    for (; now() < end; done++)
        for (int i = 0; i < 10000; i++)
            __asm__ volatile("slli t0, %0, 13\n xor %0, %0, t0\n srli t0, %0, 7\n xor %0, %0, t0" : "+r"(value)::"t0");
    return done;
}

static long fault(char *memory, int64_t end) {
    enum { PAGES = 64 };
    size_t at = 0;
    for (; at < REGION && now() < end; at += PAGES * PAGE)
        for (int i = 0; i < PAGES; i++)
            *(volatile char *)(memory + at + i * PAGE) = 1;
    return at / PAGE;
}

static long map(char *memory, int64_t end) {
    (void)memory;
    long done = 0;
    for (; now() < end; done++) {
        char *at = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED && munmap(at, PAGE) == 0);
    }
    return done;
}

static long forks(char *memory, int64_t end) {
    (void)memory;
    long done = 0;
    for (; now() < end; done++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(0);
        CHECK(status_of(pid) == 0);
    }
    return done;
}

static char *anonymous(size_t bytes) {
    char *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED && (madvise(at, bytes, MADV_NOHUGEPAGE) == 0 || errno == EINVAL));
    return at;
}

static void *serve(void *argument) {
    struct worker *worker = argument;
    cpu_set_t hart;
    CPU_ZERO(&hart);
    CPU_SET(worker->hart, &hart);
    CHECK(sched_setaffinity(0, sizeof hart, &hart) == 0);
    if (worker->kind->mappings == EACH)
        worker->memory = anonymous(REGION);
    __atomic_add_fetch(&shared->ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE)) {
    }
    int64_t began = now();
    long done = worker->kind->work(worker->memory, began + WINDOW);
    shared->speed[worker->hart] = done * 1e9 / (now() - began);
    if (worker->kind->mappings == EACH)
        CHECK(munmap(worker->memory, REGION) == 0);
    return 0;
}

/* What so many workers do in a second. */
static double measure(const struct kind *kind, int workers) {
    struct worker worker[HARTS];
    pthread_t thread[HARTS];
    pid_t process[HARTS];
    char *memory = kind->mappings == ONE ? anonymous(HARTS * REGION) : 0;
    memset(shared, 0, sizeof *shared);
    for (int i = 0; i < workers; i++) {
        worker[i] = (struct worker){i, memory ? memory + i * REGION : 0, kind};
        if (kind->threads) {
            CHECK(pthread_create(&thread[i], 0, serve, &worker[i]) == 0);
            continue;
        }
        CHECK((process[i] = fork()) >= 0);
        if (process[i] == 0) {
            serve(&worker[i]);
            _exit(0);
        }
    }
    while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) < workers)
        sleep_ms(1);
    __atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < workers; i++)
        if (kind->threads)
            CHECK(pthread_join(thread[i], 0) == 0);
        else
            CHECK(status_of(process[i]) == 0);
    if (memory)
        CHECK(munmap(memory, HARTS * REGION) == 0);
    double sum = 0;
    for (int i = 0; i < workers; i++)
        sum += shared->speed[i];
    return sum;
}

static double gain(const struct kind *kind) {
    double one = measure(kind, 1);
    return measure(kind, HARTS) / one;
}

static const struct kind loop_threads = {"spin", 1, NONE, spin}, loop_processes = {"spin", 0, NONE, spin};

static const struct kind kinds[] = {
    {"faults in one mapping", 1, ONE, fault},
    {"faults in two mappings", 1, EACH, fault},
    {"faults in two address spaces", 0, EACH, fault},
    {"mmap and munmap, untouched, in one address space", 1, NONE, map},
    {"mmap and munmap, untouched, in two address spaces", 0, NONE, map},
    {"fork, exit, wait", 0, NONE, forks},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, int count) {
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

static int usual(double loop) {
    return loop >= LEAST && loop <= MOST;
}

int main(int argc, char **argv) {
    static double gains[KINDS][MOST_RUNS], loops[KINDS][MOST_RUNS];
    int runs = argc > 1 ? atoi(argv[1]) : 11, outside[KINDS] = {0};
    struct utsname names;
    CHECK(runs > 0 && runs <= MOST_RUNS && sysconf(_SC_NPROCESSORS_ONLN) >= HARTS && uname(&names) == 0);
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    printf("system\t%s %s %s\n", names.sysname, names.release, names.version);
    for (int run = 0; run < runs; run++) {
        printf("\trun %d of %d\n", run + 1, runs);
        fflush(stdout);
        for (int i = 0; i < KINDS; i++) {
            const struct kind *loop = kinds[i].threads ? &loop_threads : &loop_processes;
            int again = 0;
            do {
                loops[i][run] = gain(loop);
                gains[i][run] = gain(&kinds[i]);
            } while (!usual(loops[i][run]) && again++ < AGAIN);
            outside[i] += !usual(loops[i][run]);
        }
    }
    for (int i = 0; i < KINDS; i++)
        printf("%s\t%.2f\t%.2f\t%d\n", kinds[i].name, median(gains[i], runs), median(loops[i], runs), outside[i]);
    return 0;
}
