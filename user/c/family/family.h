/* The rows of docs/mmap-family.md: each is a block that runs in a process of its own, so that limits, locks and mappings
   end with it. One that did not assert anything counts as failed; one that held is printed by name, and `cargo xtask test`
   compares what was printed with the table. */
#pragma once
#include "../check.h"
#include <stdbool.h>

/* What newer kernels have and the C library's headers may not. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MAP_UNINITIALIZED
#define MAP_UNINITIALIZED 0x4000000
#endif
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << MAP_HUGE_SHIFT)
#define MAP_HUGE_1GB (30 << MAP_HUGE_SHIFT)
#endif
#ifndef PROT_SEM
#define PROT_SEM 8
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

/* Checks that held in this row so far. */
extern unsigned checks_held;
/* Whether the kernel is Rux. */
extern bool on_rux;

/* As in check.h, and counted. */
#undef CHECK
#define CHECK(condition)                                                                                       \
    do {                                                                                                       \
        if (!(condition)) {                                                                                    \
            int error = errno;                                                                                 \
            dprintf(2, "%s:%d: %s does not hold (errno %d)\n", __FILE__, __LINE__, #condition, error);          \
            _exit(1);                                                                                          \
        }                                                                                                      \
        checks_held++;                                                                                         \
    } while (0)

/* The row of `call` on `name`, which is a flag, an errno or a signal, in the case `what`. */
#define ROW(call, name, what) for (bool inside = row_begin(call, name, what); inside; row_end())
/* One that Linux has configured in and Rux answers as if it were not. */
#define RUX_ROW(call, name, what) for (bool inside = on_rux && row_begin(call, name, what); inside; row_end())

bool row_begin(const char *call, const char *name, const char *what);
void row_end(void) __attribute__((noreturn));

enum { RW = PROT_READ | PROT_WRITE, PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS, SHARED = MAP_SHARED | MAP_ANONYMOUS };

/* What the last access that failed was told. */
struct fault {
    int signal, code;
    char *addr;
};
extern struct fault fault;
/* Whether a load or a store works; if not, `fault` says why. */
bool can_read(const volatile char *at);
bool can_write(volatile char *at);
/* Whether a call of the code there returns. */
bool can_run(char *at);
/* `return 0` in the pages' first bytes. */
void put_code(char *at);

#define CHECK_FAULT(access, at, wanted_signal, wanted_code)                                                      \
    do {                                                                                                         \
        CHECK(!access(at));                                                                                      \
        CHECK(fault.signal == (wanted_signal) && fault.code == (wanted_code) && fault.addr == (char *)(at));     \
    } while (0)

/* A mapping of so many pages that must come to be, private, anonymous and writable; filled with 'a', 'b', and so on. */
char *memory(size_t pages);
char *letters(size_t pages);
/* `pages` pages of address space in which nothing is mapped, with nothing near. */
char *room(size_t pages);
/* A file of tmpfs with so many pages, of 'a', 'b', and so on; open for reading and writing. Its name if asked. */
int letters_file(size_t pages, char name[32]);
/* All of a file, shared, readable and writable. */
char *shared_file(int file, size_t pages);

/* How many of the pages are there, by mincore. */
int resident(char *at, size_t pages);
/* Faults that touching each of the pages took, and a few of the program's own. */
long faults_of(char *at, size_t pages, bool write);
/* A number of /proc/self/status, in KB. */
long status_kb(const char *field);
/* The rights of the mapping at an address, as in "rw-p" of /proc/self/maps; "" where nothing is mapped. */
const char *rights(const void *at);
/* The mappings that begin within those pages. */
int mappings(const char *from, size_t pages);
/* Where the mapping at an address starts, and where it ends; 0 where nothing is mapped. */
char *start_of(const void *at);
char *end_of(const void *at);
/* The flags of /proc/self/smaps of the mapping at an address. */
bool has_flag(const void *at, const char *flag);

/* Where a program finds itself, and what it may do there; `zero` are the rights at address 0, or "-". */
struct where {
    unsigned long stack, mapping, heap;
    char rights[5], heap_rights[5], zero[5];
    int persona;
};
/* Of this program, executed once more with a personality. */
struct where where_of_program(int persona);
/* Of another file with this program. */
struct where where_of_file(const char *path, int persona);
/* What that one does: says where it is. */
void say_where(void);
/* Writes a setting of /proc/sys. */
void set_number(const char *path, long number);

/* Sets both limits. */
void set_limit(int resource, rlim_t bytes);
/* No longer root. */
void become_nobody(void);
/* Makes mappings until there can be no more. */
void exhaust_mappings(void);

/* By call. */
void mmap_flags(void), mmap_shared(void), mmap_errnos(void), munmap_rows(void), mprotect_rows(void), mremap_flags(void),
    mremap_errnos(void), brk_rows(void), madvise_rows(void), madvise_fork(void), madvise_errnos(void), mincore_rows(void),
    mlock_rows(void), mlockall_rows(void), msync_rows(void), limit_rows(void), personality_rows(void),
    other_rows(void);
