/* Memory under stress: `memstress [SECONDS]` forks, execs, writes pipes and files and maps memory on every hart for that
   long (5); when all is over, every counter that /proc shows of memory must agree with the others, to the page. Then
   the settings of /proc/sys/vm. As root. */
#include "check.h"
#include <ctype.h>
#include <stdbool.h>
#include <sys/utsname.h>

enum { ZONES = 4, ORDERS = 11, WORKERS_PER_HART = 2, TRIES = 50 };

/* Bits of /proc/kpageflags. */
enum {
    KPF_LRU = 5,
    KPF_ACTIVE = 6,
    KPF_SLAB = 7,
    KPF_BUDDY = 10,
    KPF_ANON = 12,
    KPF_SWAPBACKED = 14,
    KPF_UNEVICTABLE = 18,
    KPF_NOPAGE = 20,
    KPF_PGTABLE = 26,
    KPF_MLOCKED = 33
};

/* Lists that pages age on. */
enum { INACTIVE_FILE, ACTIVE_FILE, INACTIVE_ANON, ACTIVE_ANON, UNEVICTABLE, LISTS };
static const char *const list_names[LISTS][2] = {{"inactive_file", "Inactive(file)"},
                                                 {"active_file", "Active(file)"},
                                                 {"inactive_anon", "Inactive(anon)"},
                                                 {"active_anon", "Active(anon)"},
                                                 {"unevictable", "Unevictable"}};

static bool on_rux;

/* ---- The stress. */

static void use_memory(uint64_t *random) {
    size_t bytes = (1 + next_random(random) % 256) * PAGE;
    int flags = next_random(random) % 4 ? MAP_PRIVATE : MAP_SHARED;
    char *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    for (size_t at = 0; at < bytes; at += PAGE)
        memory[at] = (char)(at / PAGE);
    if (next_random(random) % 8 == 0) {
        CHECK(mlock(memory, bytes / 2) == 0);
        if (bytes > 8 * PAGE) /* MADV_DONTNEED refuses what is locked; the rest goes with it. */
            CHECK(munlock(memory + 2 * PAGE, bytes - 2 * PAGE) == 0);
    }
    if (bytes > 8 * PAGE) {
        CHECK(mprotect(memory + 2 * PAGE, PAGE, PROT_READ) == 0);
        CHECK(munmap(memory + 4 * PAGE, PAGE) == 0);
        CHECK(madvise(memory + 5 * PAGE, 2 * PAGE, MADV_DONTNEED) == 0);
        CHECK(memory[2 * PAGE] == 2 && memory[7 * PAGE] == 7);
        CHECK(memory[5 * PAGE] == (flags == MAP_PRIVATE ? 0 : 5));
    }
    CHECK(munmap(memory, bytes) == 0);
}

static void use_file(uint64_t *random, int who) {
    char name[64], block[PAGE];
    snprintf(name, sizeof name, "/tmp/memstress.%d", who);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    size_t pages = 1 + next_random(random) % 64;
    memset(block, who, sizeof block);
    for (size_t page = 0; page < pages; page++)
        CHECK(write(fd, block, sizeof block) == (ssize_t)sizeof block);
    char *memory = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    for (size_t page = 0; page < pages; page++)
        CHECK(memory[page * PAGE + 9] == (char)who);
    if (next_random(random) % 4 == 0)
        CHECK(mlock(memory, pages * PAGE) == 0);
    CHECK(ftruncate(fd, PAGE) == 0);
    CHECK(munmap(memory, pages * PAGE) == 0);
    CHECK(unlink(name) == 0);
    CHECK(close(fd) == 0);
}

static void use_pipe(uint64_t *random) {
    int ends[2];
    static char block[60000];
    CHECK(pipe(ends) == 0);
    size_t bytes = 1 + next_random(random) % sizeof block;
    CHECK(write(ends[1], block, bytes) == (ssize_t)bytes);
    for (size_t left = bytes; left;) {
        ssize_t got = read(ends[0], block, left);
        CHECK(got > 0);
        left -= got;
    }
    close(ends[0]);
    close(ends[1]);
}

static void use_processes(uint64_t *random) {
    bool exec = next_random(random) % 3 == 0;
    char *memory = mmap(0, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 1, 32 * PAGE);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        memset(memory, 2, 16 * PAGE);
        if (exec)
            execl("/proc/self/exe", "memstress", "nothing", (char *)0);
        _exit(exec);
    }
    CHECK(status_of(pid) == 0);
    CHECK(memory[0] == 1 && memory[31 * PAGE] == 1);
    CHECK(munmap(memory, 32 * PAGE) == 0);
}

static void work(int who, int hart, long until) {
    uint64_t random = 88172645463325252ull + who;
    cpu_set_t harts;
    CPU_ZERO(&harts);
    CPU_SET(hart, &harts);
    CHECK(sched_setaffinity(0, sizeof harts, &harts) == 0);
    while (now_ms() < until) {
        switch (next_random(&random) % 4) {
        case 0: use_memory(&random); break;
        case 1: use_file(&random, who); break;
        case 2: use_pipe(&random); break;
        case 3: use_processes(&random); break;
        }
    }
}

static void stress(long seconds) {
    int harts = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pid_t workers[64 * WORKERS_PER_HART];
    int count = harts * WORKERS_PER_HART;
    CHECK(count > 0 && count <= (int)(sizeof workers / sizeof *workers));
    long until = now_ms() + seconds * 1000;
    for (int who = 0; who < count; who++) {
        workers[who] = fork();
        CHECK(workers[who] >= 0);
        if (workers[who] == 0) {
            work(who, who % harts, until);
            _exit(0);
        }
    }
    for (int who = 0; who < count; who++)
        CHECK(status_of(workers[who]) == 0);
}

/* ---- What /proc shows. The buffers are there from the start: reading must change nothing. */

static char text[1 << 18];
static uint64_t counts[1 << 18], flags[1 << 18];

struct zone {
    char name[16];
    long free, min, low, high, promo, spanned, present, managed, nr_free, pcp, start;
    long buddy_pages, type_pages, type_blocks;
    /* Frames that are slabs or tables, and frames that kpageflags says nothing of. */
    long kernel_frames, bare_frames;
    long lists[LISTS], mlocked;
};

struct memory {
    struct zone zones[ZONES];
    int zone_count;
    long slabinfo_pages;
    /* Frames of /proc/kpageflags and /proc/kpagecount. */
    long frames, slab_frames, buddy_frames, anon_frames, file_frames, table_frames;
    long lists[LISTS], mlocked;
};

static char *read_file(const char *name) {
    int fd = open(name, O_RDONLY);
    CHECK(fd >= 0);
    size_t used = 0;
    ssize_t got;
    while ((got = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += got;
    CHECK(got == 0 && used < sizeof text - 1);
    text[used] = 0;
    close(fd);
    return text;
}

/* The number after `name` at the start of a line, white space left out; -1 if there is none. */
static long field(const char *in, const char *name) {
    size_t length = strlen(name);
    for (const char *line = in; line; line = strchr(line, '\n'), line = line ? line + 1 : 0) {
        const char *start = line + strspn(line, " ");
        if (!strncmp(start, name, length) && strchr(" :", start[length]))
            return atol(start + length + 1 + strspn(start + length + 1, " "));
    }
    return -1;
}

static struct zone *zone_of(struct memory *memory, const char *name) {
    for (int at = 0; at < memory->zone_count; at++)
        if (!strcmp(memory->zones[at].name, name))
            return &memory->zones[at];
    CHECK(memory->zone_count < ZONES);
    struct zone *zone = &memory->zones[memory->zone_count++];
    snprintf(zone->name, sizeof zone->name, "%s", name);
    return zone;
}

static void read_zoneinfo(struct memory *memory) {
    char *next = read_file("/proc/zoneinfo");
    while (next && *next) {
        char name[16];
        char *part = next;
        CHECK(sscanf(part, "Node 0, zone %15s", name) == 1);
        next = strstr(part + 1, "\nNode ");
        if (next)
            *next++ = 0;
        struct zone *zone = zone_of(memory, name);
        zone->free = field(part, "pages free");
        zone->min = field(part, "min");
        zone->low = field(part, "low");
        zone->high = field(part, "high");
        zone->promo = field(part, "promo");
        zone->spanned = field(part, "spanned");
        zone->present = field(part, "present");
        zone->managed = field(part, "managed");
        zone->nr_free = field(part, "nr_free_pages");
        zone->start = field(part, "start_pfn");
        zone->mlocked = field(part, "nr_mlock");
        for (int list = 0; list < LISTS; list++) {
            char line[32];
            snprintf(line, sizeof line, "nr_zone_%s", list_names[list][0]);
            zone->lists[list] = field(part, line);
        }
        for (char *at = part; (at = strstr(at, "count: ")); at++)
            zone->pcp += atol(at + 7);
    }
}

/* Sums the numbers of a line, each shifted by its place. */
static long sum_orders(const char *numbers) {
    long pages = 0;
    for (int order = 0; order < ORDERS; order++) {
        char *end;
        long count = strtol(numbers, &end, 10);
        CHECK(end != numbers && count >= 0);
        pages += count << order;
        numbers = end;
    }
    return pages;
}

static void read_buddyinfo(struct memory *memory) {
    for (char *line = strtok(read_file("/proc/buddyinfo"), "\n"); line; line = strtok(0, "\n")) {
        char name[16];
        int used;
        CHECK(sscanf(line, "Node 0, zone %15s%n", name, &used) == 1);
        struct zone *zone = zone_of(memory, name);
        zone->buddy_pages = sum_orders(line + used);
    }
}

static void read_pagetypeinfo(struct memory *memory) {
    for (char *line = strtok(read_file("/proc/pagetypeinfo"), "\n"); line; line = strtok(0, "\n")) {
        char name[16], type[16];
        int used;
        if (sscanf(line, "Node %*d, zone %15[^,], type %15s%n", name, type, &used) == 2) {
            zone_of(memory, name)->type_pages += sum_orders(line + used);
        } else if (sscanf(line, "Node %*d, zone %15s%n", name, &used) == 1) {
            char *end = line + used;
            for (char *at = end;; at = end) {
                long blocks = strtol(at, &end, 10);
                if (end == at)
                    break;
                zone_of(memory, name)->type_blocks += blocks;
            }
        }
    }
}

static void read_slabinfo(struct memory *memory) {
    for (char *line = strtok(read_file("/proc/slabinfo"), "\n"); line; line = strtok(0, "\n")) {
        long active, objects, pages, active_slabs, slabs;
        if (sscanf(line, "%*s %ld %ld %*d %*d %ld : tunables %*d %*d %*d : slabdata %ld %ld", &active, &objects, &pages,
                   &active_slabs, &slabs) != 5)
            continue;
        CHECK(active <= objects && active_slabs <= slabs);
        memory->slabinfo_pages += pages * slabs;
    }
}


/* Frames from where RAM starts on. */
static void read_kpages(struct memory *memory) {
    int fd[2] = {open("/proc/kpagecount", O_RDONLY), open("/proc/kpageflags", O_RDONLY)};
    CHECK(fd[0] >= 0 && fd[1] >= 0);
    for (off_t at = 0;;) {
        ssize_t got = pread(fd[1], flags, sizeof flags, at);
        CHECK(got >= 0 && got % 8 == 0);
        if (got == 0)
            break;
        CHECK(pread(fd[0], counts, got, at) == got);
        at += got;
        for (ssize_t frame = 0; frame < got / 8; frame++) {
            uint64_t bits = flags[frame];
            if (bits & 1ull << KPF_NOPAGE) {
                CHECK(counts[frame] == 0);
                continue;
            }
            memory->frames++;
            long number = at / 8 - got / 8 + frame;
            for (int which = 0; which < memory->zone_count; which++) {
                struct zone *zone = &memory->zones[which];
                if (zone->present && number >= zone->start && number < zone->start + zone->spanned) {
                    zone->kernel_frames += (bits >> KPF_SLAB | bits >> KPF_PGTABLE) & 1;
                    zone->bare_frames += bits == 0;
                }
            }
            if (bits & 1ull << KPF_LRU) {
                int list = (bits >> KPF_ACTIVE & 1) | (bits >> KPF_SWAPBACKED & 1) << 1;
                memory->lists[bits & 1ull << KPF_UNEVICTABLE ? UNEVICTABLE : list]++;
            }
            memory->mlocked += bits >> KPF_MLOCKED & 1;
            memory->slab_frames += bits >> KPF_SLAB & 1;
            memory->buddy_frames += bits >> KPF_BUDDY & 1;
            memory->table_frames += bits >> KPF_PGTABLE & 1;
            if (counts[frame])
                (bits >> KPF_ANON & 1 ? &memory->anon_frames : &memory->file_frames)[0]++;
        }
    }
    close(fd[0]);
    close(fd[1]);
}

/* ---- Whether it agrees. */

static int differs(bool loud, const char *what, long left, long right) {
    if (left == right)
        return 0;
    if (loud)
        fprintf(stderr, "%s: %ld is not %ld\n", what, left, right);
    return 1;
}

static int check_once(bool loud) {
    static struct memory memory;
    static char meminfo_text[8192], vmstat[16384];
    int wrong = 0;
    memset(&memory, 0, sizeof memory);
    if (!on_rux) /* Its harts keep differences to themselves. */
        read_file("/proc/sys/vm/stat_refresh");
    snprintf(meminfo_text, sizeof meminfo_text, "%s", read_file("/proc/meminfo"));
    read_zoneinfo(&memory);
    read_buddyinfo(&memory);
    read_pagetypeinfo(&memory);
    read_slabinfo(&memory);
    read_kpages(&memory);
    snprintf(vmstat, sizeof vmstat, "%s", read_file("/proc/vmstat"));
    /* Nothing may have moved meanwhile. */
    wrong += strcmp(meminfo_text, read_file("/proc/meminfo")) != 0;

    long free_pages = 0, pcp = 0, managed = 0, present = 0;
    for (int at = 0; at < memory.zone_count; at++) {
        struct zone *zone = &memory.zones[at];
        free_pages += zone->free;
        pcp += zone->pcp;
        managed += zone->managed;
        present += zone->present;
        if (!zone->present)
            continue;
        if (on_rux && !strcmp(zone->name, "Movable")) {
            /* Users' pages have flags, free ones but those on harts' lists too; what has none is the kernel's. */
            wrong += differs(loud, "Movable's slabs and tables", zone->kernel_frames, 0);
            wrong += differs(loud, "Movable's frames without flags and those on harts' lists", zone->bare_frames, zone->pcp);
        }
        wrong += differs(loud, "zoneinfo's free and buddyinfo", zone->free, zone->buddy_pages);
        wrong += differs(loud, "zoneinfo's free and pagetypeinfo", zone->free, zone->type_pages);
        wrong += differs(loud, "zoneinfo's free and nr_free_pages", zone->free, zone->nr_free);
        CHECK(zone->min <= zone->low && zone->low <= zone->high && zone->high <= zone->promo);
        CHECK(zone->managed <= zone->present && zone->present <= zone->spanned && zone->start >= 0);
        CHECK(zone->type_blocks * 512 >= zone->present);
    }
    const char *text = meminfo_text;
    for (int list = 0; list <= LISTS; list++) {
        bool lru = list < LISTS;
        char sum_name[32] = "nr_mlock", node_name[32];
        long zones = 0, frames = lru ? memory.lists[list] : memory.mlocked;
        for (int at = 0; at < memory.zone_count; at++)
            if (memory.zones[at].present)
                zones += lru ? memory.zones[at].lists[list] : memory.zones[at].mlocked;
        if (lru) {
            snprintf(sum_name, sizeof sum_name, "nr_zone_%s", list_names[list][0]);
            snprintf(node_name, sizeof node_name, "nr_%s", list_names[list][0]);
            wrong += differs(loud, node_name, field(vmstat, node_name), zones);
        }
        wrong += differs(loud, sum_name, field(vmstat, sum_name), zones);
        const char *shown = lru ? list_names[list][1] : "Mlocked";
        wrong += differs(loud, shown, field(text, shown) / 4, zones);
        if (on_rux) /* Linux's lists may be of generations. */
            wrong += differs(loud, "frames of kpageflags and zoneinfo's", frames, zones);
    }
    /* Rux counts pages on harts' lists as free, Linux does not. */
    wrong += differs(loud, "free pages and MemFree", free_pages + (on_rux ? pcp : 0), field(text, "MemFree") / 4);
    wrong += differs(loud, "managed and MemTotal", managed, field(text, "MemTotal") / 4);
    wrong += differs(loud, "free and vmstat's", free_pages, field(vmstat, "nr_free_pages"));
    wrong += differs(loud, "free pages and kpageflags", free_pages, memory.buddy_frames);
    long taken = field(vmstat, "pgalloc_dma32") + field(vmstat, "pgalloc_normal") + field(vmstat, "pgalloc_movable");
    if (on_rux) /* Linux also counts as freed what it got at boot. */
        wrong += differs(loud, "pages taken and not given back", taken - field(vmstat, "pgfree"), managed - free_pages - pcp);
    CHECK(memory.frames >= present);

    long reclaimable = field(text, "SReclaimable") / 4, slab = field(text, "SUnreclaim") / 4 + reclaimable;
    wrong += differs(loud, "Slab", field(text, "Slab") / 4, slab);
    wrong += differs(loud, "vmstat's slab", field(vmstat, "nr_slab_reclaimable") + field(vmstat, "nr_slab_unreclaimable"), slab);
    if (on_rux) {
        /* Linux counts large objects, which are not of slabs, as well. */
        wrong += differs(loud, "slabinfo and Slab", memory.slabinfo_pages, slab);
        wrong += differs(loud, "kpageflags' slabs and Slab", memory.slab_frames, slab);
    }
    if (on_rux) {
        /* Linux shows a few that it maps for itself. */
        wrong += differs(loud, "mapped anonymous frames and AnonPages", memory.anon_frames, field(text, "AnonPages") / 4);
        wrong += differs(loud, "mapped file frames and Mapped", memory.file_frames, field(text, "Mapped") / 4);
    }
    wrong += differs(loud, "vmstat's tables and PageTables", field(vmstat, "nr_page_table_pages"), field(text, "PageTables") / 4);
    CHECK(memory.table_frames >= field(text, "PageTables") / 4);
    return wrong;
}

static void everything_agrees(void) {
    for (int try = 0; check_once(try == TRIES); try++) {
        CHECK(try < TRIES);
        sleep_ms(20);
    }
}

/* ---- Settings. */

/* The pages of the Movable zone that are neither free nor on a hart's list. */
static long movable_in_use(void) {
    static struct memory memory;
    memset(&memory, 0, sizeof memory);
    read_zoneinfo(&memory);
    struct zone *zone = zone_of(&memory, "Movable");
    return zone->managed - zone->free - zone->pcp;
}

static ssize_t set(const char *name, const char *value) {
    char path[64];
    snprintf(path, sizeof path, "/proc/sys/vm/%s", name);
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0);
    ssize_t written = write(fd, value, strlen(value));
    int error = errno;
    close(fd);
    errno = error;
    return written;
}

static void is(const char *name, const char *value) {
    char path[64];
    snprintf(path, sizeof path, "/proc/sys/vm/%s", name);
    const char *text = read_file(path);
    size_t length = strlen(value);
    CHECK(!strncmp(text, value, length) && isspace(text[length]));
}

static void settings(void) {
    struct memory memory;
    CHECK_ERRNO(set("min_free_kbytes", "-1"), EINVAL);
    CHECK_ERRNO(set("min_free_kbytes", "x"), EINVAL);
    CHECK_ERRNO(set("min_free_kbytes", "1x"), EINVAL);
    // Nothing sets nothing, and from 21 characters on it is no number.
    CHECK(set("min_free_kbytes", "") == 0);
    CHECK(set("min_free_kbytes", "00000000000000010000") == 20);
    CHECK_ERRNO(set("min_free_kbytes", "000000000000000010000"), EINVAL);
    CHECK_ERRNO(set("min_free_kbytes", "\n"), EINVAL);
    CHECK_ERRNO(set("min_free_kbytes", "2147483648"), EINVAL);
    CHECK(set("min_free_kbytes", "0x1000\n") == 7);
    is("min_free_kbytes", "4096");
    CHECK(set("min_free_kbytes", " 8192 77\n") == 6);
    is("min_free_kbytes", "8192");
    CHECK_ERRNO(set("watermark_scale_factor", "0"), EINVAL);
    CHECK_ERRNO(set("watermark_scale_factor", "3001"), EINVAL);
    CHECK(set("watermark_scale_factor", "100") == 3);
    is("watermark_scale_factor", "100");
    memset(&memory, 0, sizeof memory);
    read_zoneinfo(&memory);
    long low = 0, min = 0, managed = 0;
    for (int at = 0; at < memory.zone_count; at++) {
        struct zone *zone = &memory.zones[at];
        if (!zone->present || !strcmp(zone->name, "Movable"))
            continue;
        min += zone->min;
        low += zone->low - zone->min;
        managed += zone->managed;
    }
    CHECK(min <= 2048 && min + memory.zone_count >= 2048);
    CHECK(low >= managed / 100 - memory.zone_count && low <= managed / 100 + memory.zone_count);
    CHECK(set("watermark_scale_factor", "10") == 2);
    CHECK_ERRNO(set("percpu_pagelist_high_fraction", "7"), EINVAL);
    CHECK_ERRNO(set("percpu_pagelist_high_fraction", "-1"), EINVAL);
    CHECK(set("percpu_pagelist_high_fraction", "8") == 1);
    is("percpu_pagelist_high_fraction", "8");
    CHECK(set("percpu_pagelist_high_fraction", "0") == 1);
    /* Takes what it can read, and refuses nothing. */
    CHECK(set("lowmem_reserve_ratio", "300 -4\n") == 7);
    is("lowmem_reserve_ratio", "300\t0\t0");
    CHECK(set("lowmem_reserve_ratio", "256 32 x") == 7);
    CHECK(set("lowmem_reserve_ratio", "256x 32") == 7);
    is("lowmem_reserve_ratio", "256\t32\t0");
    CHECK_ERRNO(pread(open("/proc/kpageflags", O_RDONLY), flags, 12, 0), EINVAL);
    CHECK_ERRNO(pread(open("/proc/kpagecount", O_RDONLY), flags, 8, 4), EINVAL);
    CHECK(pread(open("/proc/kpagecount", O_RDONLY), flags, 8, 1l << 40) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(setuid(1) == 0);
        CHECK_ERRNO(open("/proc/kpageflags", O_RDONLY), EACCES);
        CHECK_ERRNO(open("/proc/slabinfo", O_RDONLY), EACCES);
        CHECK_ERRNO(open("/proc/pagetypeinfo", O_RDONLY), EACCES);
        CHECK_ERRNO(open("/proc/sys/vm/min_free_kbytes", O_WRONLY), EACCES);
        CHECK(open("/proc/sys/vm/min_free_kbytes", O_RDONLY) >= 0);
        CHECK(open("/proc/zoneinfo", O_RDONLY) >= 0);
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "nothing"))
        return 0;
    struct utsname name;
    CHECK(uname(&name) == 0);
    on_rux = strstr(name.version, "Rux") != 0;
    /* Its pages are there before anything is counted. */
    memset(text, 1, sizeof text);
    memset(counts, 1, sizeof counts);
    memset(flags, 1, sizeof flags);
    if (strstr(read_file("/proc/cmdline"), "kernelcore=")) /* There are users' pages, ours at least, where it asked for them. */
        CHECK(movable_in_use() > 0);
    everything_agrees();
    stress(argc > 1 ? atol(argv[1]) : 5);
    everything_agrees();
    settings();
    printf("memstress: ok\n");
    return 0;
}
