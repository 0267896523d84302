/* Mappings: splits and merges as /proc/self/maps shows them, what is reachable after each, fixed and file mappings,
   brk, code written at run time. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;
static volatile sig_atomic_t code_seen;

static void jump_back(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    code_seen = info->si_code;
    siglongjmp(back, 1);
}

/* 0 when the access works, else the signal's si_code. */
static int touch(volatile char *at, int write) {
    if (sigsetjmp(back, 1))
        return code_seen;
    if (write)
        *at = 1;
    else
        (void)*at;
    return 0;
}

/* The lines of /proc/self/maps between two addresses, as "start-end perms" in pages from `from`. */
static void check_maps(char *from, size_t pages, const char *wanted) {
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    char line[512], found[512] = "";
    while (fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char permissions[5];
        CHECK(sscanf(line, "%lx-%lx %4s", &start, &end, permissions) == 3);
        if (end <= (unsigned long)from || start >= (unsigned long)from + pages * PAGE)
            continue;
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "%ld-%ld %s;", (long)(start - (unsigned long)from) / 4096,
                 (long)(end - (unsigned long)from) / 4096, permissions);
    }
    fclose(maps);
    if (strcmp(found, wanted)) {
        dprintf(2, "maps: %s, not %s\n", found, wanted);
        _exit(1);
    }
}

/* `pages` pages between guards, so that no neighbour merges with them. */
static char *place(size_t pages, int protection) {
    char *area = mmap(0, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED && munmap(area + PAGE, pages * PAGE) == 0);
    char *at = mmap(area + PAGE, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(at == area + PAGE);
    return at;
}

static void splits(void) {
    char *at = place(8, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 8; i++)
        at[i * PAGE] = 'a' + i;
    check_maps(at, 8, "0-8 rw-p;");
    CHECK(mprotect(at + 2 * PAGE, 3 * PAGE, PROT_READ) == 0);
    check_maps(at, 8, "0-2 rw-p;2-5 r--p;5-8 rw-p;");
    CHECK(touch(at + 3 * PAGE, 1) == SEGV_ACCERR && touch(at + 3 * PAGE, 0) == 0 && touch(at + 5 * PAGE, 1) == 0);
    CHECK(munmap(at + 3 * PAGE, PAGE) == 0);
    check_maps(at, 8, "0-2 rw-p;2-3 r--p;4-5 r--p;5-8 rw-p;");
    CHECK(touch(at + 3 * PAGE, 0) == SEGV_MAPERR);
    CHECK_ERRNO(mprotect(at + 2 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE), ENOMEM);
    /* It did what it could until the hole. */
    check_maps(at, 8, "0-3 rw-p;4-5 r--p;5-8 rw-p;");
    CHECK(mmap(at + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at + 3 * PAGE);
    CHECK(mprotect(at + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
    check_maps(at, 8, "0-8 rw-p;");
    CHECK(at[2 * PAGE] == 'c' && at[3 * PAGE] == 0 && at[4 * PAGE] == 'e' && at[7 * PAGE] == 'h');
    CHECK(mprotect(at, 8 * PAGE, PROT_NONE) == 0 && touch(at, 0) == SEGV_ACCERR);
    CHECK(mprotect(at, 8 * PAGE, PROT_READ) == 0 && at[6 * PAGE] == 'g');
    CHECK(munmap(at - PAGE, 10 * PAGE) == 0);
    check_maps(at, 8, "");
}

static void errors(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *at = place(2, PROT_READ);
    CHECK_ERRNO((long)mmap(0, 0, PROT_READ, flags, -1, 0), EINVAL);
    CHECK_ERRNO((long)mmap(0, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERRNO((long)mmap(at + 1, PAGE, PROT_READ, flags | MAP_FIXED, -1, 0), EINVAL);
    CHECK_ERRNO((long)mmap(0, PAGE, PROT_READ, MAP_PRIVATE, 99, 0), EBADF);
    CHECK_ERRNO((long)mmap(0, 1ul << 62, PROT_READ, flags, -1, 0), ENOMEM);
    CHECK_ERRNO((long)mmap((void *)(-4096l), PAGE, PROT_READ, flags | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERRNO((long)mmap(at, PAGE, PROT_READ, flags | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK_ERRNO(munmap(at + 1, PAGE), EINVAL);
    CHECK_ERRNO(munmap(at, 0), EINVAL);
    CHECK_ERRNO(munmap((void *)-4096l, PAGE), EINVAL);
    CHECK_ERRNO(mprotect(at + 1, PAGE, PROT_READ), EINVAL);
    CHECK(mprotect(at, 0, PROT_READ) == 0);
    CHECK_ERRNO(mprotect(at, 100 * PAGE, 0x1000), EINVAL);
    int status = open("/proc/self/status", O_RDONLY);
    CHECK(status >= 0);
    CHECK_ERRNO((long)mmap(0, PAGE, PROT_READ, MAP_PRIVATE, status, 0), ENODEV);
    CHECK(close(status) == 0 && munmap(at - PAGE, 4 * PAGE) == 0);
}

static void files(void) {
    char name[] = "/tmp/vmsplitXXXXXX", byte;
    int file = mkstemp(name);
    CHECK(file >= 0 && unlink(name) == 0 && ftruncate(file, 3 * PAGE) == 0);
    CHECK(pwrite(file, "one", 3, 0) == 3 && pwrite(file, "two", 3, PAGE) == 3);
    char *private = mmap(0, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(private != MAP_FAILED && !memcmp(private, "one", 3) && !memcmp(private + PAGE, "two", 3));
    private[0] = 'O';
    CHECK(pread(file, &byte, 1, 0) == 1 && byte == 'o');
    /* Written through the file: seen where no private copy was made. */
    CHECK(pwrite(file, "X", 1, 0) == 1 && private[0] == 'O' && pwrite(file, "T", 1, PAGE) == 1 && private[PAGE] == 'T');
    char *second = mmap(0, PAGE, PROT_READ, MAP_PRIVATE, file, PAGE);
    CHECK(second != MAP_FAILED && !memcmp(second, "Two", 3));
    CHECK_ERRNO((long)mmap(0, PAGE, PROT_READ, MAP_PRIVATE, file, 5), EINVAL);
    /* Cut off: the pages beyond are gone, private ones too. */
    private[2 * PAGE] = 'p';
    CHECK(ftruncate(file, PAGE) == 0);
    CHECK(touch(private + 2 * PAGE, 0) == BUS_ADRERR && touch(second, 0) == BUS_ADRERR && private[0] == 'O');
    CHECK(munmap(private, 3 * PAGE) == 0 && munmap(second, PAGE) == 0 && close(file) == 0);
    int locked = open("/etc/passwd", O_RDONLY);
    CHECK(locked >= 0);
    CHECK_ERRNO((long)mmap(0, PAGE, PROT_WRITE, MAP_SHARED, locked, 0), EACCES);
    close(locked);
}

static void heap(void) {
    char *start = sbrk(0);
    CHECK(sbrk(10 * PAGE) == start && sbrk(0) == start + 10 * PAGE);
    for (int i = 0; i < 10; i++)
        CHECK(start[i * PAGE] == 0 && (start[i * PAGE] = 1));
    CHECK(sbrk(-10 * (long)PAGE) == start + 10 * PAGE);
    CHECK(touch(start + 5 * PAGE + PAGE, 0) == SEGV_MAPERR);
    CHECK(sbrk(10 * PAGE) == start && start[5 * PAGE] == 0);
    CHECK((void *)syscall(SYS_brk, 0) == start + 10 * PAGE);
    CHECK((void *)syscall(SYS_brk, -1l) == start + 10 * PAGE);
}

static void run_time_code(void) {
    uint32_t *code = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    for (int value = 1; value <= 20; value++) {
        CHECK(mprotect(code, PAGE, PROT_READ | PROT_WRITE) == 0);
        code[0] = 0x00000513 | (uint32_t)value << 20; /* li a0, value */
        code[1] = 0x00008067;                         /* ret */
        CHECK(mprotect(code, PAGE, PROT_READ | PROT_EXEC) == 0);
        __builtin___clear_cache((char *)code, (char *)(code + 2));
        CHECK(((int (*)(void))code)() == value);
    }
    CHECK(munmap(code, PAGE) == 0);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = jump_back, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
    splits();
    errors();
    files();
    heap();
    run_time_code();
    puts("vmsplit: ok");
    return 0;
}
