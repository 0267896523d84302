/* What the rows ask the kernel by: accesses that may fail, mappings to begin with, and what /proc says. */
#include "family.h"
#include <setjmp.h>
#include <sys/personality.h>

struct fault fault;
static sigjmp_buf back;

static void jump_back(int number, siginfo_t *info, void *context) {
    (void)context;
    fault = (struct fault){number, info->si_code, info->si_addr};
    siglongjmp(back, 1);
}

/* On a stack of their own: the usual one may be what cannot be touched. */
static void catch_faults(void) {
    static char stack[65536];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    CHECK(sigaltstack(&own, NULL) == 0);
    struct sigaction action = {.sa_sigaction = jump_back, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
}

bool can_read(const volatile char *at) {
    catch_faults();
    if (sigsetjmp(back, 1))
        return false;
    (void)*at;
    return true;
}

bool can_write(volatile char *at) {
    catch_faults();
    if (sigsetjmp(back, 1))
        return false;
    *at = 'w';
    return true;
}

bool can_run(char *at) {
    catch_faults();
    if (sigsetjmp(back, 1))
        return false;
    return ((long (*)(void))at)() == 0;
}

void put_code(char *at) {
    static const uint32_t code[] = {0x00000513, 0x00008067}; /* li a0, 0; ret */
    memcpy(at, code, sizeof code);
    __builtin___clear_cache(at, at + sizeof code);
}

char *memory(size_t pages) {
    char *at = mmap(NULL, pages * PAGE, RW, PRIVATE, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

char *letters(size_t pages) {
    char *at = room(pages);
    CHECK(mmap(at, pages * PAGE, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0) == at);
    for (size_t page = 0; page < pages; page++)
        at[page * PAGE] = (char)('a' + page);
    return at;
}

char *room(size_t pages) {
    const size_t near = 512;
    char *all = mmap(NULL, (pages + 2 * near) * PAGE, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
    CHECK(all != MAP_FAILED && munmap(all, (pages + 2 * near) * PAGE) == 0);
    return all + near * PAGE;
}

int letters_file(size_t pages, char name[32]) {
    char own[32];
    if (!name)
        name = own;
    strcpy(name, "/tmp/familyXXXXXX");
    int file = mkstemp(name);
    CHECK(file >= 0 && ftruncate(file, pages * PAGE) == 0);
    for (size_t page = 0; page < pages; page++) {
        char letter = (char)('a' + page);
        CHECK(pwrite(file, &letter, 1, page * PAGE) == 1);
    }
    if (name == own)
        CHECK(unlink(name) == 0);
    return file;
}

char *shared_file(int file, size_t pages) {
    char *at = mmap(NULL, pages * PAGE, RW, MAP_SHARED, file, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

int resident(char *at, size_t pages) {
    unsigned char there[1024];
    CHECK(pages <= sizeof there && mincore(at, pages * PAGE, there) == 0);
    int count = 0;
    for (size_t page = 0; page < pages; page++)
        count += there[page] & 1;
    return count;
}

long faults_of(char *at, size_t pages, bool write) {
    struct rusage before, after;
    CHECK(getrusage(RUSAGE_SELF, &after) == 0 && getrusage(RUSAGE_SELF, &before) == 0);
    for (volatile char *page = at; page < at + pages * PAGE; page += PAGE) {
        if (write)
            *page = 1;
        else
            (void)*page;
    }
    CHECK(getrusage(RUSAGE_SELF, &after) == 0);
    return after.ru_minflt - before.ru_minflt;
}

long status_kb(const char *field) {
    char line[256];
    long kb = -1;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, field, strlen(field)) && line[strlen(field)] == ':')
            kb = atol(line + strlen(field) + 1);
    fclose(file);
    CHECK(kb >= 0);
    return kb;
}

/* Reads /proc/self/maps without memory of its own, as there may be no more to be had. */
static void each_mapping(bool (*each)(unsigned long start, unsigned long end, const char *rights, void *data), void *data) {
    static char text[1 << 16];
    int file = open("/proc/self/maps", O_RDONLY);
    CHECK(file >= 0);
    size_t used = 0;
    bool more = true;
    while (more) {
        ssize_t got = read(file, text + used, sizeof text - 1 - used);
        CHECK(got >= 0);
        used += (size_t)got;
        text[used] = 0;
        char *line = text;
        for (char *end; more && (end = strchr(line, '\n')); line = end + 1) {
            unsigned long start, stop;
            char found[5];
            CHECK(sscanf(line, "%lx-%lx %4s", &start, &stop, found) == 3);
            more = each(start, stop, found, data);
        }
        used -= (size_t)(line - text);
        memmove(text, line, used);
        more = more && got > 0;
    }
    close(file);
}

struct wanted {
    unsigned long from, to, start, end;
    char rights[5];
    int count;
};

static bool look(unsigned long start, unsigned long end, const char *rights, void *data) {
    struct wanted *wanted = data;
    if (start >= wanted->from && start < wanted->to)
        wanted->count++;
    if (start <= wanted->from && wanted->from < end) {
        wanted->start = start, wanted->end = end;
        strcpy(wanted->rights, rights);
    }
    return start < wanted->to;
}

static struct wanted find(const void *from, size_t pages) {
    struct wanted wanted = {.from = (unsigned long)from, .to = (unsigned long)from + pages * PAGE};
    each_mapping(look, &wanted);
    return wanted;
}

const char *rights(const void *at) {
    static char found[5];
    strcpy(found, find(at, 1).rights);
    return found;
}

int mappings(const char *from, size_t pages) {
    return find(from, pages).count;
}

char *start_of(const void *at) {
    return (char *)find(at, 1).start;
}

char *end_of(const void *at) {
    return (char *)find(at, 1).end;
}

bool has_flag(const void *at, const char *flag) {
    char line[512];
    unsigned long start, end;
    bool here = false, found = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = start <= (unsigned long)at && (unsigned long)at < end;
        if (!here || strncmp(line, "VmFlags:", 8))
            continue;
        char spaced[8];
        snprintf(spaced, sizeof spaced, " %s ", flag);
        found = strstr(line, spaced) != NULL;
    }
    fclose(file);
    return found;
}

void say_where(void) {
    char here;
    struct where where = {.stack = (unsigned long)&here, .mapping = (unsigned long)memory(1), .heap = (unsigned long)sbrk(PAGE)};
    where.persona = personality(0xffffffff);
    strcpy(where.rights, rights((char *)where.mapping));
    strcpy(where.heap_rights, rights((char *)where.heap));
    strcpy(where.zero, *rights(NULL) ? rights(NULL) : "-");
    CHECK(write(1, &where, sizeof where) == sizeof where);
}

struct where where_of_program(int persona) {
    return where_of_file("/proc/self/exe", persona);
}

struct where where_of_file(const char *path, int persona) {
    struct where where;
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(dup2(ends[1], 1) == 1 && personality((unsigned)persona) >= 0);
        execl(path, "family", "--where", NULL);
        _exit(1);
    }
    close(ends[1]);
    CHECK(status_of(pid) == 0 && read(ends[0], &where, sizeof where) == sizeof where);
    close(ends[0]);
    return where;
}

void set_number(const char *path, long number) {
    int file = open(path, O_WRONLY);
    CHECK(file >= 0 && dprintf(file, "%ld\n", number) > 0 && close(file) == 0);
}

void set_limit(int resource, rlim_t bytes) {
    struct rlimit limit = {bytes, bytes};
    CHECK(setrlimit(resource, &limit) == 0);
}

void become_nobody(void) {
    CHECK(setgid(65534) == 0 && setuid(65534) == 0);
}

void exhaust_mappings(void) {
    /* Rights that differ from page to page keep the mappings apart. */
    const size_t pages = 80000;
    char *at = mmap(NULL, pages * PAGE, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    size_t page = 0;
    while (page < pages && mprotect(at + page * PAGE, PAGE, PROT_READ) == 0)
        page += 2;
    CHECK(page < pages && errno == ENOMEM);
    /* A new mapping may be one more than a split. */
    page = 0;
    while (page < 8 && mmap(NULL, PAGE, PROT_READ, SHARED, -1, 0) != MAP_FAILED)
        page++;
    CHECK(page < 8 && errno == ENOMEM);
}
