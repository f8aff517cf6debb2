/* A clock that is set while the service runs: a part of the LD_PRELOAD library (support/clock.py writes the page).

   FAULT_CLOCK=<file> is mapped by each process: by how many ns the wall clock is ahead, the monotonic clock, and that of
   the sender alone. The kernel's clocks stay as they are: its timers and the time stamps of files do not move. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead; /* [0] the wall clock, [1] the monotonic clock, [2] the sender's beyond that */
static int sender;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULT_CLOCK");
    char words[4096];
    int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, 3 * sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if ((fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)) >= 0) {
        ssize_t length = read(fd, words, sizeof words);
        sender = length > 0 && memmem(words, length, "role\0sender", sizeof "role\0sender") != NULL;
        close(fd);
    }
    if (mapped != MAP_FAILED)
        ahead = mapped;
}

static int64_t ahead_of(clockid_t id) {
    if (ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        return ahead[0];
    if (ahead && (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE))
        return ahead[1] + (sender ? ahead[2] : 0);
    return 0;
}

static struct timespec moved(const struct timespec *at, int64_t by_ns) {
    int64_t ns = at->tv_sec * 1000000000LL + at->tv_nsec + by_ns;
    return (struct timespec){ns / 1000000000LL, ns % 1000000000LL};
}

int clock_gettime(clockid_t id, struct timespec *now) {
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (result == 0)
        *now = moved(now, ahead_of(id));
    return result;
}

/* Python waits until a time of the clock that it has read. */
int clock_nanosleep(clockid_t id, int flags, const struct timespec *until, struct timespec *left) {
    int (*call)(clockid_t, int, const struct timespec *, struct timespec *) = dlsym(RTLD_NEXT, "clock_nanosleep");
    struct timespec at = moved(until, flags & TIMER_ABSTIME ? -ahead_of(id) : 0);
    return call(id, flags, &at, left);
}

int sem_clockwait(sem_t *semaphore, clockid_t id, const struct timespec *until) {
    int (*call)(sem_t *, clockid_t, const struct timespec *) = dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec at = moved(until, -ahead_of(id));
    return call(semaphore, id, &at);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (now)
        *now = at.tv_sec;
    return at.tv_sec;
}
