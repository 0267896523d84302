/* Random calls of mmap and its family, with accesses and forks between them: `mapfuzz COUNT [SEED [show]]`. Each result,
   errno and signal goes into one sum, and after each call what /proc/self/smaps says of the area, so that two kernels
   which print the same sum did the same. `show` prints it all, to be compared line by line. */
#include "check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/prctl.h>

enum { PAGES = 48, FILE_PAGES = 24, RW = PROT_READ | PROT_WRITE };

static char *const area = (char *)0x1000000000;
static uint64_t state = 88172645463325252ull, sum = 14695981039346656037ull;
static int show, writable, constant;
static sigjmp_buf back;
static volatile int code_seen;

static unsigned pick(unsigned count) {
    return (unsigned)(next_random(&state) >> 33) % count;
}

/* Into the sum, and to be seen. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char text[1024];
    va_list rest;
    va_start(rest, format);
    int length = vsnprintf(text, sizeof text, format, rest);
    va_end(rest);
    CHECK(length >= 0 && length < (int)sizeof text);
    for (int at = 0; at < length; at++)
        sum = (sum ^ (unsigned char)text[at]) * 1099511628211ull;
    if (show)
        fputs(text, stdout);
}

static void jump_back(int number, siginfo_t *info, void *context) {
    (void)context;
    code_seen = number << 8 | info->si_code;
    siglongjmp(back, 1);
}

/* The byte there, after a store if `write`; or 0x10000 and signal and code. */
static int touch(volatile char *at, int write) {
    if (sigsetjmp(back, 1))
        return 0x10000 | code_seen;
    if (write)
        *at = (char)write;
    return (unsigned char)*at;
}

/* What smaps says of the area. */
static void say_area(void) {
    char line[512];
    unsigned long start = 0, end = 0, offset;
    char rights[5];
    int inside = 0;
    static FILE *file;
    if (!file)
        CHECK(file = fopen("/proc/self/smaps", "r"));
    rewind(file);
    fflush(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx %4s %lx", &start, &end, rights, &offset) == 4) {
            inside = end > (unsigned long)area - 64 * PAGE && start < (unsigned long)(area + 2 * PAGES * PAGE);
            if (inside)
                say(" %ld-%ld %s %lx", (long)(start - (unsigned long)area) / 4096, (long)(end - (unsigned long)area) / 4096,
                    rights, offset / PAGE);
        } else if (inside && (!strncmp(line, "Rss:", 4) || !strncmp(line, "Anonymous:", 10) || !strncmp(line, "Locked:", 7))) {
            say(" %ld", atol(line + 12) / 4);
        } else if (inside && !strncmp(line, "VmFlags:", 8)) {
            say("%.*s;", (int)strcspn(line + 8, "\n"), line + 8);
        }
    }
    say("\n");
}

static char *some_page(void) {
    char *at = area + pick(PAGES) * PAGE;
    return pick(50) ? at : at + 1 + pick(4095);
}

static size_t some_length(void) {
    /* None that ends past the area without wrapping: what is there is not the same on both. */
    static const size_t odd[] = {0, 1, PAGE - 1, PAGE + 1, -PAGE, -1ul, -2 * PAGE, -PAGE - 1};
    if (pick(40) == 0)
        return odd[pick(sizeof odd / sizeof *odd)];
    return (1 + (pick(3) ? pick(6) : pick(PAGES))) * PAGE;
}

static int some_rights(void) {
    static const int usual[] = {RW, RW, RW, PROT_READ, PROT_NONE, PROT_WRITE, PROT_READ | PROT_EXEC, RW | PROT_EXEC};
    return usual[pick(8)];
}

/* An address as a result: in pages of the area, or that it is elsewhere, whence it is taken away. */
static void say_place(void *at, size_t length) {
    if (at == MAP_FAILED)
        say(" = %s", strerrorname_np(errno));
    else if ((char *)at >= area && (char *)at < area + 2 * PAGES * PAGE)
        say(" = %ld", ((char *)at - area) / 4096);
    else {
        say(" = elsewhere");
        if (length < 1ul << 30)
            CHECK(munmap(at, length) == 0);
    }
}

static void say_result(long result) {
    if (result < 0)
        say(" = %s", strerrorname_np(errno));
    else
        say(" = %ld", result);
}

static void map(void) {
    static const int kinds[] = {MAP_PRIVATE, MAP_PRIVATE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED, MAP_SHARED_VALIDATE, 0, 4};
    static const int more[] = {MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_POPULATE | MAP_NONBLOCK};
    char *at = some_page();
    size_t length = some_length(), offset = pick(FILE_PAGES) * PAGE;
    int rights = some_rights(), flags = kinds[pick(20) ? pick(5) : pick(8)], file = -1;
    unsigned where = pick(10);
    flags |= where < 6 ? MAP_FIXED : where < 8 ? MAP_FIXED_NOREPLACE : 0;
    if (pick(4) == 0)
        flags |= more[pick(sizeof more / sizeof *more)];
    if (pick(5) < 3)
        flags |= MAP_ANONYMOUS;
    else
        file = pick(3) ? writable : pick(3) ? constant : -1;
    /* Neither whether there is room elsewhere is compared, nor what Linux splits before it finds that it is too much. */
    if (length > 1ul << 30)
        length = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) ? -PAGE : PAGE;
    say("mmap %ld+%d %lx %d %x %d %ld", (at - area) / 4096, (int)((at - area) % 4096), length / 4096, rights, flags,
        file == writable ? 1 : file == constant ? 2 : 0, offset / PAGE);
    say_place(mmap(at, length, rights, flags, file, offset), length);
}

static void remap(void) {
    char *at = some_page(), *to = some_page();
    size_t old = pick(20) ? (1 + pick(6)) * PAGE : pick(2) ? 0 : some_length(), new = pick(3) ? some_length() : old;
    int flags = pick(4) ? MREMAP_MAYMOVE : 0;
    if (pick(2))
        flags |= MREMAP_FIXED;
    if (pick(5) == 0)
        flags |= MREMAP_DONTUNMAP;
    if (pick(60) == 0)
        flags |= 8;
    say("mremap %ld %lx %lx %x %ld", (at - area) / 4096, old / 4096, new / 4096, flags, (to - area) / 4096);
    if (new > 1ul << 30 && !(flags & MREMAP_FIXED))
        new = old;
    say_place(mremap(at, old, new, flags, to), new);
}

static void advise(void) {
    static const int advice[] = {
        MADV_NORMAL,     MADV_RANDOM,     MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_REMOVE,
        MADV_DONTFORK,   MADV_DOFORK,     MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD,
        MADV_PAGEOUT,    22 /* MADV_POPULATE_READ */, 23 /* MADV_POPULATE_WRITE */, 24 /* MADV_DONTNEED_LOCKED */,
        7 /* none */};
    char *at = some_page();
    size_t length = some_length();
    int what = advice[pick(sizeof advice / sizeof *advice)];
    say("madvise %ld %lx %d", (at - area) / 4096, length / 4096, what);
    say_result(madvise(at, length, what));
}

static void lock(void) {
    char *at = some_page();
    size_t length = some_length();
    unsigned which = pick(4);
    say("lock%u %ld %lx", which, (at - area) / 4096, length / 4096);
    say_result(which == 0 ? mlock(at, length) : which == 1 ? mlock2(at, length, (int)pick(2)) : munlock(at, length));
}

static void sync_or_look(void) {
    char *at = some_page();
    size_t length = some_length();
    if (pick(2)) {
        int flags = (int)pick(8);
        say("msync %ld %lx %d", (at - area) / 4096, length / 4096, flags);
        say_result(msync(at, length, flags));
        return;
    }
    unsigned char there[PAGES + 1] = {0};
    if (length > PAGES * PAGE)
        length = PAGES * PAGE;
    say("mincore %ld %lx", (at - area) / 4096, length / 4096);
    int result = mincore(at, length, there);
    say_result(result);
    for (size_t page = 0; result == 0 && page < (length + PAGE - 1) / PAGE; page++)
        say("%d", there[page] & 1);
}

static void change_file(void) {
    unsigned page = pick(FILE_PAGES), what = pick(8);
    say("file%u %u", what, page);
    if (what < 5)
        say_result(pwrite(writable, "F", 1, page * PAGE));
    else if (what < 7)
        say_result(fallocate(writable, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE, 2 * PAGE));
    else {
        CHECK(ftruncate(writable, page * PAGE + 7) == 0);
        CHECK(ftruncate(writable, FILE_PAGES * PAGE) == 0);
    }
}

static void access_some(void) {
    char *at = area + pick(PAGES) * PAGE + pick(PAGE);
    int write = pick(2) ? 1 + (int)pick(200) : 0;
    say("access %ld %d = %x", (at - area) / 4096, write, touch(at, write));
}

static void in_child(void) {
    unsigned pages[8];
    for (int at = 0; at < 8; at++)
        pages[at] = pick(PAGES);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int found = 0;
        for (int at = 0; at < 8; at++)
            found = found * 31 + touch(area + pages[at] * PAGE, at & 1 ? 'c' : 0);
        _exit(found & 0x7f);
    }
    say("fork = %d", status_of(pid));
}

static void one(void) {
    unsigned which = pick(100);
    if (which < 22)
        map();
    else if (which < 30) {
        char *at = some_page();
        size_t length = some_length();
        say("munmap %ld %lx", (at - area) / 4096, length / 4096);
        say_result(munmap(at, length));
    } else if (which < 42) {
        char *at = some_page();
        size_t length = some_length();
        int rights = some_rights() | (pick(30) ? 0 : 1 << (3 + pick(25)));
        say("mprotect %ld %lx %x", (at - area) / 4096, length / 4096, rights);
        say_result(mprotect(at, length, rights));
    } else if (which < 52)
        remap();
    else if (which < 64)
        advise();
    else if (which < 69)
        lock();
    else if (which < 74)
        sync_or_look();
    else if (which < 79)
        change_file();
    else if (which < 97)
        access_some();
    else
        in_child();
    say_area();
}

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 1000;
    state += argc > 2 ? (uint64_t)atol(argv[2]) * 7919 : 0;
    show = argc > 3;
    struct sigaction action = {.sa_sigaction = jump_back, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
    /* Huge pages are no part of this. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    char name[] = "/tmp/mapfuzzXXXXXX";
    writable = mkstemp(name);
    CHECK(writable >= 0 && (constant = open(name, O_RDONLY)) >= 0 && unlink(name) == 0);
    CHECK(ftruncate(writable, FILE_PAGES * PAGE) == 0);
    for (int page = 0; page < FILE_PAGES; page++)
        CHECK(pwrite(writable, "file", 4, page * PAGE) == 4);
    for (long done = 0; done < count; done++) {
        if (show)
            printf("%ld: ", done);
        one();
    }
    printf("mapfuzz: %ld calls, sum %016lx: ok\n", count, (unsigned long)sum);
    return 0;
}
