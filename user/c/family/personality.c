/* personality(2) and /proc/sys/kernel/randomize_va_space: where a program finds itself. */
#include "family.h"
#include <sys/personality.h>
#include <sys/stat.h>

/* How many of stack, mappings and heap are elsewhere in a second program. */
struct moved {
    bool stack, mapping, heap;
};

static struct moved moved(int persona) {
    struct moved moved = {0};
    struct where first = where_of_program(persona);
    /* What is drawn at random may be drawn twice. */
    for (int round = 0; round < 4; round++) {
        struct where other = where_of_program(persona);
        moved.stack |= other.stack != first.stack;
        moved.mapping |= other.mapping != first.mapping;
        moved.heap |= other.heap != first.heap;
    }
    return moved;
}

void personality_rows(void) {
    ROW("personality", "personality", "what it was, and all ones to ask alone") {
        CHECK(personality(0xffffffff) == 0 && personality(ADDR_NO_RANDOMIZE) == 0);
        CHECK(personality(0xffffffff) == ADDR_NO_RANDOMIZE && personality(0) == ADDR_NO_RANDOMIZE);
    }
    ROW("personality", "ADDR_NO_RANDOMIZE", "each program finds itself at the same place; without it, elsewhere") {
        struct moved without = moved(0), with = moved(ADDR_NO_RANDOMIZE);
        CHECK(without.stack && without.mapping && without.heap);
        CHECK(!with.stack && !with.mapping && !with.heap);
    }
    ROW("personality", "ADDR_NO_RANDOMIZE", "a program takes it over, but for its domain; not with a set-user-ID bit") {
        char path[] = "/familyXXXXXX", block[PAGE];
        int from = open("/proc/self/exe", O_RDONLY), to = mkstemp(path);
        for (ssize_t got; (got = read(from, block, sizeof block)) > 0;)
            CHECK(write(to, block, got) == got);
        CHECK(fchmod(to, 0755) == 0 && close(to) == 0 && close(from) == 0);
        CHECK(where_of_file(path, ADDR_NO_RANDOMIZE | PER_BSD).persona == ADDR_NO_RANDOMIZE);
        CHECK(chmod(path, 04755) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            become_nobody();
            CHECK(where_of_file(path, ADDR_NO_RANDOMIZE | SHORT_INODE).persona == SHORT_INODE);
            _exit(0);
        }
        CHECK(status_of(pid) == 0 && unlink(path) == 0);
    }
    ROW("personality", "ADDR_COMPAT_LAYOUT", "mappings go from the bottom up") {
        struct where usual = where_of_program(0), where = where_of_program(ADDR_COMPAT_LAYOUT);
        CHECK(where.mapping < where.stack / 2 && usual.mapping > usual.stack / 2);
    }
    ROW("personality", "ADDR_LIMIT_32BIT", "without effect on a program of 64 bits") {
        CHECK(where_of_program(ADDR_LIMIT_32BIT).mapping > 1ul << 32);
    }
    ROW("personality", "ADDR_LIMIT_3GB", "without effect on a program of 64 bits") {
        CHECK(where_of_program(ADDR_LIMIT_3GB).mapping > 1ul << 32);
    }
    ROW("personality", "MMAP_PAGE_ZERO", "a program has a page at address 0, to read and to run") {
        CHECK(!strcmp(where_of_program(0).zero, "-"));
        CHECK(!strcmp(where_of_program(MMAP_PAGE_ZERO).zero, "r-xp"));
    }
    ROW("personality", "READ_IMPLIES_EXEC", "what can be read can be run") {
        char *before = mmap(NULL, PAGE, PROT_READ, PRIVATE, -1, 0);
        CHECK(personality(READ_IMPLIES_EXEC) == 0);
        char *at = mmap(NULL, PAGE, RW, PRIVATE, -1, 0), *none = mmap(NULL, PAGE, PROT_NONE, PRIVATE, -1, 0);
        CHECK(!strcmp(rights(at), "rwxp") && !strcmp(rights(before), "r--p") && !strcmp(rights(none), "---p"));
        put_code(at);
        CHECK(can_run(at) && mprotect(before, PAGE, PROT_READ) == 0 && !strcmp(rights(before), "r-xp"));
        CHECK(mprotect(before, PAGE, PROT_WRITE) == 0 && !strcmp(rights(before), "-w-p"));
    }
    ROW("personality", "READ_IMPLIES_EXEC", "kept over execve, and the heap is not run all the same") {
        struct where where = where_of_program(READ_IMPLIES_EXEC);
        CHECK(!strcmp(where.rights, "rwxp") && !strcmp(where.heap_rights, "rw-p"));
    }
    ROW("execve", "randomize_va_space", "0: nothing is placed at random") {
        set_number("/proc/sys/kernel/randomize_va_space", 0);
        struct moved found = moved(0);
        set_number("/proc/sys/kernel/randomize_va_space", 2);
        CHECK(!found.stack && !found.mapping && !found.heap);
    }
    ROW("execve", "randomize_va_space", "1: all but the heap of a program that is linked to its place") {
        set_number("/proc/sys/kernel/randomize_va_space", 1);
        struct moved found = moved(0);
        set_number("/proc/sys/kernel/randomize_va_space", 2);
        CHECK(found.stack && found.mapping && !found.heap);
    }
}
