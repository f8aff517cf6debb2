/* What all programs here share: the clock, the command line, complete reads and writes, the line with the result.
 *
 *   PROGRAM [--json] [--objects N] [--bytes N] [--connections N] [FOLDER]
 *
 * A program does the same work each time and prints one line, or one JSON object: the name of the limit, what was asked
 * for, and figures whose names end in their unit. It stops after LIMIT_S, however slow the machine is.
 */
#ifndef BENCH_H
#define BENCH_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 60, MAX_CONNECTIONS = 64, BUFFER_BYTES = 256 * 1024 };

struct asked {
    int json, objects, connections;
    size_t bytes;
    const char *folder;
};

struct figure {
    const char *name;
    double value;
};

static inline double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void must(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static inline struct asked ask(int argc, char **argv, int objects) {
    static const struct option words[] = {{"json", 0, 0, 'j'},  {"objects", 1, 0, 'o'}, {"connections", 1, 0, 'c'},
                                          {"bytes", 1, 0, 'b'}, {0, 0, 0, 0}};
    struct asked asked = {0, objects, 1, 512 * 1024, "."};
    int word;
    while ((word = getopt_long(argc, argv, "", words, NULL)) != -1) {
        if (word == 'j') asked.json = 1;
        else if (word == 'o') asked.objects = atoi(optarg);
        else if (word == 'c') asked.connections = atoi(optarg);
        else if (word == 'b') asked.bytes = strtoull(optarg, NULL, 10);
        else exit(2);
    }
    if (optind < argc) asked.folder = argv[optind];
    if (asked.objects < 1 || asked.bytes < 1 || asked.connections < 1 || asked.connections > MAX_CONNECTIONS) {
        fprintf(stderr, "at least one object, byte and connection; at most %d connections\n", MAX_CONNECTIONS);
        exit(2);
    }
    alarm(LIMIT_S);
    return asked;
}

static inline void report(const struct asked *asked, const char *limit, const struct figure *figures, int count) {
    if (asked->json) {
        printf("{\"limit\": \"%s\", \"objects\": %d, \"bytes\": %zu, \"connections\": %d", limit, asked->objects,
               asked->bytes, asked->connections);
        for (int n = 0; n < count; n++) printf(", \"%s\": %.1f", figures[n].name, figures[n].value);
        printf("}\n");
        return;
    }
    printf("%s, %d objects of %zu bytes, %d at once:", limit, asked->objects, asked->bytes, asked->connections);
    for (int n = 0; n < count; n++) printf("%s %s %.1f", n ? "," : "", figures[n].name, figures[n].value);
    printf("\n");
}

/* Bytes that look like pixels, not like zeros. */
static inline char *noise(size_t bytes) {
    char *data = malloc(bytes);
    must(data != NULL, "malloc");
    for (size_t i = 0; i < bytes; i++) data[i] = (char)(i * 2654435761u >> 13);
    return data;
}

static inline void put_all(int fd, const char *data, size_t bytes) {
    while (bytes) {
        ssize_t done = write(fd, data, bytes);
        must(done > 0, "write");
        data += done;
        bytes -= done;
    }
}

/* Reads at most `bytes` (and at most one buffer); 0 = the other side has ended. */
static inline size_t get_some(int fd, char *buffer, size_t bytes) {
    ssize_t done = read(fd, buffer, bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES);
    must(done >= 0, "read");
    return done;
}

/* A folder of its own below the one asked for, so that nothing else is touched. */
struct place {
    char path[4096];
    int fd;
};

static inline struct place make_place(const char *above) {
    struct place place;
    must((size_t)snprintf(place.path, sizeof place.path, "%s/native-XXXXXX", above) < sizeof place.path, "path");
    must(mkdtemp(place.path) != NULL, above);
    place.fd = open(place.path, O_RDONLY | O_DIRECTORY);
    must(place.fd >= 0, place.path);
    return place;
}

static inline void remove_place(struct place *place) {
    DIR *folder = fdopendir(place->fd);
    must(folder != NULL, place->path);
    for (struct dirent *each; (each = readdir(folder)) != NULL;)
        if (each->d_name[0] != '.') unlinkat(place->fd, each->d_name, 0);
    closedir(folder);
    must(rmdir(place->path) == 0, place->path);
}

static inline int listen_here(struct sockaddr_in *place) {
    socklen_t length = sizeof *place;
    *place = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0 && bind(fd, (void *)place, length) == 0 && listen(fd, MAX_CONNECTIONS) == 0, "listen");
    must(getsockname(fd, (void *)place, &length) == 0, "getsockname");
    return fd;
}

static inline int prompt(int fd) { /* without Nagle's delay */
    must(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0, "socket");
    return fd;
}

static inline int connect_to(const struct sockaddr_in *place) {
    int fd = prompt(socket(AF_INET, SOCK_STREAM, 0));
    must(connect(fd, (const void *)place, sizeof *place) == 0, "connect");
    return fd;
}

/* One side of a benchmark: runs `work` once for each connection, each in a thread of its own. */
struct worker {
    const struct asked *asked;
    int number, fd, objects; /* objects: its share */
    const void *more;
};

/* Reads one object from a connection and throws it away. */
static inline void read_object(int fd, size_t bytes, int answered) {
    char buffer[BUFFER_BYTES];
    while (bytes) {
        size_t got = get_some(fd, buffer, bytes);
        must(got > 0, "the sender's end");
        bytes -= got;
    }
    if (answered) put_all(fd, "!", 1);
}

static inline void in_threads(const struct asked *asked, void *(*work)(void *), const int *fds, const void *more) {
    pthread_t threads[MAX_CONNECTIONS];
    struct worker workers[MAX_CONNECTIONS];
    for (int n = 0; n < asked->connections; n++) {
        int share = asked->objects / asked->connections + (n < asked->objects % asked->connections);
        workers[n] = (struct worker){asked, n, fds ? fds[n] : -1, share, more};
        must(pthread_create(&threads[n], NULL, work, &workers[n]) == 0, "pthread_create");
    }
    for (int n = 0; n < asked->connections; n++) pthread_join(threads[n], NULL);
}

/* The seconds that `here` needs on its connections, while `there` drives their other ends in a process of its own. */
static inline double between_processes(const struct asked *asked, void *(*here)(void *), void *(*there)(void *),
                                       const void *more) {
    struct sockaddr_in place;
    int fds[MAX_CONNECTIONS], listener = listen_here(&place);
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        alarm(LIMIT_S);
        for (int n = 0; n < asked->connections; n++) fds[n] = connect_to(&place);
        in_threads(asked, there, fds, more);
        _exit(0);
    }
    for (int n = 0; n < asked->connections; n++) fds[n] = prompt(accept(listener, NULL, NULL));
    double begin_s = now_s();
    in_threads(asked, here, fds, more);
    double spent_s = now_s() - begin_s;
    for (int n = 0; n < asked->connections; n++) close(fds[n]);
    close(listener);
    int status;
    must(waitpid(child, &status, 0) == child && status == 0, "the other side");
    return spent_s;
}

#endif
