/* All registers but the result's are after a trap what they were before: after system calls that do nothing, that
   yield, that fault on the program's memory, that make a process and that a signal comes in; after faults of the
   program; and when the thread is pre-empted. Processes at the same time have different values in each register, gp
   and tp among them, which the kernel does not use for itself. */
#include "check.h"

enum { PROCESSES = 5, ROUNDS = 300, SP = 2, A0 = 10, REGISTERS = 32 };

/* NAME(registers) loads all registers but sp, does ACTION, and stores them again. */
#define WITH_REGISTERS(name, action)                                                                   \
    void name(uint64_t registers[REGISTERS]);                                                          \
    __asm__(".text\n.globl " #name "\n" #name ":\n"                                                    \
            "addi sp, sp, -528\nsd a0, 512(sp)\n"                                                      \
            ".irp r, 1,3,4,8,9,18,19,20,21,22,23,24,25,26,27\nsd x\\r, 256 + \\r * 8(sp)\n.endr\n" \
            ".irp r, 1,3,4,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,10\n" \
            "ld x\\r, \\r * 8(a0)\n.endr\n" action                                                     \
            "\n.irp r, 1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n" \
            "sd x\\r, \\r * 8(sp)\n.endr\n"                                                            \
            "ld t6, 512(sp)\n"                                                                         \
            ".irp r, 1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n" \
            "ld t5, \\r * 8(sp)\nsd t5, \\r * 8(t6)\n.endr\n"                                          \
            ".irp r, 1,3,4,8,9,18,19,20,21,22,23,24,25,26,27\nld x\\r, 256 + \\r * 8(sp)\n.endr\n" \
            "addi sp, sp, 528\nret\n")

WITH_REGISTERS(do_call, "ecall");
WITH_REGISTERS(do_store, "sb a1, 0(a0)");
WITH_REGISTERS(do_load, "lb x0, 0(a0)");
/* About a slice of the scheduler's. */
WITH_REGISTERS(do_spin, "1: addi a0, a0, -1\nbnez a0, 1b");

/* A handler that leaves nothing but ra and sp as it was. */
void clobber(int signal);
__asm__(".text\n.globl clobber\nclobber:\n"
        ".irp r, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
        "li x\\r, -\\r\n.endr\nret\n");

static uint64_t seed;
static uint64_t registers[REGISTERS];

static void check(void (*act)(uint64_t *), const char *what, int result_register) {
    uint64_t before[REGISTERS];
    memcpy(before, registers, sizeof before);
    act(registers);
    for (int i = 1; i < REGISTERS; i++)
        if (i != SP && i != result_register && registers[i] != before[i]) {
            dprintf(2, "registers: after %s x%d is %lx, was %lx\n", what, i, registers[i], before[i]);
            _exit(1);
        }
}

static void randomize(void) {
    for (int i = 0; i < REGISTERS; i++)
        registers[i] = next_random(&seed);
}

static long call(const char *what, long number, long a, long b, long c) {
    randomize();
    registers[A0] = a;
    registers[A0 + 1] = b;
    registers[A0 + 2] = c;
    registers[A0 + 7] = number;
    check(do_call, what, A0);
    return (long)registers[A0];
}

static void access_page(void (*act)(uint64_t *), const char *what, char *page) {
    randomize();
    registers[A0] = (uint64_t)page;
    check(act, what, 0);
}

static void run(int who) {
    seed = 0x9e3779b97f4a7c15ull * (who + 1);
    struct sigaction action = {.sa_handler = clobber};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    int zero = open("/dev/zero", O_RDONLY);
    CHECK(zero >= 0);
    pid_t self = getpid();
    for (int round = 0; round < ROUNDS; round++) {
        char *pages = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pages != MAP_FAILED);
        CHECK(call("getpid", SYS_getpid, 0, 0, 0) == self);
        CHECK(call("a call that is not there", 511, 0, 0, 0) == -ENOSYS);
        CHECK(call("sched_yield", SYS_sched_yield, 0, 0, 0) == 0);
        access_page(do_load, "a load of a new page", pages);
        access_page(do_store, "a store to the page of zeroes", pages);
        access_page(do_store, "a store to a new page", pages + PAGE);
        CHECK(call("read into new pages", SYS_read, zero, (long)pages + 2 * PAGE + 100, PAGE) == PAGE);
        CHECK(call("read to nowhere", SYS_read, zero, 8, PAGE) == -EFAULT);
        CHECK(call("kill", SYS_kill, self, SIGUSR1, 0) == 0);
        CHECK(munmap(pages, 4 * PAGE) == 0);
        if (round % 32 == 0) {
            randomize();
            registers[A0] = 2000000;
            check(do_spin, "pre-emption", A0);
            pid_t child = (pid_t)call("clone", SYS_clone, SIGCHLD, 0, 0);
            CHECK(child >= 0);
            if (child == 0)
                _exit(0);
            CHECK(status_of(child) == 0);
        }
    }
}

int main(void) {
    pid_t children[PROCESSES];
    for (int who = 0; who < PROCESSES; who++) {
        children[who] = fork();
        CHECK(children[who] >= 0);
        if (children[who] == 0) {
            run(who);
            _exit(0);
        }
    }
    for (int who = 0; who < PROCESSES; who++)
        CHECK(status_of(children[who]) == 0);
    puts("registers: ok");
    return 0;
}
