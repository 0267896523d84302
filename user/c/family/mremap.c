/* mremap(2): what its flags do. */
#include "family.h"

void mremap_flags(void) {
    ROW("mremap", "MREMAP_MAYMOVE", "where there is room behind, the mapping stays where it is") {
        char *at = letters(2);
        CHECK(mremap(at, 2 * PAGE, 5 * PAGE, MREMAP_MAYMOVE) == at && mappings(at, 5) == 1);
        CHECK(at[PAGE] == 'b' && at[4 * PAGE] == 0 && can_write(at + 4 * PAGE));
    }
    ROW("mremap", "MREMAP_MAYMOVE", "where not, it moves, and its pages with it") {
        char *at = letters(4);
        char *moved = mremap(at, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
        CHECK(moved != MAP_FAILED && moved != at && moved[0] == 'a' && moved[PAGE] == 'b' && moved[2 * PAGE] == 0);
        CHECK(at[2 * PAGE] == 'c' && mappings(at, 2) == 0);
        CHECK_FAULT(can_read, at, SIGSEGV, SEGV_MAPERR);
    }
    ROW("mremap", "MREMAP_MAYMOVE", "to be shorter it does not move") {
        char *at = letters(4);
        CHECK(mremap(at, 4 * PAGE, PAGE + 1, MREMAP_MAYMOVE) == at && end_of(at) == at + 2 * PAGE && at[PAGE] == 'b');
        CHECK(mremap(at, 2 * PAGE, 2 * PAGE, 0) == at && mremap(at, 2 * PAGE, PAGE, 0) == at);
        CHECK_FAULT(can_read, at + PAGE, SIGSEGV, SEGV_MAPERR);
    }
    ROW("mremap", "MREMAP_MAYMOVE", "a part of a file's mapping keeps its place in the file") {
        int file = letters_file(4, NULL);
        char *at = shared_file(file, 4), *moved = mremap(at + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
        CHECK(moved != MAP_FAILED && moved[0] == 'c' && moved[PAGE] == 'd');
        moved[PAGE] = 'D';
        CHECK(at[3 * PAGE] == 'D' && at[PAGE] == 'b');
    }
    ROW("mremap", "MREMAP_FIXED", "it is just there, and what was there is gone") {
        char *at = letters(2), *to = letters(4);
        CHECK(mremap(at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE) == to + PAGE);
        CHECK(to[0] == 'a' && to[PAGE] == 'a' && to[2 * PAGE] == 'b' && to[3 * PAGE] == 'd');
        CHECK_FAULT(can_read, at, SIGSEGV, SEGV_MAPERR);
    }
    ROW("mremap", "MREMAP_FIXED", "longer and shorter") {
        char *at = letters(4), *to = room(8);
        CHECK(mremap(at, PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to && to[0] == 'a' && to[2 * PAGE] == 0);
        CHECK(mremap(at + PAGE, 3 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 4 * PAGE) == to + 4 * PAGE);
        CHECK(to[4 * PAGE] == 'b' && mappings(at, 4) == 0 && mappings(to, 8) == 2);
    }
    ROW("mremap", "MREMAP_DONTUNMAP", "the pages move, the old mapping is empty") {
        char *at = letters(2);
        long size = status_kb("VmSize");
        char *to = mremap(at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        CHECK(to != MAP_FAILED && to != at && to[PAGE] == 'b' && status_kb("VmSize") == size + 8);
        CHECK(resident(at, 2) == 0 && at[0] == 0 && can_write(at + PAGE) && to[PAGE] == 'b');
    }
    ROW("mremap", "MREMAP_DONTUNMAP", "with MREMAP_FIXED, to a place") {
        char *at = letters(2), *place = room(2);
        int flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED;
        CHECK(mremap(at, 2 * PAGE, 2 * PAGE, flags, place) == place && place[0] == 'a' && at[0] == 0);
    }
    ROW("mremap", "MREMAP_DONTUNMAP", "a file's pages are at both places") {
        int file = letters_file(1, NULL);
        char *at = shared_file(file, 1), *to = mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        CHECK(to != MAP_FAILED && to[0] == 'a' && at[0] == 'a');
        to[0] = 'T';
        CHECK(at[0] == 'T');
    }
    ROW("mremap", "MREMAP_DONTUNMAP", "the old mapping is locked no more") {
        char *at = letters(2);
        CHECK(mlock(at, 2 * PAGE) == 0 && status_kb("VmLck") == 8);
        char *to = mremap(at, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
        CHECK(to != MAP_FAILED && has_flag(to, "lo") && !has_flag(at, "lo") && status_kb("VmLck") == 8);
    }
    ROW("mremap", "mremap", "old size 0 maps shared pages once more") {
        char *at = mmap(NULL, 2 * PAGE, RW, SHARED, -1, 0);
        CHECK(at != MAP_FAILED && can_write(at + PAGE));
        char *twin = mremap(at, 0, 2 * PAGE, MREMAP_MAYMOVE);
        CHECK(twin != MAP_FAILED && twin != at && twin[PAGE] == 'w');
        twin[0] = 't';
        CHECK(at[0] == 't');
    }
    ROW("mremap", "mremap", "a locked mapping that grows is populated and counted") {
        char *at = letters(2);
        CHECK(mlock(at, 2 * PAGE) == 0 && mremap(at, 2 * PAGE, 4 * PAGE, 0) == at);
        CHECK(resident(at, 4) == 4 && status_kb("VmLck") == 16);
        char *wall = letters(1), *moved = mremap(at, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, wall - 16 * PAGE);
        CHECK(moved == wall - 16 * PAGE && resident(moved, 8) == 8 && status_kb("VmLck") == 32);
        CHECK(munmap(moved, 8 * PAGE) == 0 && status_kb("VmLck") == 0);
    }
    ROW("mremap", "mremap", "over several mappings it can only be made shorter") {
        char *at = letters(4);
        CHECK(mprotect(at + 2 * PAGE, 2 * PAGE, PROT_READ) == 0);
        CHECK(mremap(at, 4 * PAGE, PAGE, 0) == at && mappings(at, 4) == 1 && end_of(at) == at + PAGE);
    }
}
