/* The limit of a sender: file -> socket, the next object only after the answer to the last, as C-STORE does it.
 *
 * Each object is a file of its own, in the page cache like one that has just been received: opened, sent, closed. There
 * are two ways: sendfile, and read + write through one buffer, because a sender that must put headers between the
 * fragments cannot use sendfile. The reader, which throws everything away, is a process of its own on the same cores.
 */
#include <sys/sendfile.h>

#include "bench.h"

enum { FILES = 64 }; /* taken in turn */

struct job {
    int folder_fd, by_sendfile;
};

static void *send_files(void *argument) {
    const struct worker *mine = argument;
    const struct job *job = mine->more;
    char *buffer = malloc(BUFFER_BYTES), name[32], answer;
    must(buffer != NULL, "malloc");
    for (int n = 0; n < mine->objects; n++) {
        snprintf(name, sizeof name, "%d", (mine->number + n) % FILES);
        int fd = openat(job->folder_fd, name, O_RDONLY);
        must(fd >= 0, "open");
        for (size_t left = mine->asked->bytes; left;) {
            size_t got;
            if (job->by_sendfile) {
                ssize_t sent = sendfile(mine->fd, fd, NULL, left);
                must(sent > 0, "sendfile");
                got = sent;
            } else {
                got = get_some(fd, buffer, left);
                must(got > 0, "the end of the file");
                put_all(mine->fd, buffer, got);
            }
            left -= got;
        }
        close(fd);
        must(get_some(mine->fd, &answer, 1) == 1, "the answer");
    }
    free(buffer);
    return NULL;
}

static void *read_objects(void *argument) {
    const struct worker *mine = argument;
    for (int n = 0; n < mine->objects; n++) read_object(mine->fd, mine->asked->bytes, 1);
    return NULL;
}

static double objects_per_s(const struct asked *asked, int folder_fd, int by_sendfile) {
    struct job job = {folder_fd, by_sendfile};
    return asked->objects / between_processes(asked, send_files, read_objects, &job);
}

int main(int argc, char **argv) {
    struct asked asked = ask(argc, argv, 1000);
    const char *data = noise(asked.bytes);
    struct place place = make_place(asked.folder);
    for (int n = 0; n < FILES; n++) {
        char name[32];
        snprintf(name, sizeof name, "%d", n);
        int fd = openat(place.fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        must(fd >= 0, "open");
        put_all(fd, data, asked.bytes);
        close(fd);
    }
    struct figure figures[] = {{"sendfile_objects_per_s", objects_per_s(&asked, place.fd, 1)},
                               {"objects_per_s", objects_per_s(&asked, place.fd, 0)}};
    remove_place(&place);
    report(&asked, "send_files", figures, 2);
    return 0;
}
