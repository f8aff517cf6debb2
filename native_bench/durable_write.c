/* The limit of a durable intake on this disk: write a file, fdatasync it, rename it, fsync the directory; no network.
 *
 *   cc -O2 -o durable_write durable_write.c && ./durable_write FOLDER [FILES [BYTES]]
 *
 * Prints files a second, with and without the syncs. What the receiver reaches with syncSpool is a fraction of this.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void must(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static double files_per_s(int folder_fd, const char *data, size_t bytes, int files, int sync) {
    double begin_s = now_s();
    char name[32];
    for (int n = 0; n < files; n++) {
        int fd = openat(folder_fd, "embryo", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        must(fd >= 0, "open");
        must(write(fd, data, bytes) == (ssize_t)bytes, "write");
        must(!sync || fdatasync(fd) == 0, "fdatasync");
        close(fd);
        snprintf(name, sizeof name, "%08d", n);
        must(renameat(folder_fd, "embryo", folder_fd, name) == 0, "rename");
        must(!sync || fsync(folder_fd) == 0, "fsync of the folder");
    }
    double spent_s = now_s() - begin_s;
    for (int n = 0; n < files; n++) {
        snprintf(name, sizeof name, "%08d", n);
        unlinkat(folder_fd, name, 0);
    }
    return files / spent_s;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [FILES [BYTES]]\n", argv[0]);
        return 2;
    }
    int files = argc > 2 ? atoi(argv[2]) : 300;
    size_t bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 524288;
    int folder_fd = open(argv[1], O_RDONLY | O_DIRECTORY);
    must(folder_fd >= 0, argv[1]);
    char *data = malloc(bytes);
    must(data != NULL, "malloc");
    for (size_t i = 0; i < bytes; i++) data[i] = (char)(i * 2654435761u >> 13);
    printf("%d files of %zu bytes: %.0f files/s, durable %.0f files/s\n", files, bytes,
           files_per_s(folder_fd, data, bytes, files, 0), files_per_s(folder_fd, data, bytes, files, 1));
    return 0;
}
