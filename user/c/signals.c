/* Signals: which one, with which si_code and si_addr, on which stack, with what blocked, and what they interrupt. */
#include "check.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static siginfo_t seen;
static volatile sig_atomic_t count;
static volatile uintptr_t handler_sp;
/* Page 0, out of the compiler's sight. */
static volatile char *volatile low;

static void jump_back(int number, siginfo_t *info, void *context) {
    (void)context;
    CHECK(number == info->si_signo);
    seen = *info;
    handler_sp = (uintptr_t)__builtin_frame_address(0);
    siglongjmp(back, 1);
}

static void note(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    seen = *info;
    count++;
}

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CHECK(sigaction(number, &action, NULL) == 0);
}

/* The expression must raise that signal. */
#define RAISES(expression, number, code, address)                \
    do {                                                         \
        memset(&seen, 0, sizeof seen);                           \
        if (sigsetjmp(back, 1) == 0) {                           \
            expression;                                          \
            CHECK(!"no signal from " #expression);               \
        }                                                        \
        CHECK(seen.si_signo == (number));                        \
        CHECK(seen.si_code == (code));                           \
        CHECK((uintptr_t)seen.si_addr == (uintptr_t)(address));  \
    } while (0)

static void faults(void) {
    for (int i = 0; i < 4; i++)
        handle((int[]){SIGSEGV, SIGBUS, SIGILL, SIGTRAP}[i], jump_back, 0);
    char *memory = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(mprotect(memory + PAGE, PAGE, PROT_READ) == 0);
    CHECK(mprotect(memory + 2 * PAGE, PAGE, PROT_NONE) == 0);
    CHECK(munmap(memory + 3 * PAGE, PAGE) == 0);
    volatile char *v = memory;
    RAISES(v[PAGE + 5] = 1, SIGSEGV, SEGV_ACCERR, memory + PAGE + 5);
    (void)v[PAGE];
    RAISES((void)v[2 * PAGE + 6], SIGSEGV, SEGV_ACCERR, memory + 2 * PAGE + 6);
    RAISES(v[3 * PAGE + 7] = 1, SIGSEGV, SEGV_MAPERR, memory + 3 * PAGE + 7);
    RAISES((void)low[8], SIGSEGV, SEGV_MAPERR, 8);
    RAISES(((void (*)(void))memory)(), SIGSEGV, SEGV_ACCERR, memory);
    RAISES(((void (*)(void))0)(), SIGSEGV, SEGV_MAPERR, 0);
    char name[] = "/tmp/signalsXXXXXX";
    int file = mkstemp(name);
    CHECK(file >= 0 && unlink(name) == 0 && write(file, "x", 1) == 1);
    volatile char *mapped = mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    CHECK(mapped != MAP_FAILED && mapped[0] == 'x' && mapped[PAGE - 1] == 0);
    RAISES((void)mapped[PAGE + 1], SIGBUS, BUS_ADRERR, mapped + PAGE + 1);
    CHECK(munmap((void *)mapped, 2 * PAGE) == 0 && close(file) == 0);

    uint32_t *code = mmap(0, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    code[0] = 0xffffffff;
    code[1] = 0x00100073; /* ebreak */
    __builtin___clear_cache((char *)code, (char *)(code + 2));
    RAISES(((void (*)(void))code)(), SIGILL, ILL_ILLOPC, code);
    RAISES(((void (*)(void))(code + 1))(), SIGTRAP, TRAP_BRKPT, code + 1);
    CHECK(munmap(code, PAGE) == 0 && munmap(memory, 3 * PAGE) == 0);
}

static void alternate_stack(void) {
    static char stack[16384];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack}, old;
    CHECK(sigaltstack(&alternate, NULL) == 0);
    handle(SIGSEGV, jump_back, SA_ONSTACK);
    RAISES(low[16] = 1, SIGSEGV, SEGV_MAPERR, 16);
    CHECK(handler_sp >= (uintptr_t)stack && handler_sp < (uintptr_t)stack + sizeof stack);
    alternate.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&alternate, &old) == 0);
    CHECK(old.ss_sp == stack && old.ss_size == sizeof stack);
    alternate.ss_flags = 0, alternate.ss_size = 16;
    CHECK_ERRNO(sigaltstack(&alternate, NULL), ENOMEM);
}

static void senders(void) {
    handle(SIGUSR1, note, 0);
    count = 0;
    CHECK(kill(getpid(), SIGUSR1) == 0 && count == 1);
    CHECK(seen.si_code == SI_USER && seen.si_pid == getpid() && seen.si_uid == getuid());
    CHECK(raise(SIGUSR1) == 0 && count == 2 && seen.si_code == SI_TKILL && seen.si_pid == getpid());
    CHECK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77}) == 0 && count == 3);
    CHECK(seen.si_code == SI_QUEUE && seen.si_value.sival_int == 77);
    CHECK_ERRNO(kill(999999, 0), ESRCH);
    CHECK_ERRNO(kill(getpid(), 65), EINVAL);
    struct sigaction action = {.sa_handler = SIG_IGN};
    CHECK_ERRNO(sigaction(SIGKILL, &action, NULL), EINVAL);
    CHECK_ERRNO(sigaction(SIGSTOP, &action, NULL), EINVAL);
}

static void masks(void) {
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    count = 0;
    handle(SIGRTMIN, note, 0);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(kill(getpid(), SIGUSR1) == 0);
        CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
    }
    CHECK(count == 0 && sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGRTMIN) && !sigismember(&pending, SIGUSR2));
    /* A real-time signal is queued each time, in order; an ordinary one once. */
    siginfo_t info;
    sigset_t real_time;
    sigemptyset(&real_time);
    sigaddset(&real_time, SIGRTMIN);
    CHECK(sigwaitinfo(&real_time, &info) == SIGRTMIN && info.si_value.sival_int == 0);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(count == 3);
    struct timespec soon = {0, 20000000};
    CHECK_ERRNO(sigtimedwait(&real_time, &info, &soon), EAGAIN);

    /* sigsuspend opens the mask and closes it again. */
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    count = 0;
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        sleep_ms(30);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    CHECK_ERRNO(sigsuspend(&old), EINTR);
    CHECK(count == 1 && seen.si_pid == child);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(status_of(child) == 0);
}

static void reset_hand(int number) {
    (void)number;
    count++;
}

static void flags(void) {
    struct sigaction action = {.sa_handler = reset_hand, .sa_flags = SA_RESETHAND}, now;
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    count = 0;
    CHECK(raise(SIGUSR2) == 0 && count == 1);
    CHECK(sigaction(SIGUSR2, NULL, &now) == 0 && now.sa_handler == SIG_DFL);

    /* A read is restarted or not, as the handler's flags say. */
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    for (int restart = 0; restart <= 1; restart++) {
        handle(SIGUSR1, note, restart ? SA_RESTART : 0);
        count = 0;
        pid_t parent = getpid(), child = fork();
        if (child == 0) {
            sleep_ms(50);
            kill(parent, SIGUSR1);
            sleep_ms(100);
            CHECK(write(ends[1], "r", 1) == 1);
            _exit(0);
        }
        if (restart)
            CHECK(read(ends[0], &byte, 1) == 1 && byte == 'r');
        else
            CHECK_ERRNO(read(ends[0], &byte, 1), EINTR);
        CHECK(count == 1);
        CHECK(status_of(child) == 0);
        if (!restart)
            CHECK(read(ends[0], &byte, 1) == 1);
    }
    /* A write into a pipe without readers. */
    handle(SIGPIPE, note, 0);
    count = 0;
    CHECK(close(ends[0]) == 0);
    CHECK_ERRNO(write(ends[1], "x", 1), EPIPE);
    CHECK(count == 1 && close(ends[1]) == 0);
    /* Sleep is interrupted and tells what is left. */
    handle(SIGALRM, note, SA_RESTART);
    struct timespec long_time = {10, 0}, left = {0, 0};
    count = 0;
    struct { struct timeval interval, value; } timer = {{0, 0}, {0, 50000}};
    CHECK(syscall(SYS_setitimer, 0, &timer, NULL) == 0);
    CHECK_ERRNO(nanosleep(&long_time, &left), EINTR);
    CHECK(count == 1 && left.tv_sec == 9);
}

static void children(void) {
    handle(SIGCHLD, note, 0);
    count = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(42);
    CHECK(status_of(child) == 42 && count == 1);
    CHECK(seen.si_code == CLD_EXITED && seen.si_pid == child && seen.si_status == 42);
    child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    count = 0;
    CHECK(kill(child, SIGSTOP) == 0);
    int status;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
    /* The child itself tells of that, perhaps later; a signal that waits would swallow the next. */
    while (count < 2)
        sleep_ms(1);
    CHECK(kill(child, SIGTERM) == 0 && status_of(child) == 128 + SIGTERM);
    CHECK(seen.si_code == CLD_KILLED && seen.si_status == SIGTERM);
    signal(SIGCHLD, SIG_IGN);
    /* Who ignores SIGCHLD has no zombies. */
    child = fork();
    if (child == 0)
        _exit(0);
    CHECK_ERRNO(waitpid(child, &status, 0), ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

static void spoil_registers(int number) {
    (void)number;
    __asm__ volatile("fmv.d.x fs0, zero\n fmv.d.x ft0, zero\n fmv.d.x fa5, zero\n fscsr zero" ::: "fs0", "ft0", "fa5");
    count++;
}

/* `struct sigaction` as the kernel has it. */
struct action {
    void (*handler)(int);
    unsigned long flags, mask;
};

/* Every third signal, and what `inherited` has done on it. */
static const int THIRDS[] = {3, 6, 12, 15, 18, 21, 24, 27, 30, 36, 39, 42, 45, 48, 51, 54, 57, 60, 63};

static struct action unlike(int number) {
    return (struct action){spoil_registers, SA_RESTART, 1ul << (number / 3 + 20)};
}

static int are_unlike(void) {
    for (size_t i = 0; i < sizeof THIRDS / sizeof *THIRDS; i++) {
        struct action now, wanted = unlike(THIRDS[i]);
        CHECK(syscall(SYS_rt_sigaction, THIRDS[i], NULL, &now, 8) == 0);
        if (memcmp(&now, &wanted, sizeof now) != 0)
            return 0;
    }
    return 1;
}

/* A child starts with its parent's actions, and has its own then. */
static void inherited(void) {
    CHECK(!are_unlike());
    for (size_t i = 0; i < sizeof THIRDS / sizeof *THIRDS; i++) {
        struct action wanted = unlike(THIRDS[i]);
        CHECK(syscall(SYS_rt_sigaction, THIRDS[i], &wanted, NULL, 8) == 0);
    }
    signal(SIGUSR1, SIG_DFL);
    pid_t child = fork();
    if (child == 0) {
        CHECK(are_unlike() && signal(SIGUSR1, SIG_IGN) == SIG_DFL);
        CHECK(signal(SIGQUIT, SIG_DFL) == spoil_registers && !are_unlike());
        _exit(0);
    }
    CHECK(status_of(child) == 0 && are_unlike() && signal(SIGUSR1, SIG_DFL) == SIG_DFL);
    for (size_t i = 0; i < sizeof THIRDS / sizeof *THIRDS; i++)
        CHECK(signal(THIRDS[i], SIG_DFL) == spoil_registers);
}

/* A handler's use of registers is not seen by what it interrupts. */
static void registers(void) {
    struct sigaction action = {.sa_handler = spoil_registers};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    count = 0;
    double a = 1.5, b = 2.5, c = 3.5;
    long result, number = SYS_kill, rounding;
    __asm__ volatile("fmv.d fs0, %[a]\n fmv.d ft0, %[b]\n fmv.d fa5, %[c]\n fsrmi 2\n"
                     "mv a0, %[pid]\n li a1, 10\n mv a7, %[number]\n ecall\n mv %[result], a0\n"
                     "frrm %[rounding]\n fsrmi 0\n"
                     "fmv.d %[a], fs0\n fmv.d %[b], ft0\n fmv.d %[c], fa5"
                     : [a] "+f"(a), [b] "+f"(b), [c] "+f"(c), [result] "=&r"(result), [rounding] "=&r"(rounding)
                     : [pid] "r"((long)getpid()), [number] "r"(number)
                     : "fs0", "ft0", "fa5", "a0", "a1", "a7", "memory");
    CHECK(result == 0 && count == 1 && rounding == 2);
    CHECK(a == 1.5 && b == 2.5 && c == 3.5);
}

int main(void) {
    faults();
    alternate_stack();
    senders();
    masks();
    flags();
    children();
    inherited();
    registers();
    puts("signals: ok");
    return 0;
}
