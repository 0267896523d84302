/* Processes: fork, vfork, exec and its errors, what survives exec, wait in all its forms, groups, sessions, limits. */
#include "check.h"
#include <linux/sched.h>
#include <sys/stat.h>

static const char *self;

static void catch(int number) {
    (void)number;
}

static pid_t start(const char *mode) {
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, mode, NULL);
        _exit(127);
    }
    CHECK(pid > 0);
    return pid;
}

static void waits(void) {
    int status;
    siginfo_t info;
    CHECK_ERRNO(waitpid(-1, &status, 0), ECHILD);
    CHECK_ERRNO(waitpid(-1, &status, 0x12345), EINVAL);
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(50);
        _exit(300 & 0xff);
    }
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    memset(&info, 0, sizeof info);
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    CHECK(info.si_pid == child && info.si_code == CLD_EXITED && info.si_status == 44);
    struct rusage usage;
    CHECK(wait4(child, &status, 0, &usage) == child && WEXITSTATUS(status) == 44);
    CHECK_ERRNO(waitpid(child, &status, 0), ECHILD);
    child = fork();
    if (child == 0)
        abort();
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    /* An orphan goes to init. */
    int p[2];
    CHECK(pipe(p) == 0);
    child = fork();
    if (child == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            while (getppid() == middle)
                sleep_ms(5);
            pid_t parent = getppid();
            CHECK(write(p[1], &parent, sizeof parent) == sizeof parent);
        }
        _exit(0);
    }
    CHECK(status_of(child) == 0);
    pid_t parent;
    CHECK(read(p[0], &parent, sizeof parent) == sizeof parent && parent == 1);
    close(p[0]), close(p[1]);
}

static void vforks(void) {
    volatile int shared = 0;
    pid_t child = vfork();
    if (child == 0) {
        shared = 7;
        _exit(3);
    }
    CHECK(shared == 7 && status_of(child) == 3);
    child = vfork();
    if (child == 0) {
        execl(self, self, "exit-9", NULL);
        _exit(127);
    }
    CHECK(status_of(child) == 9);
    /* The memory is the parent's, the limits are not. */
    child = vfork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        if (setrlimit(RLIMIT_AS, &none) != 0 || mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
            _exit(1);
        _exit(errno == ENOMEM ? 0 : 2);
    }
    CHECK(status_of(child) == 0);
    void *page = mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED && munmap(page, PAGE) == 0);
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0)
        _exit(4);
    CHECK(status_of(child) == 4);
    CHECK_ERRNO(syscall(SYS_clone3, &arguments, 8), EINVAL);
    CHECK_ERRNO(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0), EINVAL);
}

static void put(const char *path, const void *bytes, size_t length, mode_t mode) {
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, mode);
    CHECK(file >= 0 && write(file, bytes, length) == (ssize_t)length && close(file) == 0);
}

static void exec_errors(void) {
    char *none[] = {NULL}, *arguments[] = {"x", NULL};
    CHECK(chdir("/tmp") == 0);
    put("empty", "", 0, 0755);
    put("text", "just words\n", 11, 0755);
    put("locked", "#!/bin/sh\n", 10, 0644);
    put("short", "\177ELF", 4, 0755);
    put("nowhere", "#!/no/such/interpreter\n", 23, 0755);
    CHECK(symlink("loop", "loop") == 0 && mkdir("dir", 0755) == 0);
    CHECK_ERRNO(execve("absent", arguments, none), ENOENT);
    CHECK_ERRNO(execve("", arguments, none), ENOENT);
    CHECK_ERRNO(execve("empty", arguments, none), ENOEXEC);
    CHECK_ERRNO(execve("text", arguments, none), ENOEXEC);
    CHECK_ERRNO(execve("short", arguments, none), ENOEXEC);
    CHECK_ERRNO(execve("locked", arguments, none), EACCES);
    CHECK_ERRNO(execve("dir", arguments, none), EACCES);
    CHECK_ERRNO(execve("text/x", arguments, none), ENOTDIR);
    CHECK_ERRNO(execve("loop", arguments, none), ELOOP);
    CHECK_ERRNO(execve("nowhere", arguments, none), ENOENT);
    CHECK_ERRNO(execve((char *)4096, arguments, none), EFAULT);
    CHECK_ERRNO(execve(self, (char **)4096, none), EFAULT);
    static char huge[200000];
    memset(huge, 'x', sizeof huge - 1);
    char *too_long[] = {"x", huge, NULL};
    CHECK_ERRNO(execve(self, too_long, none), E2BIG);
    char script[300];
    int length = snprintf(script, sizeof script, "#!%s script-arg\n", self);
    put("script", script, length, 0755);
    pid_t child = fork();
    if (child == 0) {
        execl("./script", "zero", "one", NULL);
        _exit(127);
    }
    CHECK(status_of(child) == 21);
    for (int i = 0; i < 7; i++)
        unlink((char *[]){"empty", "text", "locked", "short", "nowhere", "loop", "script"}[i]);
    CHECK(rmdir("dir") == 0);
}

/* What the new program finds: arguments, environment, descriptors, mask, ignored signals, memory that is new. */
static void across_exec(void) {
    int kept = open("/dev/null", O_RDWR), closed = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK(kept >= 0 && closed >= 0 && dup2(kept, 60) == 60 && dup3(closed, 61, O_CLOEXEC) == 61);
    pid_t child = fork();
    if (child == 0) {
        sigset_t set;
        sigemptyset(&set), sigaddset(&set, SIGUSR2);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGUSR1, SIG_IGN);
        signal(SIGHUP, catch);
        umask(027);
        execle(self, self, "inspect", "second argument", NULL, (char *[]){"KEY=value", NULL});
        _exit(127);
    }
    CHECK(status_of(child) == 0);
    close(kept), close(closed), close(60), close(61);
}

/* A child that ends when the other end of `p` is closed, with that signal for its parent. */
static pid_t clone_reader(const int p[2], unsigned long flags, int signal) {
    struct clone_args args = {.flags = flags, .exit_signal = signal};
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        char byte;
        close(p[1]);
        CHECK(read(p[0], &byte, 1) == 0);
        _exit(0);
    }
    CHECK(pid > 0);
    return pid;
}

/* The signal for the parent is for the program that asked: after exec it would kill one of more rights. */
static void exit_signal_after_exec(void) {
    pid_t parent = fork();
    if (parent == 0) {
        int p[2], status;
        CHECK(pipe(p) == 0);
        /* This one's grandchild asks by itself, as its sibling, for the same. */
        pid_t child = clone_reader(p, 0, SIGUSR1);
        struct clone_args args = {.exit_signal = SIGUSR2};
        pid_t middle = syscall(SYS_clone3, &args, sizeof args);
        if (middle == 0) {
            clone_reader(p, CLONE_PARENT, 0);
            for (;;)
                pause();
        }
        /* Without exec it is what was asked for. */
        signal(SIGUSR2, catch);
        sleep_ms(30);
        CHECK(kill(middle, SIGKILL) == 0);
        while (waitpid(middle, &status, __WALL) != middle)
            CHECK(errno == EINTR);
        signal(SIGUSR2, SIG_DFL);
        CHECK(dup2(p[1], 60) == 60);
        close(p[0]), close(p[1]);
        char number[16];
        snprintf(number, sizeof number, "%d", child);
        execl(self, self, "children-end", number, NULL);
        _exit(127);
    }
    CHECK(status_of(parent) == 0);
}

static int children_end(pid_t child) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set), sigaddset(&set, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(close(60) == 0);
    /* Still one that only __WCLONE finds. */
    CHECK(waitid(P_PID, child, &info, WEXITED | __WCLONE) == 0 && info.si_code == CLD_EXITED);
    CHECK(waitid(P_ALL, 0, &info, WEXITED | __WALL) == 0 && info.si_status == 0);
    CHECK_ERRNO(waitid(P_ALL, 0, &info, WEXITED | __WALL), ECHILD);
    struct timespec none = {0};
    CHECK(sigtimedwait(&set, &info, &none) == SIGCHLD && info.si_code == CLD_EXITED);
    /* One that the new program makes signals as it wants. */
    int p[2];
    CHECK(pipe(p) == 0);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    child = clone_reader(p, 0, SIGUSR1);
    close(p[0]), close(p[1]);
    CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == child);
    CHECK(waitpid(child, NULL, __WALL) == child);
    return 0;
}

static int inspect(int argc, char **argv) {
    CHECK(argc == 3 && !strcmp(argv[2], "second argument") && !strcmp(getenv("KEY"), "value"));
    CHECK(fcntl(60, F_GETFD) == 0);
    CHECK_ERRNO(fcntl(61, F_GETFD), EBADF);
    sigset_t set;
    struct sigaction action;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, SIGUSR2) && !sigismember(&set, SIGUSR1));
    CHECK(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    CHECK(sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(umask(0) == 027);
    char link[256] = {0};
    CHECK(readlink("/proc/self/exe", link, sizeof link - 1) > 0 && !strcmp(link, self));
    return 0;
}

/* A child that does nothing until a signal ends it. */
static pid_t idle(void) {
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    CHECK(pid > 0);
    return pid;
}

static void groups(void) {
    pid_t leader = idle(), member = idle();
    CHECK(setpgid(leader, leader) == 0 && setpgid(member, leader) == 0);
    CHECK(getpgid(member) == leader && getpgid(0) != leader);
    CHECK_ERRNO(setpgid(member, 999999), EPERM);
    CHECK_ERRNO(setpgid(999999, 0), ESRCH);
    CHECK_ERRNO(setpgid(0, -1), EINVAL);
    CHECK(kill(-leader, SIGTERM) == 0);
    CHECK(waitpid(-leader, NULL, 0) > 0 && waitpid(-leader, NULL, 0) > 0);
    CHECK_ERRNO(kill(-leader, 0), ESRCH);
    /* After exec a parent may not move its child any more. */
    int p[2];
    char byte;
    CHECK(pipe2(p, O_CLOEXEC) == 0);
    pid_t execed = start("wait");
    CHECK(close(p[1]) == 0 && read(p[0], &byte, 1) == 0 && close(p[0]) == 0);
    CHECK_ERRNO(setpgid(execed, execed), EACCES);
    CHECK(kill(execed, SIGKILL) == 0 && status_of(execed) == 137);
    pid_t child = fork();
    if (child == 0) {
        CHECK(setpgid(0, 0) == 0 && getpgrp() == getpid());
        CHECK_ERRNO(setsid(), EPERM);
        pid_t own = fork();
        if (own == 0) {
            CHECK(setsid() == getpid() && getsid(0) == getpid() && getpgrp() == getpid());
            /* Without a terminal there is none to open. */
            CHECK_ERRNO(open("/dev/tty", O_RDWR), ENXIO);
            _exit(0);
        }
        CHECK(status_of(own) == 0);
        own = idle();
        signal(SIGTERM, SIG_IGN);
        CHECK(kill(0, SIGTERM) == 0 && status_of(own) == 128 + SIGTERM);
        _exit(0);
    }
    CHECK(status_of(child) == 0);
}

static void credentials(void) {
    pid_t child = fork();
    if (child == 0) {
        CHECK(setgid(65534) == 0 && setuid(65534) == 0 && getuid() == 65534 && geteuid() == 65534);
        CHECK_ERRNO(setuid(0), EPERM);
        CHECK_ERRNO(kill(1, SIGTERM), EPERM);
        CHECK_ERRNO(kill(getppid(), 0), EPERM);
        /* All together they are fewer rights, but no error: as on Linux. */
        CHECK(kill(-1, 0) == 0);
        CHECK_ERRNO(open("/etc/made-by-nobody", O_CREAT | O_WRONLY, 0644), EACCES);
        _exit(0);
    }
    CHECK(status_of(child) == 0);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 256);
    child = fork();
    if (child == 0) {
        limit.rlim_cur = limit.rlim_max = 10;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        int fd;
        while ((fd = open("/dev/null", O_RDONLY)) >= 0)
            CHECK(fd < 10);
        CHECK(errno == EMFILE);
        _exit(0);
    }
    CHECK(status_of(child) == 0);
}

/* Field 41 of /proc/PID/stat, whose second may have spaces. */
static int policy_of(pid_t pid) {
    char name[32], text[512] = {0};
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    int fd = open(name, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 41; field++)
        at = strchr(at + 1, ' ');
    CHECK(at);
    return atoi(at + 1);
}

static void policies(void) {
    struct sched_param zero = {0}, one = {1};
    pid_t child = fork();
    if (child == 0) {
        CHECK(sched_getscheduler(0) == SCHED_OTHER && policy_of(getpid()) == SCHED_OTHER);
        CHECK_ERRNO(sched_setscheduler(0, SCHED_BATCH, &one), EINVAL);
        CHECK_ERRNO(sched_setscheduler(0, 77, &zero), EINVAL);
        CHECK(sched_setscheduler(0, SCHED_BATCH, &zero) == 0 && sched_getscheduler(0) == SCHED_BATCH);
        CHECK(sched_setparam(0, &zero) == 0 && sched_getscheduler(getpid()) == SCHED_BATCH);
        CHECK(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &zero) == 0);
        CHECK(sched_getscheduler(0) == (SCHED_IDLE | SCHED_RESET_ON_FORK) && policy_of(getpid()) == SCHED_IDLE);
        CHECK(setpriority(PRIO_PROCESS, 0, -5) == 0);
        pid_t own = fork();
        if (own == 0) {
            CHECK(sched_getscheduler(0) == SCHED_IDLE && getpriority(PRIO_PROCESS, 0) == 0);
            CHECK(setuid(65534) == 0);
            /* More than idle is more than an ordinary user may ask for. */
            CHECK_ERRNO(sched_setscheduler(0, SCHED_OTHER, &zero), EPERM);
            CHECK_ERRNO(sched_setscheduler(0, SCHED_BATCH, &zero), EPERM);
            CHECK(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &zero) == 0);
            CHECK_ERRNO(sched_setscheduler(0, SCHED_IDLE, &zero), EPERM);
            _exit(0);
        }
        CHECK(status_of(own) == 0 && getpriority(PRIO_PROCESS, 0) == -5);
        CHECK(sched_setscheduler(0, SCHED_OTHER, &zero) == 0 && sched_getscheduler(0) == SCHED_OTHER);
        _exit(0);
    }
    CHECK(status_of(child) == 0);
}

int main(int argc, char **argv) {
    self = "/usr/libexec/rux/processes";
    if (argc > 1 && !strcmp(argv[1], "exit-9"))
        return 9;
    if (argc > 1 && !strcmp(argv[1], "wait"))
        for (;;)
            pause();
    if (argc > 1 && !strcmp(argv[1], "inspect"))
        return inspect(argc, argv);
    if (argc > 1 && !strcmp(argv[1], "script-arg"))
        return argc == 4 && !strcmp(argv[2], "./script") && !strcmp(argv[3], "one") ? 21 : 22;
    if (argc > 2 && !strcmp(argv[1], "children-end"))
        return children_end(atoi(argv[2]));
    waits();
    vforks();
    exit_signal_after_exec();
    exec_errors();
    across_exec();
    groups();
    credentials();
    policies();
    puts("processes: ok");
    return 0;
}
