/* The limit of durable receiving on this disk, without a network: write a file, fdatasync it, rename it, fsync the folder.
 *
 * --connections is the number of writers, each in a thread, one folder for all. What the receiver reaches with syncSpool
 * is a fraction of the durable figure. The other figure is for the same work without the two syncs.
 */
#include "bench.h"

struct job {
    int folder_fd, sync;
    const char *data;
};

static void *write_files(void *argument) {
    const struct worker *mine = argument;
    const struct job *job = mine->more;
    char embryo[32], name[32];
    snprintf(embryo, sizeof embryo, "embryo-%02d", mine->number);
    for (int n = 0; n < mine->objects; n++) {
        int fd = openat(job->folder_fd, embryo, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        must(fd >= 0, "open");
        put_all(fd, job->data, mine->asked->bytes);
        must(!job->sync || fdatasync(fd) == 0, "fdatasync");
        close(fd);
        snprintf(name, sizeof name, "%02d-%06d", mine->number, n);
        must(renameat(job->folder_fd, embryo, job->folder_fd, name) == 0, "rename");
        must(!job->sync || fsync(job->folder_fd) == 0, "fsync of the folder");
    }
    return NULL;
}

static double files_per_s(const struct asked *asked, const char *data, int sync) {
    struct place place = make_place(asked->folder);
    struct job job = {place.fd, sync, data};
    double begin_s = now_s();
    in_threads(asked, write_files, NULL, &job);
    double spent_s = now_s() - begin_s;
    remove_place(&place);
    return asked->objects / spent_s;
}

int main(int argc, char **argv) {
    struct asked asked = ask(argc, argv, 300);
    const char *data = noise(asked.bytes);
    struct figure figures[] = {{"objects_per_s", files_per_s(&asked, data, 0)},
                               {"durable_objects_per_s", files_per_s(&asked, data, 1)}};
    report(&asked, "durable_write", figures, 2);
    return 0;
}
