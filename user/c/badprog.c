/* Programs that misbehave: each gets the signal that Linux gives, everybody else goes on, and its memory is back. */
#include "check.h"
#include <sys/prctl.h>

enum { SLACK_KB = 4096 };

static void die_of(int number, siginfo_t *info, void *context) {
    (void)context;
    /* Tells the parent what the signal was. */
    uint64_t told[3] = {number, info->si_code, (uint64_t)info->si_addr};
    if (write(50, told, sizeof told) != sizeof told)
        _exit(1);
    _exit(0);
}

static volatile long sink;

static void jump_to_0(void) {
    ((void (*)(void))sink)();
}

static void jump_to_odd_data(void) {
    static long data[2] = {0, 0};
    ((void (*)(void))(data + 1))();
}

static void write_own_code(void) {
    *(volatile char *)jump_to_0 = 1;
}

static int __attribute__((noinline)) recurse(volatile char *above) {
    volatile char frame[1024];
    frame[0] = above[0];
    /* Never so; it keeps the compiler from knowing. */
    if (sink == 12345)
        return 0;
    return recurse(frame) + frame[1023];
}

static void overrun_stack(void) {
    sink = recurse((volatile char[]){1, 2});
}

static volatile char *volatile kernel;

static void read_kernel(void) {
    sink = kernel[0];
}

static void write_kernel(void) {
    kernel[0] = 1;
}

static void call_kernel(void) {
    ((void (*)(void))kernel)();
}

static void privileged_instruction(void) {
    __asm__ volatile("csrr %0, sstatus" : "=r"(sink));
}

/* Runs it in a child, whose signal must be as said; `address` 1 stands for any. */
static void misbehave(const char *name, void (*program)(void), int number, int code, uint64_t address) {
    int p[2];
    uint64_t told[3];
    CHECK(pipe(p) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        static char stack[16384];
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
        struct sigaction action = {.sa_sigaction = die_of, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        struct rlimit limit = {8 * MB, 8 * MB};
        CHECK(setrlimit(RLIMIT_STACK, &limit) == 0 && dup2(p[1], 50) == 50 && sigaltstack(&alternate, NULL) == 0);
        CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGILL, &action, NULL) == 0);
        CHECK(sigaction(SIGBUS, &action, NULL) == 0);
        program();
        _exit(2);
    }
    close(p[1]);
    int status = status_of(pid);
    ssize_t got = read(p[0], told, sizeof told);
    close(p[0]);
    if (status != 0 || got != sizeof told || told[0] != (uint64_t)number || told[1] != (uint64_t)code ||
        (address != 1 && told[2] != address)) {
        dprintf(2, "badprog: %s: status %d, signal %ld, si_code %ld, si_addr %lx\n", name, status,
                got > 0 ? (long)told[0] : -1, got > 0 ? (long)told[1] : -1, got > 0 ? told[2] : 0);
        _exit(1);
    }
    /* And without a handler it ends by the signal. */
    pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        program();
        _exit(2);
    }
    CHECK(status_of(pid) == 128 + number);
}

/* Every call with kernel addresses in all its arguments; those that end, stop or wait are left out. */
static void kernel_addresses_everywhere(void) {
    static const int left_out[] = {SYS_exit, SYS_exit_group, SYS_reboot, SYS_rt_sigreturn, SYS_restart_syscall};
    for (int number = 0; number < 600; number++) {
        int skip = 0;
        for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
            skip |= left_out[i] == number;
        if (skip)
            continue;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(1);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            int null = open("/dev/null", O_RDWR);
            for (int fd = 0; fd <= 2; fd++)
                dup2(null, fd);
            CHECK(setgid(65534) == 0 && setuid(65534) == 0);
            for (int kind = 0; kind < 4; kind++) {
                long address = (long[]){(long)0xffffffff80200000ul, (long)0xffffffc000000000ul, -4096, -8}[kind];
                /* First argument a descriptor, a small number, or an address as well. */
                for (int first = 0; first < 3; first++)
                    syscall(number, (long[]){0, 1, address}[first], address, address, address, address, address);
            }
            _exit(0);
        }
        status_of(pid);
    }
}

/* Whoever has to die for want of memory, it is this process and its children to come. */
static void killed_first(void) {
    int score = open("/proc/self/oom_score_adj", O_WRONLY);
    if (score >= 0 && (write(score, "1000", 4) != 4 || close(score) != 0))
        _exit(1);
}

/* Forks until there is no memory or no process to be had, each child with 1 MB of its own; then all are ended. */
static void fork_until_full(void) {
    int p[2];
    CHECK(pipe(p) == 0);
    pid_t bomb = fork();
    CHECK(bomb >= 0);
    if (bomb == 0) {
        CHECK(setsid() > 0);
        killed_first();
        close(p[0]);
        long forks = 0;
        for (;;) {
            pid_t pid = fork();
            if (pid == 0) {
                /* The bomb's end must end the pipe, whoever of them is killed. */
                close(p[1]);
                volatile char *memory = mmap(0, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (memory == MAP_FAILED)
                    _exit(0);
                for (size_t at = 0; at < MB; at += PAGE)
                    memory[at] = 1;
                for (;;)
                    pause();
            }
            int status;
            /* It is over when a fork fails, or when a child was killed for want of memory. */
            if (pid < 0 || waitpid(-1, &status, WNOHANG) > 0)
                break;
            forks++;
        }
        if (write(p[1], &forks, sizeof forks) != sizeof forks)
            _exit(1);
        for (;;)
            pause();
    }
    close(p[1]);
    long forks = -1;
    /* The bomb itself may be the one that is killed. */
    ssize_t got = read(p[0], &forks, sizeof forks);
    close(p[0]);
    /* First this: as long as there is no memory, a fault in here is the end of us. */
    kill(-bomb, SIGKILL);
    status_of(bomb);
    /* Its children are ours now, as their reaper. */
    while (waitpid(-1, NULL, 0) > 0) {
    }
    printf("fork until memory is gone: %s after %ld forks\n", got > 0 ? "stopped" : "killed", forks);
    fflush(stdout);
}

/* Memory that is in no address space: files without a name, and pipes. Who fills it is refused, or dies of it. */
static void fill_files(void) {
    for (int kind = 0; kind < 2; kind++) {
        pid_t child = fork();
        if (child == 0) {
            static char block[1 << 16];
            killed_first();
            int file = memfd_create("fill", 0), p[2] = {-1, -1};
            ssize_t written;
            if (kind == 0)
                while ((written = write(file, block, sizeof block)) > 0)
                    ;
            else
                do {
                    if (pipe2(p, O_NONBLOCK) != 0) {
                        written = -1;
                        break;
                    }
                    written = write(p[1], block, sizeof block);
                } while (written > 0);
            int error = errno;
            sleep_ms(300);
            _exit(written < 0 && (error == ENOMEM || error == ENOSPC || error == EMFILE || error == ENFILE) ? 0 : 1);
        }
        int status = status_of(child);
        CHECK(status == 0 || status == 128 + SIGKILL);
        child = fork();
        if (child == 0)
            _exit(7);
        CHECK(status_of(child) == 7);
    }
}

int main(void) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int score = open("/proc/self/oom_score_adj", O_WRONLY);
    if (score >= 0)
        CHECK(write(score, "-1000", 5) == 5 && close(score) == 0);
    for (int pass = 0; pass < 2; pass++) {
        sleep_ms(200);
        long before = meminfo("MemFree");
        misbehave("jump to 0", jump_to_0, SIGSEGV, SEGV_MAPERR, 0);
        misbehave("jump into data", jump_to_odd_data, SIGSEGV, SEGV_ACCERR, 1);
        misbehave("write to own code", write_own_code, SIGSEGV, SEGV_ACCERR, (uint64_t)jump_to_0);
        misbehave("overrun the stack", overrun_stack, SIGSEGV, SEGV_MAPERR, 1);
        misbehave("privileged instruction", privileged_instruction, SIGILL, ILL_ILLOPC, 1);
        static const uint64_t addresses[] = {0xffffffff80200000, 0xffffffc000000000, -PAGE, 1ul << 62, 1ul << 56};
        for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
            kernel = (volatile char *)addresses[i];
            misbehave("read kernel memory", read_kernel, SIGSEGV, SEGV_MAPERR, addresses[i]);
            misbehave("write kernel memory", write_kernel, SIGSEGV, SEGV_MAPERR, addresses[i]);
            misbehave("call kernel memory", call_kernel, SIGSEGV, SEGV_MAPERR, addresses[i]);
        }
        kernel_addresses_everywhere();
        fork_until_full();
        fill_files();
        sleep_ms(500);
        long after = meminfo("MemFree");
        printf("MemFree %ld KB before, %ld KB after\n", before, after);
        fflush(stdout);
        if (pass > 0)
            CHECK(before - after <= SLACK_KB);
    }
    puts("badprog: ok");
    return 0;
}
