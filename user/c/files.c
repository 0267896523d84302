/* Files: the tree, permissions, every errno that the manual pages name, positions, links, renames, directories that
   change while they are read, mappings of a file that is written, memfds, locks, epoll, /proc. As root. */
#include "check.h"
#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define BAD ((void *)-4096)

static char name_256[257], path_4096[4097];

static int touch(const char *path, int flags) {
    int fd = open(path, flags | O_CREAT, 0644);
    CHECK(fd >= 0);
    return fd;
}

static void opening(void) {
    struct stat st;
    CHECK_ERRNO(open("none", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("none/x", O_RDWR | O_CREAT, 0600), ENOENT);
    int fd = touch("file", O_RDWR | O_EXCL);
    CHECK_ERRNO(open("file", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    CHECK_ERRNO(open("file/", O_RDONLY), ENOTDIR);
    CHECK_ERRNO(open("file/x", O_RDONLY), ENOTDIR);
    CHECK_ERRNO(open("new/", O_RDWR | O_CREAT, 0600), EISDIR);
    CHECK_ERRNO(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
    CHECK_ERRNO(open(".", O_RDWR), EISDIR);
    CHECK_ERRNO(open(".", O_RDONLY | O_CREAT, 0600), EISDIR);
    CHECK_ERRNO(open(BAD, O_RDONLY), EFAULT);
    CHECK_ERRNO(open(name_256, O_RDONLY), ENAMETOOLONG);
    CHECK_ERRNO(open(path_4096, O_RDONLY), ENAMETOOLONG);
    CHECK_ERRNO(openat(fd, "x", O_RDONLY), ENOTDIR);
    CHECK_ERRNO(openat(12345, "x", O_RDONLY), EBADF);
    CHECK(symlink("loop", "loop") == 0);
    CHECK_ERRNO(open("loop", O_RDONLY), ELOOP);
    CHECK(symlink("file", "link") == 0);
    CHECK_ERRNO(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    int path = open("link", O_PATH | O_NOFOLLOW);
    char text[16];
    CHECK(path >= 0 && readlinkat(path, "", text, sizeof text) == 4 && !memcmp(text, "file", 4));
    CHECK_ERRNO(read(path, text, 1), EBADF);
    CHECK(fstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 4 && close(path) == 0);
    /* A dangling link: its target is made. */
    CHECK(symlink("made", "dangling") == 0);
    CHECK_ERRNO(open("dangling", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    CHECK(close(touch("dangling", O_WRONLY)) == 0 && stat("made", &st) == 0 && S_ISREG(st.st_mode));
    CHECK(unlink("dangling") == 0 && unlink("made") == 0 && unlink("loop") == 0 && unlink("link") == 0);
    CHECK(write(fd, "0123456789", 10) == 10);
    int other = open("file", O_WRONLY | O_TRUNC);
    CHECK(other >= 0 && fstat(fd, &st) == 0 && st.st_size == 0 && st.st_nlink == 1);
    CHECK(unlink("file") == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0);
    CHECK(write(other, "still", 5) == 5 && pread(fd, text, 16, 0) == 5);
    CHECK(close(other) == 0 && close(fd) == 0);
    int nameless = open(".", O_TMPFILE | O_RDWR, 0600);
    CHECK(nameless >= 0 && write(nameless, "x", 1) == 1);
    char self[64];
    sprintf(self, "/proc/self/fd/%d", nameless);
    CHECK(linkat(AT_FDCWD, self, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    CHECK(stat("named", &st) == 0 && st.st_size == 1 && st.st_nlink == 1 && unlink("named") == 0);
    CHECK(close(nameless) == 0);
    umask(027);
    CHECK(close(open("masked", O_CREAT | O_WRONLY, 06777)) == 0);
    CHECK(stat("masked", &st) == 0 && (st.st_mode & 07777) == 06750);
    umask(022);
    CHECK(unlink("masked") == 0);
}

static void descriptors(void) {
    struct rlimit old, few = {16, 16};
    int fd = touch("d", O_RDWR), fds[32];
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0 && fd == 3);
    few.rlim_max = old.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    for (int i = 4; i < 16; i++)
        CHECK((fds[i] = dup(fd)) == i);
    CHECK_ERRNO(dup(fd), EMFILE);
    CHECK_ERRNO(open("d", O_RDONLY), EMFILE);
    CHECK_ERRNO(fcntl(fd, F_DUPFD, 16), EINVAL);
    CHECK_ERRNO(dup2(fd, 16), EBADF);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK(dup2(fd, 200) == 200 && dup2(200, 200) == 200 && fcntl(fd, F_DUPFD_CLOEXEC, 100) == 100);
    CHECK(fcntl(100, F_GETFD) == FD_CLOEXEC && fcntl(200, F_GETFD) == 0);
    CHECK_ERRNO(dup3(fd, fd, 0), EINVAL);
    CHECK_ERRNO(dup2(999, 5), EBADF);
    /* One position for all of them; flags too. */
    CHECK(write(fd, "abc", 3) == 3 && lseek(200, 0, SEEK_CUR) == 3);
    CHECK(fcntl(200, F_SETFL, O_APPEND) == 0 && (fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_RDWR));
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && write(fd, "d", 1) == 1 && lseek(fd, 0, SEEK_CUR) == 4);
    CHECK(syscall(SYS_close_range, 4, ~0u, 0) == 0);
    CHECK_ERRNO(fcntl(200, F_GETFD), EBADF);
    CHECK_ERRNO(close(200), EBADF);
    CHECK(fcntl(fd, F_GETFD) == 0 && close(fd) == 0 && unlink("d") == 0);
}

static void positions(void) {
    int fd = touch("p", O_RDWR);
    char block[8192];
    CHECK_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERRNO(lseek(fd, 0, 77), EINVAL);
    CHECK(lseek(fd, 3 * PAGE + 5, SEEK_SET) == 3 * PAGE + 5 && write(fd, "end", 3) == 3);
    CHECK(lseek(fd, 0, SEEK_END) == 3 * PAGE + 8);
    CHECK(lseek(fd, 0, SEEK_DATA) == 3 * PAGE && lseek(fd, 0, SEEK_HOLE) == 0);
    CHECK(lseek(fd, 3 * PAGE, SEEK_HOLE) == 3 * PAGE + 8);
    CHECK_ERRNO(lseek(fd, 4 * PAGE, SEEK_DATA), ENXIO);
    memset(block, 1, sizeof block);
    CHECK(pread(fd, block, sizeof block, PAGE) == sizeof block);
    for (size_t i = 0; i < sizeof block; i++)
        CHECK(block[i] == 0);
    CHECK_ERRNO(pread(fd, block, 1, -1), EINVAL);
    CHECK_ERRNO(read(fd, BAD, 1), EFAULT);
    CHECK_ERRNO(pwrite(fd, BAD, 1, 0), EFAULT);
    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cd", 2}};
    CHECK(pwritev(fd, parts, 3, 0) == 4 && pread(fd, block, 4, 0) == 4 && !memcmp(block, "abcd", 4));
    CHECK_ERRNO(syscall(SYS_readv, fd, parts, -1), EINVAL);
    CHECK_ERRNO(syscall(SYS_readv, fd, parts, IOV_MAX + 1), EINVAL);
    parts[1].iov_len = -1;
    CHECK_ERRNO(writev(fd, parts, 3), EINVAL);
    /* A buffer that ends in nothing: what fits is read. */
    char *map = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED && munmap(map + PAGE, PAGE) == 0);
    CHECK(pread(fd, map + PAGE - 3, 100, 0) == 3 && !memcmp(map + PAGE - 3, "abc", 3));
    CHECK(ftruncate(fd, 2) == 0 && pread(fd, block, 10, 0) == 2 && ftruncate(fd, 6) == 0);
    CHECK(pread(fd, block, 10, 0) == 6 && !memcmp(block, "ab\0\0\0\0", 6));
    CHECK_ERRNO(ftruncate(fd, -1), EINVAL);
    CHECK(fallocate(fd, 0, 0, 4 * PAGE) == 0 && lseek(fd, 0, SEEK_END) == 4 * PAGE);
    /* What is only allocated is a hole, until it is written to or mapped. */
    struct stat st;
    CHECK(fstat(fd, &st) == 0 && st.st_blocks == 4 * PAGE / 512);
    CHECK(lseek(fd, 0, SEEK_HOLE) == PAGE);
    CHECK_ERRNO(lseek(fd, PAGE, SEEK_DATA), ENXIO);
    CHECK(pread(fd, block, PAGE, PAGE) == PAGE && block[0] == 0 && block[PAGE - 1] == 0);
    CHECK(pwrite(fd, "x", 1, 2 * PAGE + 1) == 1 && lseek(fd, PAGE, SEEK_DATA) == 2 * PAGE);
    CHECK(lseek(fd, 2 * PAGE, SEEK_HOLE) == 3 * PAGE && pread(fd, block, 3, 2 * PAGE) == 3 && !memcmp(block, "\0x\0", 3));
    volatile char *mapped = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 3 * PAGE);
    CHECK(mapped != MAP_FAILED && *mapped == 0 && lseek(fd, 3 * PAGE, SEEK_DATA) == 3 * PAGE);
    CHECK(munmap((void *)mapped, PAGE) == 0);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0 && pread(fd, block, 2, 0) == 2);
    CHECK(block[0] == 0);
    struct rlimit old, small = {10, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0 && setrlimit(RLIMIT_FSIZE, &small) == 0 && ftruncate(fd, 0) == 0);
    CHECK(pwrite(fd, block, 100, 0) == 10);
    CHECK_ERRNO(pwrite(fd, block, 1, 10), EFBIG);
    CHECK_ERRNO(ftruncate(fd, 11), EFBIG);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0 && close(fd) == 0 && unlink("p") == 0);
}

static void names(void) {
    struct stat a, b;
    CHECK(mkdir("dir", 0755) == 0);
    CHECK_ERRNO(mkdir("dir", 0755), EEXIST);
    CHECK_ERRNO(mkdir("dir/.", 0755), EEXIST);
    CHECK_ERRNO(mkdir("/", 0755), EEXIST);
    CHECK(mkdir("dir/sub/", 0755) == 0 && stat("dir", &a) == 0 && a.st_nlink == 3);
    CHECK(close(touch("dir/f", O_RDWR)) == 0);
    CHECK_ERRNO(rmdir("dir"), ENOTEMPTY);
    CHECK_ERRNO(rmdir("dir/f"), ENOTDIR);
    CHECK_ERRNO(rmdir("dir/."), EINVAL);
    CHECK_ERRNO(rmdir("dir/sub/.."), ENOTEMPTY);
    CHECK_ERRNO(rmdir("/"), EBUSY);
    CHECK_ERRNO(unlink("dir/sub"), EISDIR);
    CHECK_ERRNO(unlink("dir/f/"), ENOTDIR);
    CHECK_ERRNO(unlink("dir/none"), ENOENT);
    CHECK(link("dir/f", "dir/g") == 0 && stat("dir/f", &a) == 0 && stat("dir/g", &b) == 0);
    CHECK(a.st_ino == b.st_ino && a.st_nlink == 2);
    CHECK_ERRNO(link("dir/f", "dir/g"), EEXIST);
    CHECK_ERRNO(link("dir", "d2"), EPERM);
    CHECK_ERRNO(link("none", "x"), ENOENT);
    CHECK_ERRNO(link("dir/f", "/proc/x"), ENOENT);
    CHECK_ERRNO(link("dir/f", "/dev/x"), EXDEV);
    CHECK_ERRNO(open("/proc/x", O_RDWR | O_CREAT, 0600), ENOENT);
    CHECK_ERRNO(mkdir("/proc/x", 0700), ENOENT);
    /* Renames. */
    CHECK(rename("dir/f", "dir/g") == 0 && stat("dir/f", &a) == 0);
    CHECK(rename("dir/f", "dir/h") == 0);
    CHECK_ERRNO(stat("dir/f", &a), ENOENT);
    CHECK(unlink("dir/g") == 0 && stat("dir/h", &a) == 0 && a.st_nlink == 1);
    CHECK_ERRNO(rename("dir/none", "dir/x"), ENOENT);
    CHECK_ERRNO(rename("dir", "dir/sub/x"), EINVAL);
    CHECK_ERRNO(rename("dir/sub", "dir"), ENOTEMPTY);
    CHECK_ERRNO(rename("dir/h", "dir/sub"), EISDIR);
    CHECK_ERRNO(rename("dir/sub", "dir/h"), ENOTDIR);
    CHECK_ERRNO(rename("dir/h", "dir/x/"), ENOTDIR);
    CHECK_ERRNO(rename("dir/h", "/proc/x"), EXDEV);
    CHECK_ERRNO(rename("dir/.", "dir/x"), EBUSY);
    CHECK(mkdir("dir/empty", 0755) == 0 && rename("dir/sub", "dir/empty") == 0);
    CHECK(stat("dir", &a) == 0 && a.st_nlink == 3);
    CHECK(close(touch("dir/o", O_RDWR)) == 0 && stat("dir/h", &a) == 0);
    CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "dir/h", AT_FDCWD, "dir/o", 1), EEXIST);
    CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "dir/h", AT_FDCWD, "dir/o", 3), EINVAL);
    CHECK_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "dir/h", AT_FDCWD, "dir/none", 2), ENOENT);
    CHECK(mkdir("two", 0755) == 0);
    CHECK(syscall(SYS_renameat2, AT_FDCWD, "dir/h", AT_FDCWD, "two", 2) == 0);
    CHECK(stat("two", &b) == 0 && a.st_ino == b.st_ino && stat("dir/h", &b) == 0 && S_ISDIR(b.st_mode));
    CHECK(stat("dir", &a) == 0 && a.st_nlink == 4);
    /* A directory that is somebody's, and gone. */
    char cwd[PATH_MAX];
    CHECK(chdir("dir/empty") == 0 && getcwd(cwd, sizeof cwd) && strstr(cwd, "/dir/empty"));
    CHECK(rename("../empty", "../moved") == 0 && getcwd(cwd, sizeof cwd) && strstr(cwd, "/dir/moved"));
    CHECK(rmdir("../moved") == 0);
    CHECK_ERRNO(mkdir("x", 0755), ENOENT);
    CHECK(getcwd(cwd, sizeof cwd) == 0 && errno == ENOENT && chdir("..") == 0 && chdir("..") == 0);
    CHECK_ERRNO(chdir("two"), ENOTDIR);
    CHECK_ERRNO(syscall(SYS_getcwd, cwd, 2), ERANGE);
    CHECK(rmdir("dir/h") == 0 && unlink("dir/o") == 0 && unlink("two") == 0 && rmdir("dir") == 0);
    CHECK_ERRNO(symlink("", "x"), ENOENT);
    CHECK_ERRNO(symlink("x", "/"), EEXIST);
    CHECK_ERRNO(mknod("x/", S_IFIFO | 0600, 0), ENOENT);
    CHECK(mknod("null", S_IFCHR | 0600, makedev(1, 3)) == 0 && stat("null", &a) == 0);
    CHECK(a.st_rdev == makedev(1, 3) && unlink("null") == 0);
    CHECK(mknod("missing", S_IFCHR | 0600, makedev(77, 3)) == 0);
    CHECK_ERRNO(open("missing", O_RDONLY), ENXIO);
    CHECK(unlink("missing") == 0);
}

/* A directory of thousands of names that changes while it is read. */
static void directory(void) {
    enum { NAMES = 3000 };
    static char seen[NAMES];
    char name[16];
    CHECK(mkdir("many", 0755) == 0 && chdir("many") == 0);
    for (int i = 0; i < NAMES; i++) {
        sprintf(name, "n%d", (i * 7919) % NAMES);
        CHECK(close(touch(name, O_WRONLY | O_EXCL)) == 0);
    }
    DIR *dir = opendir(".");
    CHECK(dir);
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        int i = atoi(entry->d_name + 1);
        CHECK(i >= 0 && i < NAMES && !seen[i]++);
        struct stat st;
        CHECK(stat(entry->d_name, &st) == 0 && st.st_ino == entry->d_ino && entry->d_type == DT_REG);
        CHECK(unlink(entry->d_name) == 0);
        count++;
    }
    CHECK(count == NAMES && closedir(dir) == 0);
    CHECK(chdir("..") == 0 && rmdir("many") == 0);
    int fd = touch("f", O_RDONLY);
    CHECK_ERRNO(syscall(SYS_getdents64, fd, name, sizeof name), ENOTDIR);
    CHECK(close(fd) == 0 && unlink("f") == 0 && (fd = open(".", O_RDONLY)) >= 0);
    CHECK_ERRNO(syscall(SYS_getdents64, fd, name, 10), EINVAL);
    CHECK_ERRNO(syscall(SYS_getdents64, fd, BAD, 4096), EFAULT);
    CHECK_ERRNO(read(fd, name, 1), EISDIR);
    CHECK(close(fd) == 0);
}

/* What somebody without privilege may not do. */
static void permissions(void) {
    CHECK(mkdir("open", 01777) == 0 && chmod("open", 01777) == 0 && mkdir("closed", 0700) == 0);
    CHECK(close(touch("secret", O_RDWR)) == 0 && chmod("secret", 0600) == 0);
    CHECK(close(touch("open/roots", O_RDWR)) == 0 && close(touch("script", O_RDWR)) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct stat st;
        CHECK(setgid(1000) == 0 && setuid(1000) == 0);
        CHECK_ERRNO(open("secret", O_RDONLY), EACCES);
        CHECK_ERRNO(open("closed/x", O_RDONLY), EACCES);
        CHECK_ERRNO(open("script", O_RDWR), EACCES);
        CHECK_ERRNO(open("new", O_RDWR | O_CREAT, 0600), EACCES);
        CHECK_ERRNO(mkdir("new", 0700), EACCES);
        CHECK_ERRNO(unlink("secret"), EACCES);
        CHECK_ERRNO(unlink("open/roots"), EPERM);
        CHECK_ERRNO(rename("open/roots", "open/x"), EPERM);
        CHECK_ERRNO(chmod("secret", 0666), EPERM);
        CHECK_ERRNO(chown("secret", 1000, 1000), EPERM);
        CHECK_ERRNO(mknod("open/n", S_IFCHR | 0600, makedev(1, 3)), EPERM);
        CHECK_ERRNO(chroot("open"), EPERM);
        CHECK_ERRNO(mount("none", "open", "tmpfs", 0, 0), EPERM);
        CHECK_ERRNO(umount("/tmp"), EPERM);
        CHECK_ERRNO(utimensat(AT_FDCWD, "secret", 0, 0), EACCES);
        CHECK_ERRNO(execl("script", "script", (char *)0), EACCES);
        CHECK(access("secret", F_OK) == 0);
        CHECK_ERRNO(access("secret", R_OK), EACCES);
        CHECK(close(touch("open/mine", O_RDWR)) == 0 && stat("open/mine", &st) == 0);
        CHECK(st.st_uid == 1000 && st.st_gid == 1000 && chmod("open/mine", 02755) == 0);
        CHECK_ERRNO(chown("open/mine", 0, -1), EPERM);
        CHECK(chown("open/mine", 1000, 1000) == 0 && unlink("open/mine") == 0);
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
    CHECK(access("secret", R_OK | W_OK) == 0);
    CHECK_ERRNO(access("secret", X_OK), EACCES);
    CHECK(unlink("open/roots") == 0 && rmdir("open") == 0 && rmdir("closed") == 0);
    CHECK(unlink("secret") == 0 && unlink("script") == 0);
}

static void times(void) {
    struct stat st;
    struct timespec set[2] = {{100, 5}, {200, 6}};
    int fd = touch("t", O_RDWR);
    CHECK(futimens(fd, set) == 0 && fstat(fd, &st) == 0);
    CHECK(st.st_atim.tv_sec == 100 && st.st_atim.tv_nsec == 5 && st.st_mtim.tv_sec == 200 && st.st_mtim.tv_nsec == 6);
    set[0].tv_nsec = UTIME_OMIT, set[1].tv_nsec = UTIME_NOW;
    CHECK(futimens(fd, set) == 0 && fstat(fd, &st) == 0 && st.st_atim.tv_sec == 100);
    /* A machine without a clock of its own starts in 1970. */
    CHECK(labs(st.st_mtim.tv_sec - time(NULL)) < 10);
    set[0].tv_nsec = 1000000000;
    CHECK_ERRNO(futimens(fd, set), EINVAL);
    CHECK(write(fd, "x", 1) == 1 && chmod("t", 04755) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 04000));
    struct statx sx;
    CHECK(statx(AT_FDCWD, "t", 0, STATX_ALL, &sx) == 0 && sx.stx_size == 1 && sx.stx_ino == st.st_ino);
    CHECK_ERRNO(statx(AT_FDCWD, "t", 0x100000, STATX_ALL, &sx), EINVAL);
    CHECK_ERRNO(stat("t", BAD), EFAULT);
    CHECK(close(fd) == 0 && unlink("t") == 0);
}

/* One page cache: what is written is mapped, what is stored is read. */
static void coherence(void) {
    int fd = touch("m", O_RDWR);
    char byte;
    CHECK(ftruncate(fd, 2 * PAGE) == 0);
    char *shared = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED);
    CHECK(pwrite(fd, "a", 1, PAGE) == 1 && shared[PAGE] == 'a' && private[PAGE] == 'a');
    shared[PAGE + 1] = 'b';
    CHECK(pread(fd, &byte, 1, PAGE + 1) == 1 && byte == 'b' && private[PAGE + 1] == 'b');
    private[PAGE] = 'c';
    CHECK(shared[PAGE] == 'a' && pread(fd, &byte, 1, PAGE) == 1 && byte == 'a');
    /* From the file into its own mapping. */
    CHECK(pread(fd, shared, PAGE, PAGE) == PAGE && shared[0] == 'a' && pwrite(fd, shared + PAGE, 2, 0) == 2);
    CHECK(ftruncate(fd, PAGE) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        *(volatile char *)(shared + PAGE) = 1;
        _exit(0);
    }
    CHECK(status_of(pid) == 128 + SIGBUS);
    CHECK(munmap(shared, 2 * PAGE) == 0 && munmap(private, 2 * PAGE) == 0 && close(fd) == 0 && unlink("m") == 0);
    CHECK_ERRNO((int)(long)mmap(0, PAGE, PROT_READ, MAP_PRIVATE, open(".", O_RDONLY), 0), ENODEV);
    int zero = open("/dev/zero", O_RDWR);
    char *map = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
    CHECK(map != MAP_FAILED && map[5] == 0 && close(zero) == 0 && munmap(map, PAGE) == 0);
    int memory = memfd_create("name", MFD_ALLOW_SEALING);
    char link[64];
    sprintf(link, "/proc/self/fd/%d", memory);
    char text[64] = {0};
    CHECK(memory >= 0 && readlink(link, text, 63) > 0 && !strcmp(text, "/memfd:name (deleted)"));
    CHECK(write(memory, "seal", 4) == 4 && fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
    CHECK_ERRNO(write(memory, "x", 1), EPERM);
    CHECK_ERRNO(ftruncate(memory, 0), EPERM);
    CHECK(fcntl(memory, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK) && close(memory) == 0);
}

static void seals(void) {
    /* A private mapping does not write to the file; a shared one could. */
    int memory = memfd_create("mapped", MFD_ALLOW_SEALING);
    CHECK(ftruncate(memory, PAGE) == 0);
    void *private = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory, 0);
    void *shared = mmap(0, PAGE, PROT_READ, MAP_SHARED, memory, 0);
    CHECK(private != MAP_FAILED && shared != MAP_FAILED);
    CHECK_ERRNO(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    CHECK(munmap(shared, PAGE) == 0 && fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE) == 0 && munmap(private, PAGE) == 0);
    shared = mmap(0, PAGE, PROT_READ, MAP_SHARED, memory, 0);
    CHECK(shared != MAP_FAILED && mprotect(shared, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
    CHECK(munmap(shared, PAGE) == 0 && close(memory) == 0);
    /* The seal of the execution bits (32): for ever executable is never written. */
    memory = memfd_create("program", MFD_ALLOW_SEALING);
    CHECK(write(memory, "x", 1) == 1 && fcntl(memory, F_ADD_SEALS, 32) == 0);
    CHECK(fcntl(memory, F_GET_SEALS) == (32 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
    CHECK_ERRNO(write(memory, "y", 1), EPERM);
    CHECK_ERRNO(fchmod(memory, 0644), EPERM);
    CHECK(fchmod(memory, 0755) == 0 && close(memory) == 0);
    char name[251] = {0};
    memset(name, 'n', 250);
    CHECK_ERRNO(memfd_create(name, 0), EINVAL);
    name[249] = 0;
    CHECK((memory = memfd_create(name, 0)) >= 0 && close(memory) == 0);
}

static void devices(void) {
    char block[64];
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    int random = open("/dev/urandom", O_RDWR);
    CHECK(null >= 0 && zero >= 0 && full >= 0 && random >= 0);
    CHECK(read(null, block, 64) == 0 && write(null, block, 64) == 64 && lseek(null, 5, SEEK_SET) == 0);
    memset(block, 1, 64);
    CHECK(read(zero, block, 64) == 64 && block[0] == 0 && block[63] == 0 && read(full, block, 64) == 64);
    CHECK_ERRNO(write(full, block, 1), ENOSPC);
    CHECK_ERRNO(read(zero, BAD, 1), EFAULT);
    CHECK(read(random, block, 64) == 64 && memcmp(block, block + 32, 32));
    CHECK_ERRNO(ioctl(null, TCGETS, block), ENOTTY);
    CHECK(close(null) == 0 && close(zero) == 0 && close(full) == 0 && close(random) == 0);
}

static void fifos(void) {
    char block[16];
    CHECK(mkfifo("fifo", 0600) == 0);
    CHECK_ERRNO(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = open("fifo", O_RDONLY | O_NONBLOCK);
    CHECK(reader >= 0 && read(reader, block, 16) == 0 && close(reader) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        int writer = open("fifo", O_WRONLY);
        CHECK(writer >= 0 && write(writer, "hello", 5) == 5);
        _exit(0);
    }
    reader = open("fifo", O_RDONLY);
    CHECK(reader >= 0 && read(reader, block, 16) == 5 && status_of(pid) == 0 && read(reader, block, 16) == 0);
    CHECK(close(reader) == 0 && unlink("fifo") == 0);
}

static void locks(void) {
    int a = touch("l", O_RDWR), b = open("l", O_RDWR);
    CHECK(flock(a, LOCK_EX) == 0);
    CHECK_ERRNO(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(a, LOCK_UN) == 0 && flock(b, LOCK_SH | LOCK_NB) == 0 && flock(a, LOCK_SH) == 0 && close(b) == 0);
    struct flock range = {F_WRLCK, SEEK_SET, 10, 10, 0};
    CHECK(fcntl(a, F_SETLK, &range) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct flock probe = {F_RDLCK, SEEK_SET, 0, 0, 0};
        CHECK(fcntl(a, F_GETLK, &probe) == 0 && probe.l_type == F_WRLCK && probe.l_start == 10 && probe.l_len == 10);
        CHECK(probe.l_pid == getppid());
        struct flock wait = {F_WRLCK, SEEK_SET, 15, 1, 0};
        CHECK_ERRNO(fcntl(a, F_SETLK, &wait), EAGAIN);
        CHECK(fcntl(a, F_SETLKW, &wait) == 0);
        _exit(0);
    }
    sleep_ms(50);
    struct flock middle = {F_UNLCK, SEEK_SET, 12, 5, 0};
    CHECK(fcntl(a, F_SETLK, &middle) == 0 && status_of(pid) == 0);
    /* Two that wait for each other: the second is told. Without a circle it is a wait like any other. */
    struct flock first = {F_WRLCK, SEEK_SET, 100, 1, 0}, second = {F_WRLCK, SEEK_SET, 200, 1, 0};
    CHECK(fcntl(a, F_SETLK, &first) == 0);
    pid = fork();
    if (pid == 0) {
        CHECK(fcntl(a, F_SETLK, &second) == 0 && fcntl(a, F_SETLKW, &first) == 0);
        sleep_ms(50);
        _exit(0);
    }
    sleep_ms(100);
    alarm(10);
    CHECK_ERRNO(fcntl(a, F_SETLKW, &second), EDEADLK);
    first.l_type = F_UNLCK;
    CHECK(fcntl(a, F_SETLK, &first) == 0 && fcntl(a, F_SETLKW, &second) == 0 && status_of(pid) == 0);
    alarm(0);
    CHECK(close(a) == 0 && unlink("l") == 0);
}

static void events(void) {
    int event = eventfd(3, EFD_NONBLOCK), p[2], set = epoll_create1(EPOLL_CLOEXEC);
    uint64_t value;
    CHECK(event >= 0 && set >= 0 && pipe2(p, O_NONBLOCK) == 0);
    CHECK(read(event, &value, 8) == 8 && value == 3);
    CHECK_ERRNO(read(event, &value, 8), EAGAIN);
    struct epoll_event ask = {EPOLLIN, {.u64 = 7}}, got[4];
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, event, &ask) == 0);
    CHECK_ERRNO(epoll_ctl(set, EPOLL_CTL_ADD, event, &ask), EEXIST);
    CHECK_ERRNO(epoll_ctl(set, EPOLL_CTL_DEL, p[0], &ask), ENOENT);
    CHECK_ERRNO(epoll_ctl(set, EPOLL_CTL_ADD, set, &ask), EINVAL);
    int file = touch("e", O_RDWR);
    CHECK_ERRNO(epoll_ctl(set, EPOLL_CTL_ADD, file, &ask), EPERM);
    CHECK(close(file) == 0 && unlink("e") == 0);
    ask.events = EPOLLIN | EPOLLET, ask.data.u64 = 8;
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, p[0], &ask) == 0 && epoll_wait(set, got, 4, 0) == 0);
    long start = now_ms();
    CHECK(epoll_wait(set, got, 4, 30) == 0 && now_ms() - start >= 29);
    CHECK(write(p[1], "x", 1) == 1 && epoll_wait(set, got, 4, -1) == 1 && got[0].data.u64 == 8);
    CHECK(epoll_wait(set, got, 4, 0) == 0);
    CHECK(write(p[1], "y", 1) == 1 && epoll_wait(set, got, 4, 0) == 1);
    value = 1;
    CHECK(write(event, &value, 8) == 8 && epoll_wait(set, got, 4, 0) == 1 && got[0].data.u64 == 7);
    CHECK(epoll_wait(set, got, 4, 0) == 1);
    /* A file that is closed leaves the set. */
    CHECK(close(event) == 0 && epoll_wait(set, got, 4, 0) == 0);
    CHECK_ERRNO(epoll_wait(set, got, 0, 0), EINVAL);
    CHECK_ERRNO(epoll_wait(p[0], got, 1, 0), EINVAL);
    CHECK(close(p[1]) == 0 && epoll_wait(set, got, 4, -1) == 1 && (got[0].events & EPOLLHUP));
    struct pollfd nested = {set, POLLIN, 0};
    /* Its edge was told. */
    CHECK(poll(&nested, 1, 0) == 0);
    ask.events = EPOLLIN;
    CHECK(epoll_ctl(set, EPOLL_CTL_MOD, p[0], &ask) == 0 && poll(&nested, 1, 0) == 1);
    CHECK(close(p[0]) == 0 && poll(&nested, 1, 0) == 0 && close(set) == 0);
}

/* Sets in sets: how deep, from either end, and that many ways through them take no time. */
static void nests(void) {
    enum { WIDTH = 24, LEVELS = 5 };
    int sets[LEVELS][WIDTH], chain[7];
    struct epoll_event ask = {EPOLLIN, {0}}, got;
    for (int i = 0; i < 7; i++)
        CHECK((chain[i] = epoll_create1(0)) >= 0);
    for (int i = 0; i < 4; i++)
        CHECK(epoll_ctl(chain[i], EPOLL_CTL_ADD, chain[i + 1], &ask) == 0);
    CHECK_ERRNO(epoll_ctl(chain[4], EPOLL_CTL_ADD, chain[5], &ask), ELOOP);
    CHECK_ERRNO(epoll_ctl(chain[5], EPOLL_CTL_ADD, chain[0], &ask), ELOOP);
    CHECK_ERRNO(epoll_ctl(chain[4], EPOLL_CTL_ADD, chain[0], &ask), ELOOP);
    /* What was deep once does not count for ever. */
    CHECK(close(chain[3]) == 0 && epoll_ctl(chain[2], EPOLL_CTL_ADD, chain[5], &ask) == 0);
    CHECK(epoll_ctl(chain[5], EPOLL_CTL_ADD, chain[6], &ask) == 0);
    CHECK(epoll_ctl(chain[2], EPOLL_CTL_DEL, chain[5], 0) == 0);
    CHECK(epoll_ctl(chain[6], EPOLL_CTL_ADD, chain[0], &ask) == 0);
    for (int i = 0; i < 7; i++)
        if (i != 3)
            CHECK(close(chain[i]) == 0);
    for (int level = 0; level < LEVELS; level++)
        for (int i = 0; i < WIDTH; i++)
            CHECK((sets[level][i] = epoll_create1(0)) >= 0);
    long start = now_ms();
    for (int level = LEVELS - 1; level > 0; level--)
        for (int i = 0; i < WIDTH; i++)
            for (int j = 0; j < WIDTH; j++)
                CHECK(epoll_ctl(sets[level - 1][i], EPOLL_CTL_ADD, sets[level][j], &ask) == 0);
    CHECK_ERRNO(epoll_ctl(sets[LEVELS - 1][0], EPOLL_CTL_ADD, sets[0][0], &ask), ELOOP);
    int event = eventfd(0, 0);
    CHECK(epoll_wait(sets[0][0], &got, 1, 10) == 0);
    /* Linux takes no file that as many ways lead up from. Rux, which looks at each set once, does. */
    if (epoll_ctl(sets[LEVELS - 1][WIDTH - 1], EPOLL_CTL_ADD, event, &ask) == 0) {
        CHECK(epoll_wait(sets[0][0], &got, 1, 10) == 0);
        CHECK(eventfd_write(event, 1) == 0 && epoll_wait(sets[0][0], &got, 1, -1) == 1);
    } else
        CHECK(errno == EINVAL);
    CHECK(now_ms() - start < 10000);
    CHECK(syscall(SYS_close_range, sets[0][0], ~0u, 0) == 0);
}

static void mounts(void) {
    struct stat before, inside;
    struct statfs fs;
    CHECK(mkdir("mnt", 0755) == 0 && stat("mnt", &before) == 0);
    CHECK_ERRNO(mount("none", "mnt", "nosuch", 0, 0), ENODEV);
    CHECK_ERRNO(mount("none", "mnt", "tmpfs", 0, "bad=1"), EINVAL);
    CHECK(mount("none", "mnt", "tmpfs", MS_NOSUID, "size=64k,mode=700") == 0);
    CHECK(stat("mnt", &inside) == 0 && inside.st_dev != before.st_dev && (inside.st_mode & 07777) == 0700);
    CHECK(statfs("mnt", &fs) == 0 && fs.f_type == 0x01021994 && fs.f_blocks == 16 && fs.f_bfree == 16);
    int fd = touch("mnt/f", O_RDWR);
    static char block[128 << 10];
    CHECK(write(fd, block, sizeof block) == 64 << 10);
    CHECK_ERRNO(write(fd, block, 1), ENOSPC);
    CHECK_ERRNO(umount("mnt"), EBUSY);
    CHECK_ERRNO(rmdir("mnt"), EBUSY);
    CHECK_ERRNO(rename("mnt/f", "f"), EXDEV);
    CHECK(ftruncate(fd, 0) == 0 && statfs("mnt", &fs) == 0 && fs.f_bfree == 16 && close(fd) == 0);
    CHECK(mkdir("mnt/a", 0755) == 0 && mkdir("mnt/a/b", 0755) == 0);
    CHECK(mount(0, "mnt", 0, MS_REMOUNT | MS_RDONLY, 0) == 0);
    CHECK_ERRNO(open("mnt/g", O_RDWR | O_CREAT, 0600), EROFS);
    CHECK_ERRNO(unlink("mnt/f"), EROFS);
    CHECK(umount("mnt") == 0);
    CHECK_ERRNO(umount("mnt"), EINVAL);
    CHECK(stat("mnt", &inside) == 0 && inside.st_ino == before.st_ino && rmdir("mnt") == 0);
}

static void deep(void) {
    /* Deeper than a kernel stack would take if it recursed. */
    enum { DEPTH = 3000 };
    for (int i = 0; i < DEPTH; i++)
        CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0);
    char cwd[PATH_MAX];
    CHECK(getcwd(cwd, sizeof cwd) == 0 && errno == ERANGE);
    CHECK_ERRNO(syscall(SYS_getcwd, cwd, sizeof cwd), ENAMETOOLONG);
    for (int i = 0; i < DEPTH; i++)
        CHECK(chdir("..") == 0 && (i == 0 || rmdir("d/d") == 0));
    CHECK(rmdir("d") == 0);
    /* All of it removed from below a working directory, whose end then frees the chain. */
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < DEPTH; i++)
            CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0);
        int up = open(".", O_PATH | O_DIRECTORY);
        CHECK(up >= 0);
        for (int i = 0; i < DEPTH; i++) {
            int above = openat(up, "..", O_PATH | O_DIRECTORY);
            CHECK(above >= 0 && unlinkat(above, "d", AT_REMOVEDIR) == 0 && close(up) == 0);
            up = above;
        }
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
    CHECK(mkdir("mnt", 0755) == 0 && mount("none", "mnt", "tmpfs", 0, 0) == 0);
    pid = fork();
    if (pid == 0) {
        CHECK(chdir("mnt") == 0);
        for (int i = 0; i < DEPTH; i++)
            CHECK(mkdir("d", 0755) == 0 && chdir("d") == 0);
        _exit(0);
    }
    CHECK(status_of(pid) == 0 && umount("mnt") == 0 && rmdir("mnt") == 0);
}

static void copies(void) {
    int from = touch("from", O_RDWR), to = touch("to", O_RDWR), p[2];
    static char block[20000], back[20000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i * 31;
    CHECK(write(from, block, sizeof block) == sizeof block && lseek(from, 0, SEEK_SET) == 0);
    CHECK(sendfile(to, from, 0, 1 << 20) == sizeof block && lseek(from, 0, SEEK_CUR) == sizeof block);
    CHECK(pread(to, back, sizeof back, 0) == sizeof back && !memcmp(block, back, sizeof back));
    off_t at = 100;
    CHECK(lseek(to, 0, SEEK_SET) == 0 && sendfile(to, from, &at, 50) == 50 && at == 150);
    CHECK(pread(to, back, 50, 0) == 50 && !memcmp(block + 100, back, 50));
    off_t in = 0, out = 30000;
    CHECK(copy_file_range(from, &in, to, &out, 1000, 0) == 1000 && in == 1000 && out == 31000);
    CHECK(pipe(p) == 0);
    CHECK_ERRNO(sendfile(to, p[0], 0, 10), EINVAL);
    CHECK_ERRNO(sendfile(to, p[0], &at, 10), ESPIPE);
    at = 0;
    CHECK(sendfile(p[1], from, &at, 10) == 10 && read(p[0], back, 100) == 10);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0 && close(from) == 0 && close(to) == 0);
    CHECK(unlink("from") == 0 && unlink("to") == 0);
}

/* Many processes make, move and remove names in the same directories. */
static void race(void) {
    enum { PROCESSES = 6, ROUNDS = 400 };
    CHECK(mkdir("r", 0755) == 0 && mkdir("r/a", 0755) == 0 && mkdir("r/b", 0755) == 0);
    pid_t pids[PROCESSES];
    for (int n = 0; n < PROCESSES; n++) {
        if ((pids[n] = fork()))
            continue;
        uint64_t seed = n + 1;
        for (int i = 0; i < ROUNDS; i++) {
            char one[32], two[32];
            sprintf(one, "r/%c/%d", 'a' + (int)(next_random(&seed) >> 60) % 2, (int)(next_random(&seed) >> 60) % 4);
            sprintf(two, "r/%c/%d", 'a' + (int)(next_random(&seed) >> 60) % 2, (int)(next_random(&seed) >> 60) % 4);
            switch (next_random(&seed) >> 61) {
            case 0: mkdir(one, 0755); break;
            case 1: rmdir(one); break;
            case 2: { int fd = open(one, O_CREAT | O_RDWR, 0644); if (fd >= 0) close(fd); break; }
            case 3: unlink(one); break;
            case 4: rename(one, two); break;
            case 5: link(one, two); break;
            case 6: syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, two, 2); break;
            default: symlink(one, two);
            }
        }
        _exit(0);
    }
    for (int n = 0; n < PROCESSES; n++)
        CHECK(status_of(pids[n]) == 0);
    for (int i = 0; i < 8; i++) {
        char path[32];
        sprintf(path, "r/%c/%d", 'a' + i / 4, i % 4);
        if (unlink(path) && errno == EISDIR) {
            for (int j = 0; j < 4; j++) {
                char inner[48];
                sprintf(inner, "%s/%d", path, j);
                if (unlink(inner))
                    rmdir(inner);
            }
            rmdir(path);
        }
    }
    struct stat st;
    CHECK(stat("r/a", &st) == 0 && st.st_nlink == 2 && rmdir("r/a") == 0 && rmdir("r/b") == 0 && rmdir("r") == 0);
}

static void proc(void) {
    char text[4096];
    char path[64];
    int fd = open("/proc/self/stat", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    CHECK(fd >= 0 && n > 0 && close(fd) == 0);
    text[n] = 0;
    int fields = 1;
    for (char *at = strrchr(text, ')'); *at; at++)
        fields += *at == ' ';
    CHECK(atoi(text) == getpid() && fields == 51);
    sprintf(path, "/proc/%d/exe", getpid());
    n = readlink(path, text, sizeof text);
    CHECK(n > 6 && !memcmp(text + n - 6, "/files", 6));
    CHECK_ERRNO(open("/proc/self/nothing", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("/proc/4194305/stat", O_RDONLY), ENOENT);
    CHECK_ERRNO(open("/proc/meminfo", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    sleep_ms(50);
    sprintf(path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    int zombie = 0;
    CHECK(file);
    while (fgets(text, sizeof text, file))
        zombie |= !strcmp(text, "State:\tZ (zombie)\n");
    CHECK(zombie && fseek(file, 0, SEEK_SET) == 0 && status_of(pid) == 0);
    int again = open(path, O_RDONLY);
    CHECK(again == -1 && errno == ENOENT && read(fileno(file), text, 10) == -1 && errno == ESRCH);
    fclose(file);
    CHECK(meminfo("MemTotal") > 0 && meminfo("Shmem") >= 0);
}

int main(void) {
    memset(name_256, 'n', 256);
    memset(path_4096, '/', 4096);
    syscall(SYS_close_range, 3, ~0u, 0);
    CHECK(mkdir("/root/files", 0755) == 0 && chdir("/root/files") == 0);
    opening();
    descriptors();
    positions();
    names();
    directory();
    permissions();
    times();
    coherence();
    seals();
    devices();
    for (int i = 0; i < 30; i++)
        fifos();
    locks();
    events();
    nests();
    mounts();
    deep();
    copies();
    race();
    proc();
    CHECK(chdir("/") == 0 && rmdir("/root/files") == 0);
    printf("files: ok\n");
    return 0;
}
