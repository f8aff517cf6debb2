/* A disk that fails when it is told to: an LD_PRELOAD library for the tests.

   FAULT_SYNC=<file>     fsync and fdatasync say EIO while that file is there.
   FAULT_READONLY=<file> whatever changes something below FAULT_ROOT says EROFS while that file is there.
   FAULT_NO_FOLDER_SYNC  fsync of a folder does nothing and says that it went well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int on(const char *variable) {
    const char *path = getenv(variable);
    return path && access(path, F_OK) == 0;
}

static int inside(const char *path) {
    const char *root = getenv("FAULT_ROOT");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int refused(const char *path) {
    if (!inside(path) || !on("FAULT_READONLY"))
        return 0;
    errno = EROFS;
    return 1;
}

static int refused_fd(int fd) {
    char name[64], path[PATH_MAX];
    if (!on("FAULT_READONLY"))
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return refused(path);
}

static int sync_with(int (*real)(int), int fd) {
    struct stat status;
    if (getenv("FAULT_NO_FOLDER_SYNC") && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode))
        return 0;
    if (on("FAULT_SYNC")) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) { return sync_with(REAL(fsync), fd); }
int fdatasync(int fd) { return sync_with(REAL(fdatasync), fd); }

static int open_with(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && refused(path))
        return -1;
    return real(path, flags, mode);
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                                      \
        va_end(more);                                                                                                  \
        return open_with(REAL(name), path, flags, mode);                                                               \
    }
OPEN(open)
OPEN(open64)

int rename(const char *from, const char *to) { return refused(to) ? -1 : REAL(rename)(from, to); }
int link(const char *from, const char *to) { return refused(to) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return refused(to) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
int unlink(const char *path) { return refused(path) ? -1 : REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { return refused(path) ? -1 : REAL(mkdir)(path, mode); }
int rmdir(const char *path) { return refused(path) ? -1 : REAL(rmdir)(path); }
ssize_t write(int fd, const void *data, size_t size) { return refused_fd(fd) ? -1 : REAL(write)(fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return refused_fd(fd) ? -1 : REAL(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return refused_fd(fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
