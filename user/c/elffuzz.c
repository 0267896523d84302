/* Executes ELF files with mutated headers: `elffuzz [FILES [SEED]]`. Each is a small static program with one to three
   changes in its header, its program headers or its length, run by an unprivileged child that is stopped after a
   second. Prints how they ended. The program without changes must work in between, and memory must come back. */
#include "check.h"
#include <elf.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { HEADERS = sizeof(Elf64_Ehdr) + 5 * sizeof(Elf64_Phdr), SIZE = 0x1800, STATUS = 42, STOP_MS = 1000, SLACK_KB = 4096 };

/* Adds its data and its bss, which is zero, to the exit status. */
__asm__(".pushsection .rodata\n.option push\n.option norvc\n.option norelax\n"
        "template_code:\n"
        " lui a1, 0x12\n lw a2, 0(a1)\n lui a3, 0x13\n lw a4, 0(a3)\n sw a2, 0(a3)\n"
        " add a0, a2, a4\n li a7, 93\n ecall\n"
        "template_end:\n.option pop\n.popsection\n");
extern const char template_code[], template_end[];

static unsigned char file[SIZE];
static size_t file_size;

static void build(void) {
    memset(file, 0, sizeof file);
    file_size = sizeof file;
    Elf64_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = 0x10200,
        .e_phoff = sizeof header, .e_flags = 5, .e_ehsize = sizeof header,
        .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 5,
    };
    Elf64_Phdr parts[5] = {
        {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = 0, .p_vaddr = 0x10000, .p_paddr = 0x10000,
         .p_filesz = 0x1000, .p_memsz = 0x1000, .p_align = PAGE},
        {.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = 0x1000, .p_vaddr = 0x12000, .p_paddr = 0x12000,
         .p_filesz = 0x800, .p_memsz = 0x2800, .p_align = PAGE},
        {.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W, .p_align = 16},
        {.p_type = PT_NOTE, .p_flags = PF_R, .p_offset = 0x300, .p_vaddr = 0x10300, .p_filesz = 32, .p_memsz = 32,
         .p_align = 4},
        {.p_type = PT_NULL, .p_offset = 0x380, .p_filesz = 17, .p_memsz = 17},
    };
    memcpy(file, &header, sizeof header);
    memcpy(file + sizeof header, parts, sizeof parts);
    memcpy(file + 0x200, template_code, template_end - template_code);
    /* What PT_NULL becomes PT_INTERP with: the program itself. */
    strcpy((char *)file + 0x380, "/tmp/elffuzz/plain");
    file[0x1000] = STATUS;
}

static const uint64_t edges[] = {
    0, 1, 2, 3, 4, 6, 7, 8, 56, 57, 63, 64, 4095, 4096, 4097, 0x1000, 0x1800, 0x1801, 0xffff, 0x10000, 0x10001, 0x11000,
    0x12000, 0x7fffffff, 0x80000000, 0xffffffff, (1ul << 38) - PAGE, 1ul << 38, (1ul << 47) - PAGE, 1ul << 47,
    0x7fffffffffffffff, 0x8000000000000000, 0xffffffc000000000, 0xffffffff80000000, -PAGE, -1ul,
};

static void mutate(uint64_t *random) {
    for (int left = 1 + next_random(random) % 3; left > 0; left--) {
        uint64_t r = next_random(random), value = edges[next_random(random) % (sizeof edges / sizeof *edges)];
        size_t width = (size_t[]){1, 2, 4, 8}[r >> 8 & 3], at = (r >> 16) % (HEADERS / width) * width;
        switch (r % 8) {
        case 0: file[(r >> 16) % HEADERS] = (unsigned char)(r >> 40); break;
        case 1: file[(r >> 16) % HEADERS] ^= 1 << (r >> 40 & 7); break;
        case 2: file_size = r >> 16 & 1 ? (r >> 20) % SIZE : (r >> 20) % (HEADERS + 64); break;
        case 3: { /* Another kind of part. */
            Elf64_Phdr *part = (Elf64_Phdr *)(file + sizeof(Elf64_Ehdr)) + (r >> 16) % 5;
            part->p_type = (r >> 20) % 8;
            break;
        }
        default: memcpy(file + at, &value, width);
        }
    }
}

static void write_file(const char *path) {
    /* A new file each time: the old one may still be executed. */
    unlink(path);
    int out = open(path, O_CREAT | O_EXCL | O_WRONLY, 0755);
    CHECK(out >= 0 && write(out, file, file_size) == (ssize_t)file_size && close(out) == 0);
}

/* How executing `path` ended: an exit status, 1000 + the signal, or 2000 + exec's errno. */
static int execute(const char *path) {
    int report[2], status, error = 0;
    CHECK(pipe2(report, O_CLOEXEC) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0}, space = {512 * MB, 512 * MB};
        setrlimit(RLIMIT_CORE, &none);
        setrlimit(RLIMIT_AS, &space);
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd <= 2; fd++)
            dup2(null, fd);
        CHECK(setgid(65534) == 0 && setuid(65534) == 0);
        execl(path, path, NULL);
        error = errno;
        CHECK(write(report[1], &error, sizeof error) == sizeof error);
        _exit(0);
    }
    close(report[1]);
    long start = now_ms();
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() - start > STOP_MS)
            kill(pid, SIGKILL);
        struct timespec moment = {0, 200000};
        nanosleep(&moment, NULL);
    }
    int failed = read(report[0], &error, sizeof error) == sizeof error;
    close(report[0]);
    return failed ? 2000 + error : WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int endings[2200];

static void fuzz(int from, int to, uint64_t seed, uint64_t *digest) {
    for (int i = from; i < to; i++) {
        if (i % 250 == 0)
            CHECK(execute("/tmp/elffuzz/plain") == STATUS);
        uint64_t random = (seed << 32) + i + 0x9e3779b97f4a7c15ull;
        build();
        mutate(&random);
        write_file("/tmp/elffuzz/mutant");
        int ending = execute("/tmp/elffuzz/mutant");
        endings[ending]++;
        *digest = (*digest ^ ending) * 0x100000001b3ull;
        if (getenv("ELFFUZZ_TRACE"))
            printf("%d: %d\n", i, ending);
    }
}

int main(int argc, char **argv) {
    int files = argc > 1 ? atoi(argv[1]) : 500;
    uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1, digest = 0xcbf29ce484222325ull;
    CHECK(mkdir("/tmp/elffuzz", 0755) == 0);
    build();
    write_file("/tmp/elffuzz/plain");
    fuzz(0, files / 2, seed, &digest);
    sleep_ms(300);
    long before = meminfo("MemFree");
    fuzz(files / 2, files, seed, &digest);
    sleep_ms(300);
    long after = meminfo("MemFree");
    for (int ending = 0; ending < 2200; ending++)
        if (endings[ending])
            printf("%s %s: %d\n", ending >= 2000 ? "exec" : ending >= 1000 ? "killed" : "exit",
                   ending >= 2000   ? strerrorname_np(ending - 2000)
                   : ending >= 1000 ? sigabbrev_np(ending - 1000)
                                    : (char[]){'0' + ending / 100, '0' + ending / 10 % 10, '0' + ending % 10, 0},
                   endings[ending]);
    printf("%d files, digest %016lx; MemFree %ld KB, then %ld KB\n", files, (unsigned long)digest, before, after);
    fflush(stdout);
    CHECK(execute("/tmp/elffuzz/plain") == STATUS);
    CHECK(endings[STATUS] > 0 && endings[2000 + ENOEXEC] > 0);
    CHECK(before - after <= SLACK_KB);
    puts("elffuzz: ok");
    return 0;
}
