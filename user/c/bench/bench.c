/* Instructions an operation, by `rdtime`: a tick is 100 instructions under QEMU's `-icount shift=0,sleep=off`.

       bench [--describe] [--settle SECONDS] [ROW]...
                                            all rows unless some are named, each in a new process
       bench --here ROW                     in this process
       bench --list                         names, units and shapes

   `--describe` says first what runs (`system`, its name and version) and what will (`row`, and a line of the list).
   A line is: name, instructions an operation, operations a pass, local fences, remote fences and interrupts of other
   harts an operation (`-` where /proc/vmstat does not count them), separated by tabs; or name, `not built`, the errno's
   name. On a clock that does not count instructions the figure is in hundredths of a tick. */
#include "bench.h"
#include <sys/personality.h>
#include <sys/utsname.h>

enum { MOST_PASSES = 32, COUNTERS = 3 };
static const double TICK = 100;

static const struct row *const subjects[] = {call_rows,  fault_rows, mapping_rows, advice_rows, huge_rows,
                                              file_rows, many_rows,  process_rows, exec_rows};

static uint64_t begun, ended;

static inline uint64_t ticks(void) {
    uint64_t now;
    __asm__ volatile("rdtime %0" : "=r"(now)::"memory");
    return now;
}

__attribute__((noinline)) void bench_begin(void) {
    begun = ticks();
}

__attribute__((noinline)) void bench_end(void) {
    ended = ticks();
}

/* Local fences, remote fences, interrupts for other harts; Linux's names. */
struct counters {
    long count[COUNTERS];
};

static const char *const counter_names[COUNTERS][3] = {
    {"nr_tlb_local_flush_all ", "nr_tlb_local_flush_one ", 0},
    {"nr_tlb_remote_flush ", 0},
    {"nr_tlb_remote_flush_received ", 0},
};

static int vmstat = -1;

/* A count is -1 where the kernel does not keep it. */
static struct counters counters(void) {
    static char text[16384];
    struct counters now;
    long length = vmstat < 0 ? 0 : pread(vmstat, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = 0;
    for (int i = 0; i < COUNTERS; i++) {
        now.count[i] = -1;
        for (int j = 0; counter_names[i][j]; j++) {
            const char *at = strstr(text, counter_names[i][j]);
            if (at)
                now.count[i] = (now.count[i] < 0 ? 0 : now.count[i]) + atol(at + strlen(counter_names[i][j]));
        }
    }
    return now;
}

/* The passes of the row that runs. Children share them. */
static struct {
    double instructions[MOST_PASSES];
    long passes, operations, all_operations;
    struct counters before, sum;
} *pass;

void begin(void) {
    pass->before = counters();
    bench_begin();
}

void end(long operations) {
    bench_end();
    struct counters after = counters();
    CHECK(pass->passes < MOST_PASSES);
    for (int i = 0; i < COUNTERS; i++)
        pass->sum.count[i] += after.count[i] < 0 ? 0 : after.count[i] - pass->before.count[i];
    pass->instructions[pass->passes++] = (ended - begun) * TICK / operations;
    pass->operations = operations;
    pass->all_operations += operations;
    pass->before = after;
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void report(const struct row *row) {
    CHECK(pass->passes > 0);
    qsort(pass->instructions, pass->passes, sizeof *pass->instructions, by_size);
    double median = pass->instructions[pass->passes / 2];
    printf("%s\t%.*f\t%ld", row->name, median < 10000 ? 1 : 0, median, pass->operations);
    for (int i = 0; i < COUNTERS; i++)
        if (pass->before.count[i] < 0)
            printf("\t-");
        else
            printf("\t%.3f", (double)pass->sum.count[i] / pass->all_operations);
    printf("\n");
}

static const char *running;

void not_built(int error) {
    printf("%s\tnot built\t%s\n", running, strerrorname_np(error));
    exit(0);
}

char *anonymous(size_t bytes) {
    char *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    /* EINVAL: a kernel without huge pages. */
    CHECK(madvise(at, bytes, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    return at;
}

static const struct row *find(const char *name) {
    for (size_t subject = 0; subject < sizeof subjects / sizeof *subjects; subject++)
        for (const struct row *row = subjects[subject]; row->name; row++)
            if (!strcmp(row->name, name))
                return row;
    dprintf(2, "bench: there is no row %s\n", name);
    exit(2);
}

static void describe_system(void) {
    struct utsname names;
    CHECK(uname(&names) == 0);
    printf("system\t%s %s %s\n", names.sysname, names.release, names.version);
}

static void run(const struct row *row) {
    running = row->name;
    pass = mmap(0, sizeof *pass, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(pass != MAP_FAILED);
    vmstat = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
    row->run();
    report(row);
}

/* A row in a process of its own, which is a new program: nothing that an earlier row did is in it. */
static int run_alone(const struct row *row, char *program) {
    char *arguments[] = {program, "--here", (char *)row->name, 0};
    fflush(stdout);
    pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execv(program, arguments);
        _exit(127);
    }
    int status = status_of(pid);
    if (status)
        printf("%s\tfailed\t%d\n", row->name, status);
    return status;
}

/* Does `act` with the rows that are named, or with all. */
static int each(int count, char **names, int (*act)(const struct row *, char *), char *with) {
    int status = 0;
    for (int i = 0; i < count; i++)
        status |= act(find(names[i]), with);
    for (size_t subject = 0; count == 0 && subject < sizeof subjects / sizeof *subjects; subject++)
        for (const struct row *row = subjects[subject]; row->name; row++)
            status |= act(row, with);
    return status;
}

static int list(const struct row *row, char *before) {
    return printf("%s%s\t%s\t%s\n", before, row->name, row->unit, row->shape) < 0;
}

int main(int count, char **arguments) {
    int next = 1, describe = 0;
    if (count == 2 && !strcmp(arguments[1], "--exit"))
        _exit(0);
    if (count == 2 && !strcmp(arguments[1], "--list"))
        return each(0, 0, list, "");
    if (count == 3 && !strcmp(arguments[1], "--here")) {
        run(find(arguments[2]));
        return 0;
    }
    if (next < count && !strcmp(arguments[next], "--describe"))
        describe = next++;
    long settle = 0;
    if (next + 1 < count && !strcmp(arguments[next], "--settle")) {
        settle = atol(arguments[next + 1]);
        next += 2;
    }
    if (describe) {
        describe_system();
        each(count - next, arguments + next, list, "row\t");
        fflush(stdout);
    }
    /* Addresses decide how mappings share nodes and tables. A kernel that does not know how to keep them still is
       measured all the same. */
    personality(ADDR_NO_RANDOMIZE);
    sleep_ms(1000 * settle);
    return each(count - next, arguments + next, run_alone, arguments[0]) ? 1 : 0;
}
