/* A disk that fails when it is told to: an LD_PRELOAD library for the tests (support/faults.py writes its plan).

   FAULT_PLAN=<file> is mapped by each process: RULES rules of the same layout as in faults.py. A rule holds for some
   calls, in some roles, on paths that contain its text. Of the calls that it holds for, `after` pass, and the next
   `times` (-1: all) fail: with errno `error`, or `delay_ms` late, or with half of what was asked for (`half`). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES 4
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum { OPEN = 1, WRITE = 2, SYNC = 4, FOLDER_SYNC = 8, NAME = 16, UNLINK = 32, MKDIR = 64, READ = 128 };

struct rule {
    uint32_t calls, roles; /* 0 = the rule is off */
    int32_t error;         /* 0 and no delay, no half: the call does nothing and says that it went well */
    uint32_t delay_ms;
    int64_t after, times, seen, hits;
    uint32_t half, unused;
    char path[200];
};

static struct rule *plan;
static uint32_t role; /* a bit */

__attribute__((constructor)) static void begin(void) {
    static const char *roles[] = {"supervisor", "receiver", "planner", "worker", "sender", "console", "watcher"};
    const char *file = getenv("FAULT_PLAN");
    char words[4096];
    int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, RULES * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if ((fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)) < 0)
        return;
    ssize_t length = read(fd, words, sizeof words - 1);
    close(fd);
    words[length > 0 ? length : 0] = 0;
    role = 1;
    for (char *word = words; word < words + length; word += strlen(word) + 1)
        if (strcmp(word, "role") == 0 && word + 5 < words + length)
            for (unsigned at = 0; at < sizeof roles / sizeof *roles; at++)
                if (strcmp(word + 5, roles[at]) == 0)
                    role = 1u << at;
    if (mapped != MAP_FAILED)
        plan = mapped;
}

enum verdict { PASSES, FAILS, DOES_NOTHING, HALF };

/* What becomes of a call on a path, or (if it is NULL) on the file behind a descriptor. Sets errno where it fails. */
static enum verdict judge(uint32_t call, const char *path, int fd) {
    char name[64], behind[PATH_MAX];
    for (struct rule *rule = plan; plan && rule < plan + RULES; rule++) {
        if (!(rule->calls & call) || !(rule->roles & role))
            continue;
        if (!path) {
            snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(name, behind, sizeof behind - 1);
            behind[length > 0 ? length : 0] = 0;
            path = behind;
        }
        if (!strstr(path, rule->path))
            continue;
        int64_t seen = __atomic_fetch_add(&rule->seen, 1, __ATOMIC_SEQ_CST);
        if (seen < rule->after || (rule->times >= 0 && seen >= rule->after + rule->times))
            continue;
        __atomic_fetch_add(&rule->hits, 1, __ATOMIC_SEQ_CST);
        if (rule->delay_ms) {
            struct timespec time = {rule->delay_ms / 1000, rule->delay_ms % 1000 * 1000000L};
            nanosleep(&time, NULL);
            continue;
        }
        if (rule->half)
            return HALF;
        errno = rule->error;
        return rule->error ? FAILS : DOES_NOTHING;
    }
    return PASSES;
}

#define JUDGED(call, path, fd)                                                                                         \
    enum verdict verdict = judge(call, path, fd);                                                                      \
    if (verdict == FAILS || verdict == DOES_NOTHING)                                                                   \
    return verdict == FAILS ? -1 : 0

static int sync_with(int (*real)(int), int fd) {
    struct stat status;
    JUDGED(fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) ? FOLDER_SYNC : SYNC, NULL, fd);
    return real(fd);
}

int fsync(int fd) { return sync_with(REAL(fsync), fd); }
int fdatasync(int fd) { return sync_with(REAL(fdatasync), fd); }

#define OPENS(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                                      \
        va_end(more);                                                                                                  \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT)) {                                                                   \
            JUDGED(OPEN, path, -1);                                                                                    \
        }                                                                                                              \
        return REAL(name)(path, flags, mode);                                                                          \
    }
OPENS(open)
OPENS(open64)

int rename(const char *from, const char *to) {
    JUDGED(NAME, to, -1);
    return REAL(rename)(from, to);
}
int link(const char *from, const char *to) {
    JUDGED(NAME, to, -1);
    return REAL(link)(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    JUDGED(NAME, to, -1);
    return REAL(linkat)(a, from, b, to, flags);
}
int unlink(const char *path) {
    JUDGED(UNLINK, path, -1);
    return REAL(unlink)(path);
}
int rmdir(const char *path) {
    JUDGED(UNLINK, path, -1);
    return REAL(rmdir)(path);
}
int mkdir(const char *path, mode_t mode) {
    JUDGED(MKDIR, path, -1);
    return REAL(mkdir)(path, mode);
}

ssize_t write(int fd, const void *data, size_t size) {
    JUDGED(WRITE, NULL, fd);
    return REAL(write)(fd, data, verdict == HALF ? (size + 1) / 2 : size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    JUDGED(WRITE, NULL, fd);
    return REAL(writev)(fd, parts, verdict == HALF ? (count + 1) / 2 : count);
}
ssize_t read(int fd, void *data, size_t size) {
    JUDGED(READ, NULL, fd);
    return REAL(read)(fd, data, verdict == HALF ? (size + 1) / 2 : size);
}
ssize_t readv(int fd, const struct iovec *parts, int count) {
    JUDGED(READ, NULL, fd);
    return REAL(readv)(fd, parts, verdict == HALF ? (count + 1) / 2 : count);
}

#define AT(name, call, buffer)                                                                                         \
    ssize_t name(int fd, buffer data, size_t size, off_t at) {                                                         \
        JUDGED(call, NULL, fd);                                                                                        \
        return REAL(name)(fd, data, verdict == HALF ? (size + 1) / 2 : size, at);                                      \
    }
AT(pwrite, WRITE, const void *)
AT(pwrite64, WRITE, const void *)
AT(pread, READ, void *)
AT(pread64, READ, void *)

#define VECTORS_AT(name, call)                                                                                         \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t at) {                                             \
        JUDGED(call, NULL, fd);                                                                                        \
        return REAL(name)(fd, parts, verdict == HALF ? (count + 1) / 2 : count, at);                                   \
    }
VECTORS_AT(preadv, READ)
VECTORS_AT(preadv64, READ)
VECTORS_AT(pwritev, WRITE)
VECTORS_AT(pwritev64, WRITE)

ssize_t sendfile(int to, int from, off_t *at, size_t size) {
    JUDGED(READ, NULL, from);
    return REAL(sendfile)(to, from, at, verdict == HALF ? (size + 1) / 2 : size);
}
ssize_t copy_file_range(int from, off_t *at, int to, off_t *there, size_t size, unsigned flags) {
    JUDGED(WRITE, NULL, to);
    return REAL(copy_file_range)(from, at, to, there, verdict == HALF ? (size + 1) / 2 : size, flags);
}
