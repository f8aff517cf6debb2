/* The limit of the way to the codec: memory to memory, and from one process to another through shared memory.
 *
 * memcpy: one core, from one warm buffer to another. Hand-off: a memfd has --connections slots; one process copies an
 * object into a free slot and writes the slot's number into a pipe, the other one copies it out and gives the number
 * back. Bare: the same without copying, which shows the cost of waking alone.
 */
#include <sys/mman.h>

#include "bench.h"

static double memcpy_mb_per_s(const struct asked *asked, const char *data) {
    char *target = noise(asked->bytes);
    double begin_s = now_s();
    for (int n = 0; n < asked->objects; n++) {
        memcpy(target, data, asked->bytes);
        __asm__ volatile("" : : "r"(target) : "memory");
    }
    double spent_s = now_s() - begin_s;
    free(target);
    return asked->objects * (double)asked->bytes / 1e6 / spent_s;
}

static void take_out(const struct asked *asked, const char *slots, int full_fd, int free_fd, size_t copied) {
    char *target = noise(asked->bytes);
    unsigned char slot;
    while (get_some(full_fd, (char *)&slot, 1)) {
        memcpy(target, slots + slot * asked->bytes, copied);
        __asm__ volatile("" : : "r"(target) : "memory");
        put_all(free_fd, (char *)&slot, 1);
    }
}

static double objects_per_s(const struct asked *asked, const char *data, size_t copied) {
    int memory_fd = memfd_create("slots", MFD_CLOEXEC), full[2], empty[2], status;
    size_t all_bytes = asked->bytes * asked->connections;
    must(memory_fd >= 0 && ftruncate(memory_fd, all_bytes) == 0, "memfd");
    char *slots = mmap(NULL, all_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_fd, 0);
    must(slots != MAP_FAILED && pipe(full) == 0 && pipe(empty) == 0, "mmap");
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        alarm(LIMIT_S);
        close(full[1]);
        take_out(asked, slots, full[0], empty[1], copied);
        _exit(0);
    }
    unsigned char slot;
    for (slot = 0; slot < asked->connections; slot++) put_all(empty[1], (char *)&slot, 1);
    double begin_s = now_s();
    for (int n = 0; n < asked->objects; n++) {
        must(get_some(empty[0], (char *)&slot, 1) == 1, "a free slot");
        memcpy(slots + slot * asked->bytes, data, copied);
        put_all(full[1], (char *)&slot, 1);
    }
    close(full[1]); /* the end */
    must(waitpid(child, &status, 0) == child && status == 0, "the other side");
    double spent_s = now_s() - begin_s;
    munmap(slots, all_bytes);
    close(memory_fd), close(full[0]), close(empty[0]), close(empty[1]);
    return asked->objects / spent_s;
}

int main(int argc, char **argv) {
    struct asked asked = ask(argc, argv, 4000);
    const char *data = noise(asked.bytes);
    struct figure figures[] = {
        {"memcpy_mb_per_s", memcpy_mb_per_s(&asked, data)},
        {"hand_off_mb_per_s", objects_per_s(&asked, data, asked.bytes) * asked.bytes / 1e6},
        {"bare_hand_offs_per_s", objects_per_s(&asked, data, 0)},
    };
    report(&asked, "hand_off", figures, 3);
    return 0;
}
