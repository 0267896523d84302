/* What the rows of the bench share. A row is a function that prepares what it needs and does each of its passes between
   `begin` and `end`; what the row says is the median of its passes. The numbers of rounds are such that a tick, which is
   100 instructions under QEMU's -icount shift=0, is below a thousandth of what is counted. */
#pragma once
#include "../check.h"

struct row {
    const char *name;
    /* What is done, how often, on how much. */
    const char *shape;
    /* What one operation is. */
    const char *unit;
    void (*run)(void);
};

/* By subject, each ended by a row without a name. */
extern const struct row call_rows[], fault_rows[], mapping_rows[], advice_rows[], huge_rows[], file_rows[], many_rows[],
    process_rows[], exec_rows[];

/* Called just before and just after what is measured; a trace can be cut at their names. */
void bench_begin(void);
void bench_end(void);

/* Around one pass, of so many operations; in a child too. */
void begin(void);
void end(long operations);

/* Does not return: the system does not have what the row measures, and said `error`. */
void not_built(int error) __attribute__((noreturn));

/* The row is not built where this call fails. */
#define NEEDS(call)           \
    do {                      \
        if ((long)(call) == -1) \
            not_built(errno); \
    } while (0)

/* A new private anonymous mapping that no huge page will be in. */
char *anonymous(size_t bytes);

/* Writes a byte every `step` bytes. */
static inline void touch(char *at, size_t bytes, size_t step) {
    for (volatile char *page = at; page < at + bytes; page += step)
        *page = 1;
}

/* Reads a byte every `step` bytes. */
static inline void look(const char *at, size_t bytes, size_t step) {
    for (const volatile char *page = at; page < at + bytes; page += step)
        (void)*page;
}
