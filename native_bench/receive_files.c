/* The limit of a receiver: socket -> file, each object answered before the next one comes, as C-STORE does it.
 *
 * One thread for each connection reads into one buffer and writes to an embryo file. Then come fdatasync (durable figure
 * only), the rename into new/, the fsync of new/ (durable figure only), and only now the answer of one byte. There is no
 * protocol, no interpreter and no planner: this is what this disk and this kernel allow. The sender is a process of its
 * own on the same cores.
 */
#include "bench.h"

struct job {
    int embryo_fd, new_fd, sync;
    const char *data;
};

static void *receive(void *argument) {
    const struct worker *mine = argument;
    const struct job *job = mine->more;
    char *buffer = malloc(BUFFER_BYTES), name[32];
    must(buffer != NULL, "malloc");
    for (int n = 0; n < mine->objects; n++) {
        snprintf(name, sizeof name, "%02d-%06d", mine->number, n);
        int fd = openat(job->embryo_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        must(fd >= 0, "open");
        for (size_t left = mine->asked->bytes; left;) {
            size_t got = get_some(mine->fd, buffer, left);
            must(got > 0, "the sender's end");
            put_all(fd, buffer, got);
            left -= got;
        }
        must(!job->sync || fdatasync(fd) == 0, "fdatasync");
        close(fd);
        must(renameat(job->embryo_fd, name, job->new_fd, name) == 0, "rename");
        must(!job->sync || fsync(job->new_fd) == 0, "fsync of the folder");
        put_all(mine->fd, "!", 1);
    }
    free(buffer);
    return NULL;
}

static void *send_objects(void *argument) {
    const struct worker *mine = argument;
    const struct job *job = mine->more;
    char answer;
    for (int n = 0; n < mine->objects; n++) {
        put_all(mine->fd, job->data, mine->asked->bytes);
        must(get_some(mine->fd, &answer, 1) == 1, "the answer");
    }
    return NULL;
}

static double objects_per_s(const struct asked *asked, const char *data, int sync) {
    struct place embryo = make_place(asked->folder), new = make_place(asked->folder);
    struct job job = {embryo.fd, new.fd, sync, data};
    double spent_s = between_processes(asked, receive, send_objects, &job);
    remove_place(&embryo);
    remove_place(&new);
    return asked->objects / spent_s;
}

int main(int argc, char **argv) {
    struct asked asked = ask(argc, argv, 400);
    const char *data = noise(asked.bytes);
    struct figure figures[] = {{"objects_per_s", objects_per_s(&asked, data, 0)},
                               {"durable_objects_per_s", objects_per_s(&asked, data, 1)}};
    report(&asked, "receive_files", figures, 2);
    return 0;
}
