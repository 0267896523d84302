/* The way into the kernel and back. */
#include "bench.h"

static void null_call(void) {
    for (int pass = 0; pass < 5; pass++) {
        begin();
        for (int i = 0; i < 10000; i++) {
            register long number __asm__("a7") = SYS_getppid;
            register long result __asm__("a0");
            __asm__ volatile("ecall" : "=r"(result) : "r"(number) : "memory");
        }
        end(10000);
    }
}

const struct row call_rows[] = {
    {"null-call", "getppid by a bare ecall", "a call", null_call},
    {0},
};
