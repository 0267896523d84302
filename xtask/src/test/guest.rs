//! Tests inside the machine. The table is what grows: a test is a program of the guest, what it must print and the
//! status that it must end with. Each boots a machine of its own with the debug kernel, so with every check on, and
//! once more on a CPU that traps on clear A and D bits, where QEMU has one.

use super::machine::{Expect, Guest, Length};

/// Our own programs, in the guest.
macro_rules! ours {
    ($name:literal) => {
        concat!("/usr/libexec/rux/", $name)
    };
}

const SEVEN_LINES: &str = "for i in 1 2 3; do echo $i | cat; done; ls -d /bin /dev /proc /tmp; exit 7";
const SEVEN: Expect = Expect::Exactly("1\n2\n3\n/bin\n/dev\n/proc\n/tmp\n");

/// 2,000 lines of 64 bytes.
static LONG_INPUT: &str = {
    static BYTES: [u8; 64 * 2_000] = {
        let mut bytes = [b'x'; 64 * 2_000];
        let mut line = 0;
        while line < 2_000 {
            bytes[64 * line + 63] = b'\n';
            line += 1;
        }
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!("these are letters"),
    }
};

const SLAB_FAULTS: &str = "\
BUG selftest_cells: Object already
Allocated in rux::selftest::slab::owner_of_cell
Freed in rux::selftest::slab::frees_first
Found in rux::selftest::slab::frees_again
BUG selftest_cells: Right Redzone
Allocated in rux::selftest::slab::owner_of_cell
Freed in rux::selftest::slab::frees_first
Found in rux::selftest::slab::frees_first
BUG selftest_cells: Poison overwritten
Allocated in rux::selftest::slab::owner_of_cell
Freed in rux::selftest::slab::frees_first
Found in rux::selftest::slab::write_after_free
BUG selftest_leaky: Objects remaining
Allocated in rux::selftest::slab::leak
";

/// A test that runs one program, with the defaults of the table.
const fn guest(name: &'static str, command: &'static [&'static str]) -> Guest {
    Guest {
        name,
        command,
        smp: 1,
        mem: "512M",
        paging: None,
        append: "",
        cpus: true,
        boot_hart: None,
        release: false,
        dialog: &[],
        input: "",
        status: 0,
        expect: Expect::Anything,
        most_instructions: None,
        seconds: 60,
        length: Length::Quick,
        not_on_linux: None,
        more_on_linux: &[],
    }
}

pub(super) const GUESTS: &[Guest] = &[
    Guest {
        expect: Expect::Contains("Rux"),
        not_on_linux: Some("it looks for Rux's name"),
        ..guest("uname", &["/bin/busybox", "uname", "-a"])
    },
    seven("seven-lines", None),
    seven("seven-lines-sv39", Some("sv39")),
    seven("seven-lines-sv48", Some("sv48")),
    seven("seven-lines-sv57", Some("sv57")),
    // The firmware may start the kernel on any hart.
    Guest {
        smp: 4,
        cpus: false,
        boot_hart: Some(2),
        expect: Expect::Exactly("2013"),
        ..guest("boot-hart", &["sh", "-c", "grep '^hart[[:space:]]*:' /proc/cpuinfo | tr -dc 0-9"])
    },
    Guest { status: 137, ..guest("killed", &["sh", "-c", "kill -9 $$"]) },
    Guest { status: 127, ..guest("no-such-program", &["/nowhere"]) },
    Guest { input: "one\ntwo", expect: Expect::Exactly("one\ntwo"), ..guest("stdin", &["cat"]) },
    // All that the terminal or QEMU might take for itself: C-a x would end the machine.
    Guest {
        input: "\x01x\x03\x04\x16\x7f\r\x11\x13\0\x1a\n",
        expect: Expect::Exactly("\x01x\x03\x04\x16\x7f\r\x11\x13\0\x1a\n"),
        ..guest("stdin-control", &["cat"])
    },
    // More than all buffers on the way hold, for somebody who comes late.
    Guest {
        input: LONG_INPUT,
        expect: Expect::Exactly("2000 2000 128000\n"),
        ..guest("stdin-slow-reader", &["sh", "-c", "sleep 2; wc | tr -s ' ' | sed 's/^ //'"])
    },
    Guest {
        // What is typed before a program has taken the terminal may be lost: hence the words that say so.
        dialog: &[
            ("# ", "echo abX\x7fc\n"),
            ("\nabc\r\n~ # ", "sh -c 'echo on; exec sleep 100'\n"),
            ("\non\r\n", "\x03"),
            ("# ", "echo st=$?\n"),
            ("\nst=130\r\n~ # ", "sh -c 'echo in; exec cat'\n"),
            ("\nin\r\n", "x\n"),
            ("x\r\nx\r\n", "\x04"),
            ("# ", "exit 5\n"),
        ],
        status: 5,
        ..guest("shell", &[])
    },
    Guest {
        // A stopped job, and one that is stopped because it reads in the background.
        dialog: &[
            ("# ", "sh -c 'echo on; exec sleep 100'\n"),
            ("\non\r\n", "\x1a"),
            ("Stopped", "kill %1; sleep 1; cat < /dev/tty & sleep 1\n"),
            ("Stopped (tty input)", "kill -9 %1; kill -9 %2; sleep 1; jobs; echo done\n"),
            ("\ndone\r\n", "exit 6\n"),
        ],
        status: 6,
        ..guest("job-control", &[])
    },
    Guest {
        // Faults planted in the kernel: each is found, and the one who did it is named.
        append: "slab_debug=FZPU,selftest_* rux.selftest=slab",
        not_on_linux: Some("the faults that it looks for are planted in Rux"),
        cpus: false,
        expect: Expect::Exactly(SLAB_FAULTS),
        ..guest(
            "slab_debug",
            &[
                "sh",
                "-c",
                "dmesg | grep -o 'BUG [a-z_]*: [A-Z][a-z]* [a-zR]*\\|[A-Z][a-z]* in rux::selftest::slab::[a-z_]*'",
            ],
        )
    },
    Guest {
        append: "rux.selftest=string",
        cpus: false,
        expect: Expect::Exactly("memory is copied and set\n"),
        ..guest("string", &["sh", "-c", "dmesg | grep -o 'memory is copied and set'"])
    },
    // What a shell does all day.
    Guest {
        expect: Expect::Exactly("3\nb\n10\nyes\n"),
        ..guest(
            "shell-script",
            &[
                "sh",
                "-c",
                "cd /tmp; mkdir -p d/e; for f in a b c; do echo $f > d/$f; done; ls d | grep -c '^[abc]$'; \
                 cat d/b; seq 1 100 | wc -l | sed 's/0$//'; rm -r d; [ ! -e d ] && echo yes",
            ],
        )
    },
    // On Linux each hart keeps free pages for itself, here up to 14 MB (`high` in zoneinfo), and counts them late.
    Guest {
        smp: 2,
        seconds: 180,
        expect: Expect::Contains("fork_cow: ok"),
        more_on_linux: &["65536"],
        ..ours("fork_cow", &[ours!("fork_cow"), "3"])
    },
    // Quick where each hart has a processor of the host; where not, each fence waits for one.
    Guest { smp: 4, seconds: 300, ..ours("threads_mmap", &[ours!("threads_mmap"), "1"]) },
    Guest {
        smp: 4,
        seconds: 3600,
        length: Length::Long,
        ..ours("threads_mmap-20", &[ours!("threads_mmap"), "20"])
    },
    Guest { smp: 2, ..ours("signals", &[ours!("signals")]) },
    Guest { smp: 2, ..ours("futex", &[ours!("futex")]) },
    Guest { smp: 2, ..ours("pipes", &[ours!("pipes")]) },
    Guest { smp: 2, ..ours("processes", &[ours!("processes")]) },
    ours("vmsplit", &[ours!("vmsplit")]),
    // Row by row what the manual pages name.
    Guest { smp: 2, seconds: 300, expect: Expect::Family, ..ours("family", &[ours!("family")]) },
    // The sum is what Linux 6.12 does.
    Guest {
        seconds: 300,
        expect: Expect::Exactly("mapfuzz: 5000 calls, sum 3cd0435d1e55cb82: ok\n"),
        ..ours("mapfuzz", &[ours!("mapfuzz"), "5000", "4"])
    },
    Guest { smp: 2, mem: "256M", seconds: 120, ..ours("badprog", &[ours!("badprog")]) },
    Guest { smp: 2, expect: Expect::Contains("registers: ok"), ..ours("registers", &[ours!("registers")]) },
    Guest { smp: 2, seconds: 120, ..ours("sysfuzz", &[ours!("sysfuzz"), "20000"]) },
    Guest {
        smp: 2,
        seconds: 900,
        length: Length::Long,
        ..ours("sysfuzz-200000", &[ours!("sysfuzz"), "200000"])
    },
    Guest { smp: 2, ..ours("elffuzz", &[ours!("elffuzz"), "300"]) },
    Guest { smp: 2, seconds: 600, length: Length::Long, ..ours("elffuzz-5000", &[ours!("elffuzz"), "5000"]) },
    Guest { smp: 4, seconds: 300, ..ours("memstress", &[ours!("memstress"), "5"]) },
    // Most of memory is for users' pages alone.
    Guest {
        smp: 4,
        seconds: 300,
        append: "kernelcore=256M",
        ..ours("memstress-movable", &[ours!("memstress"), "3"])
    },
    Guest { smp: 4, seconds: 600, length: Length::Long, ..ours("memstress-60", &[ours!("memstress"), "60"]) },
    Guest { smp: 2, ..ours("files", &[ours!("files")]) },
    // What the kernels are compared by: a row of each kind, without counting.
    Guest {
        expect: Expect::Contains("exec-10m\t"),
        ..ours(
            "bench",
            &[ours!("bench"), "null-call", "map-unmap", "mincore", "vmas-read", "fork-small", "exec-10m"],
        )
    },
    Guest {
        smp: 2,
        seconds: 300,
        expect: Expect::Contains("fork, exit, wait\t"),
        ..ours("scale", &[ours!("scale"), "1"])
    },
    Guest {
        release: true,
        cpus: false,
        mem: "1G",
        most_instructions: Some(60_000_000),
        not_on_linux: Some("the figures are Rux's, from its own log"),
        ..guest("icount", &["/bin/busybox", "true"])
    },
];

const fn seven(name: &'static str, paging: Option<&'static str>) -> Guest {
    Guest {
        smp: 2,
        paging,
        status: 7,
        expect: SEVEN,
        ..guest(name, &["/bin/busybox", "sh", "-c", SEVEN_LINES])
    }
}

/// One of our programs, which says `ok` when its checks held.
const fn ours(name: &'static str, command: &'static [&'static str]) -> Guest {
    Guest { mem: "1G", expect: Expect::Contains(": ok"), ..guest(name, command) }
}
