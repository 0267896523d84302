/* Calls of the family that are not there. */
#include "family.h"

void other_rows(void) {
    ROW("pkey_mprotect", "ENOSYS", "the architecture has no keys") {
        CHECK_ERRNO(syscall(SYS_pkey_mprotect, letters(1), PAGE, PROT_READ, -1), ENOSYS);
        CHECK_ERRNO(syscall(SYS_pkey_alloc, 0, 0), ENOSYS);
    }
}
