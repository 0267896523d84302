/* Runs the rows of mmap and its family: `family [WORD]`, those with that word in their name alone. As root. */
#include "family.h"
#include <sys/utsname.h>

unsigned checks_held;
bool on_rux;
static const char *only;
static unsigned rows, failed;
static char current[256];

bool row_begin(const char *call, const char *name, const char *what) {
    snprintf(current, sizeof current, "%s | %s | %s", call, name, what);
    if (only && !strstr(current, only))
        return false;
    rows++;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        checks_held = 0;
        alarm(60);
        return true;
    }
    int status = status_of(pid);
    if (status) {
        dprintf(2, "FAILED (status %d): %s\n", status, current);
        failed++;
    }
    return false;
}

void row_end(void) {
    if (checks_held == 0) {
        dprintf(2, "nothing was asserted\n");
        _exit(2);
    }
    dprintf(1, "row: %s\n", current);
    _exit(0);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--where")) {
        say_where();
        return 0;
    }
    struct utsname name;
    CHECK(uname(&name) == 0);
    on_rux = strstr(name.version, "Rux") != NULL;
    only = argc > 1 ? argv[1] : NULL;
    void (*const groups[])(void) = {mmap_flags, mmap_shared, mmap_errnos, munmap_rows, mprotect_rows, mremap_flags, mremap_errnos, brk_rows, madvise_rows, madvise_fork, madvise_errnos, mincore_rows, mlock_rows, mlockall_rows, msync_rows, limit_rows, personality_rows, other_rows};
    for (size_t at = 0; at < sizeof groups / sizeof *groups; at++)
        groups[at]();
    if (failed)
        dprintf(2, "family: %u of %u rows failed\n", failed, rows);
    else
        printf("family: ok, %u rows\n", rows);
    return failed != 0;
}
