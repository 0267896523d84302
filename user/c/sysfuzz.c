/* Calls every system call with bad arguments: `sysfuzz [CALLS [SEED]]`. Unprivileged forked children, each stopped
   after a second, call numbers 0 to 600 (reboot left out) with arguments half at random and half from a pool of live
   descriptors, edges of memory, kernel addresses and valid flags, until CALLS have returned. Prints how often each
   (call, errno) came. Whatever the calls do, the machine must go on, and their memory must come back. */
#include "check.h"
#include <ftw.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>

enum {
    NUMBERS = 601,
    ERRNOS = 134, /* 0 is success */
    REBOOT = 142,
    CHILDREN = 8, /* at a time */
    STOP_MS = 1000,
    BLOCKED_MS = 20, /* a call that waits is interrupted after that */
    NOBODY = 65534,
    LEAST = 60, /* calls that must have succeeded, and that must have answered EFAULT, at least once */
    SLACK_KB = 4096,
};

/* Counted here by all children; where it lies is in nobody's pool. */
static struct {
    volatile uint64_t returned;
    volatile uint32_t seen[NUMBERS][ERRNOS];
} *tally;

static long pool[64];
static int pool_size;

static void add(long value) {
    CHECK(pool_size < 64);
    pool[pool_size++] = value;
}

/* What a call may take in earnest. Runs in the child. */
static void fill_pool(void) {
    int p[2];
    CHECK(pipe2(p, O_NONBLOCK) == 0);
    add(p[0]), add(p[1]);
    add(open("file", O_CREAT | O_RDWR, 0644));
    add(open(".", O_RDONLY | O_DIRECTORY));
    add(open("/dev/zero", O_RDWR));
    add(open("/proc/self/status", O_RDONLY));
    add(AT_FDCWD), add(-1);
    /* A page to read, one to write, both with a hole behind; valid data in the middle. */
    char *memory = mmap(0, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    strcpy(memory + 128, "file"), strcpy(memory + 256, "made"), strcpy(memory + 384, "."), strcpy(memory + 512, "..");
    strcpy(memory + 640, "/dev/null");
    struct timespec moment = {0, 1000};
    memcpy(memory + 768, &moment, sizeof moment);
    struct { void *base; size_t length; } vector = {memory + 1024, 64};
    memcpy(memory + 896, &vector, sizeof vector);
    CHECK(munmap(memory + PAGE, PAGE) == 0 && mprotect(memory + 2 * PAGE, PAGE, PROT_READ) == 0);
    CHECK(mprotect(memory + 3 * PAGE, PAGE, PROT_NONE) == 0);
    for (int at = 0; at <= 1024; at += 128)
        add((long)(memory + at));
    add((long)(memory + PAGE - 8)), add((long)(memory + PAGE - 1)), add((long)(memory + PAGE));
    add((long)(memory + 2 * PAGE)), add((long)(memory + 3 * PAGE - 4)), add((long)(memory + 3 * PAGE));
    add((long)(memory + 4 * PAGE)), add((long)(memory + 5 * PAGE));
    /* The ends of user space, the hole in the middle, and the kernel's half. */
    add(0), add(8), add((1l << 38) - 4096), add(1l << 38), add((1l << 47) - 4096), add((1l << 47) - 8), add(1l << 47);
    add(1l << 62), add((long)0x8000000000000000ul), add((long)0xffffffc000000000ul), add((long)0xffffffff80000000ul);
    add(-4096), add(-8);
    /* Sizes, flags, signals, clocks, processes. */
    add(1), add(2), add(3), add(4), add(16), add(64), add(128), add(4096), add(8192), add(0x22), add(0x32), add(0x800);
    add(SIGUSR1), add(getpid());
}

static long argument(uint64_t *random) {
    uint64_t r = next_random(random);
    if (r & 1)
        return pool[(r >> 8) % pool_size];
    switch (r >> 1 & 3) {
    case 0: return (long)next_random(random);
    case 1: return (int)next_random(random);
    default: return (long)(r >> 8 & 0xff);
    }
}

static void interrupt(int number) {
    (void)number;
}

static long raw_call(long number, const long *a) {
    register long a0 __asm__("a0") = a[0], a1 __asm__("a1") = a[1], a2 __asm__("a2") = a[2], a3 __asm__("a3") = a[3];
    register long a4 __asm__("a4") = a[4], a5 __asm__("a5") = a[5], a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7) : "memory");
    return a0;
}

static void fuzz(uint64_t random) {
    static const long leave[6];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CHECK(chdir("/tmp/sysfuzz") == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    struct rlimit space = {256 * MB, 256 * MB}, file = {MB, MB}, none = {0, 0};
    setrlimit(RLIMIT_AS, &space);
    setrlimit(RLIMIT_FSIZE, &file);
    setrlimit(RLIMIT_CORE, &none);
    /* The terminal is not the children's to spoil. */
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2; fd++)
        CHECK(dup2(null, fd) == fd);
    fill_pool();
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGALRM, &action, NULL);
    for (;;) {
        struct itimerval timer = {{0, BLOCKED_MS * 1000}, {0, BLOCKED_MS * 1000}};
        setitimer(ITIMER_REAL, &timer, NULL);
        long number = next_random(&random) % NUMBERS, arguments[6];
        if (number == REBOOT)
            continue;
        for (int i = 0; i < 6; i++)
            arguments[i] = argument(&random);
        long result = raw_call(number, arguments);
        /* A new process: it has nothing to do here. */
        if (result == 0 && (number == SYS_clone || number == SYS_clone3))
            raw_call(SYS_exit_group, leave);
        uint32_t error = result < 0 && result > -ERRNOS ? -result : 0;
        __atomic_fetch_add(&tally->seen[number][error], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&tally->returned, 1, __ATOMIC_RELAXED);
    }
}

/* Ends every process of the unprivileged user: what children have left. */
static void end_all(void) {
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(setuid(NOBODY) == 0);
        kill(-1, SIGKILL);
        _exit(0);
    }
    CHECK(pid > 0);
    status_of(pid);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

static int remove_one(const char *path, const struct stat *meta, int kind, struct FTW *at) {
    (void)meta, (void)kind;
    if (at->level > 0)
        remove(path);
    return 0;
}

static void remove_files(void) {
    nftw("/tmp/sysfuzz", remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Children until that many calls have returned; true if that was reached. */
static int rounds(uint64_t calls, uint64_t *seed) {
    pid_t pids[CHILDREN] = {0};
    long started[CHILDREN], last_progress = now_ms();
    uint64_t last = 0;
    int spawned = 0;
    while (tally->returned < calls) {
        for (int slot = 0; slot < CHILDREN; slot++) {
            if (pids[slot] && now_ms() - started[slot] > STOP_MS) {
                kill(pids[slot], SIGKILL);
                status_of(pids[slot]);
                pids[slot] = 0;
            }
            if (pids[slot] && waitpid(pids[slot], NULL, WNOHANG) != 0)
                pids[slot] = 0;
            if (pids[slot] == 0) {
                uint64_t random = next_random(seed);
                pid_t pid = fork();
                if (pid == 0)
                    fuzz(random);
                if (pid < 0)
                    continue;
                pids[slot] = pid;
                started[slot] = now_ms();
                if (++spawned % 64 == 0)
                    remove_files();
            }
        }
        sleep_ms(1);
        if (tally->returned != last)
            last = tally->returned, last_progress = now_ms();
        else if (now_ms() - last_progress > 20000)
            return 0;
    }
    for (int slot = 0; slot < CHILDREN; slot++)
        if (pids[slot]) {
            kill(pids[slot], SIGKILL);
            waitpid(pids[slot], NULL, 0);
        }
    end_all();
    remove_files();
    return 1;
}

int main(int argc, char **argv) {
    uint64_t calls = argc > 1 ? strtoul(argv[1], NULL, 0) : 20000, seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
    /* A child that leaves this process group with a stopped child behind in it orphans the group, which then gets
       SIGHUP by POSIX. It is not meant for us. */
    signal(SIGHUP, SIG_IGN);
    tally = mmap(0, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(tally != MAP_FAILED);
    CHECK(mkdir("/tmp/sysfuzz", 0777) == 0 && chmod("/tmp/sysfuzz", 0777) == 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    /* The first part makes every cache as large as it gets. */
    CHECK(rounds(calls / 2, &seed));
    sleep_ms(500);
    long before = meminfo("MemFree");
    CHECK(rounds(calls, &seed));
    sleep_ms(500);
    long after = meminfo("MemFree");
    int succeeded = 0, faulted = 0;
    for (int number = 0; number < NUMBERS; number++) {
        int any = 0;
        for (int error = 0; error < ERRNOS; error++) {
            uint32_t times = tally->seen[number][error];
            if (times == 0)
                continue;
            if (error == ENOSYS && number >= 473)
                continue;
            printf(any++ ? " %s=%u" : "%3$d: %1$s=%2$u", error ? strerrorname_np(error) : "ok", times, number);
        }
        if (any)
            puts("");
        succeeded += tally->seen[number][0] > 0;
        faulted += tally->seen[number][EFAULT] > 0;
    }
    printf("%lu calls returned; %d calls succeeded at least once, %d answered EFAULT; MemFree %ld KB, then %ld KB\n",
           (unsigned long)tally->returned, succeeded, faulted, before, after);
    fflush(stdout);
    CHECK(succeeded >= LEAST && faulted >= LEAST);
    CHECK(before - after <= SLACK_KB);
    pid_t pid = fork();
    if (pid == 0)
        _exit(11);
    CHECK(status_of(pid) == 11);
    puts("sysfuzz: ok");
    return 0;
}
