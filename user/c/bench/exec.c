/* Programs: executed, ended and waited for. */
#include "bench.h"
#include <elf.h>
#include <sys/stat.h>

static const size_t BIG = 10 * MB;

/* `bytes` of a program that reads a byte in every 64 KB of itself and ends with status 0. Nothing in it is relocated. */
extern const char big_start[], big_end[];
__asm__(".pushsection .rodata\n"
        ".balign 8\n"
        ".globl big_start, big_end\n"
        "big_start:\n"
        "    lui t0, 0x1000\n"   /* where it is loaded: 0x1000000 */
        "    lui t1, 0x1a00\n"   /* its end */
        "    lui t2, 0x10\n"
        "1:  lbu t3, 0(t0)\n"
        "    add t0, t0, t2\n"
        "    bltu t0, t1, 1b\n"
        "    li a0, 0\n"
        "    li a7, 93\n"
        "    ecall\n"
        "big_end:\n"
        ".popsection\n");
static const uint64_t BASE = 0x1000000;

static void execute(const char *program, const char *argument) {
    char *arguments[] = {(char *)program, (char *)argument, 0};
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execv(program, arguments);
        _exit(127);
    }
    CHECK(status_of(pid) == 0);
}

static void measure(const char *program, const char *argument) {
    execute(program, argument);
    for (int pass = 0; pass < 5; pass++) {
        begin();
        for (int i = 0; i < 40; i++)
            execute(program, argument);
        end(40);
    }
}

static void static_program(void) {
    measure("/proc/self/exe", "--exit");
}

static void big_program(void) {
    char name[] = "/tmp/bigXXXXXX";
    size_t code = (size_t)(big_end - big_start), head = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
    int fd = mkstemp(name);
    Elf64_Ehdr header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                         .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = BASE + head,
                         .e_phoff = sizeof header, .e_ehsize = sizeof header, .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = 1};
    Elf64_Phdr all = {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = BASE, .p_paddr = BASE, .p_filesz = BIG,
                      .p_memsz = BIG, .p_align = PAGE};
    static char block[1 << 16];
    CHECK(fd >= 0);
    for (size_t at = 0; at < BIG; at += sizeof block)
        CHECK(pwrite(fd, block, sizeof block, at) == sizeof block);
    CHECK(pwrite(fd, &header, sizeof header, 0) == sizeof header);
    CHECK(pwrite(fd, &all, sizeof all, sizeof header) == sizeof all);
    CHECK(pwrite(fd, big_start, code, head) == (ssize_t)code);
    CHECK(fchmod(fd, 0755) == 0 && close(fd) == 0);
    measure(name, 0);
    CHECK(unlink(name) == 0);
}

const struct row exec_rows[] = {
    {"exec", "fork, exec of a static program of C, exit, wait", "a process", static_program},
    {"exec-10m", "... of a program of 10 MB, which reads a byte in every 64 KB of itself", "a process", big_program},
    {0},
};
