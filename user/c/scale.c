/* What a second hart gains: the same work once on one hart, and once on each of two at the same time. The gain is how
   much more work an amount of time holds then, 2 at the most.

       scale [RUNS]    11 unless given

   What is measured takes turns, RUNS times. Beside each, a loop that touches no memory is measured in the same way: it
   shows what the machine below us gives. Where that gains less than 1.5 the pair is done again, a few times at most. A
   line is: name, median of the gains, median of the loop's, runs whose loop stayed below, separated by tabs; what has
   tabs at its start tells how far it is. */
#include "check.h"
#include <pthread.h>
#include <sys/utsname.h>

enum { HARTS = 2, MOST_RUNS = 99, AGAIN = 4 };
static const double LEAST = 1.5;
static const size_t REGION = 48 * MB;

/* What the workers share, threads or processes. */
static struct {
    int ready, go;
    int64_t began[HARTS], ended[HARTS];
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
    void (*work)(char *memory);
};

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static volatile uint64_t sink;
static uint64_t turns = 1000000;

static void spin(char *memory) {
    (void)memory;
    uint64_t value = 1;
    for (uint64_t i = 0; i < turns; i++)
        __asm__ volatile("slli t0, %0, 13\n xor %0, %0, t0\n srli t0, %0, 7\n xor %0, %0, t0" : "+r"(value)::"t0");
    sink = value;
}

static void fault(char *memory) {
    for (volatile char *page = memory; page < memory + REGION; page += PAGE)
        *page = 1;
}

static void map(char *memory) {
    (void)memory;
    for (int i = 0; i < 6000; i++) {
        char *at = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at != MAP_FAILED);
        *(volatile char *)at = 1;
        CHECK(munmap(at, PAGE) == 0);
    }
}

static void forks(char *memory) {
    (void)memory;
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(0);
        CHECK(status_of(pid) == 0);
    }
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
    shared->began[worker->hart] = now();
    worker->kind->work(worker->memory);
    shared->ended[worker->hart] = now();
    if (worker->kind->mappings == EACH)
        CHECK(munmap(worker->memory, REGION) == 0);
    return 0;
}

/* Nanoseconds until all of so many workers are done. */
static int64_t measure(const struct kind *kind, int workers) {
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
    int64_t first = shared->began[0], last = shared->ended[0];
    for (int i = 1; i < workers; i++) {
        first = shared->began[i] < first ? shared->began[i] : first;
        last = shared->ended[i] > last ? shared->ended[i] : last;
    }
    return last - first;
}

static double gain(const struct kind *kind) {
    int64_t one = measure(kind, 1), two = measure(kind, HARTS);
    return (double)HARTS * one / two;
}

static const struct kind loop_threads = {"spin", 1, NONE, spin}, loop_processes = {"spin", 0, NONE, spin};

static const struct kind kinds[] = {
    {"faults in one mapping", 1, ONE, fault},
    {"faults in two mappings", 1, EACH, fault},
    {"faults in two address spaces", 0, EACH, fault},
    {"mmap, touch, munmap in one address space", 1, NONE, map},
    {"mmap, touch, munmap in two address spaces", 0, NONE, map},
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

int main(int argc, char **argv) {
    static double gains[KINDS][MOST_RUNS], loops[KINDS][MOST_RUNS];
    int runs = argc > 1 ? atoi(argv[1]) : 11, below[KINDS] = {0};
    struct utsname names;
    CHECK(runs > 0 && runs <= MOST_RUNS && sysconf(_SC_NPROCESSORS_ONLN) >= HARTS && uname(&names) == 0);
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    printf("system\t%s %s %s\n", names.sysname, names.release, names.version);
    /* As long as what it stands beside. */
    for (int i = 0; i < 2; i++)
        turns = turns * 100000000ull / (measure(&loop_threads, 1) + 1);
    for (int run = 0; run < runs; run++) {
        printf("\trun %d of %d\n", run + 1, runs);
        fflush(stdout);
        for (int i = 0; i < KINDS; i++) {
            const struct kind *loop = kinds[i].threads ? &loop_threads : &loop_processes;
            int again = 0;
            do {
                loops[i][run] = gain(loop);
                gains[i][run] = gain(&kinds[i]);
            } while (loops[i][run] < LEAST && again++ < AGAIN);
            below[i] += loops[i][run] < LEAST;
        }
    }
    for (int i = 0; i < KINDS; i++)
        printf("%s\t%.2f\t%.2f\t%d\n", kinds[i].name, median(gains[i], runs), median(loops[i], runs), below[i]);
    return 0;
}
