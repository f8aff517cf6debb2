/* The limit of the network here: TCP over the loopback, memory to memory, no disk.
 *
 * Three figures: as C-STORE does it (the next object only after the answer to the last), as one stream without answers,
 * and round trips of a single byte, which show the cost of each exchange that waits for the other side.
 */
#include "bench.h"

struct job {
    const char *data;
    size_t bytes; /* of one object */
    int answered;
};

static void *send_objects(void *argument) {
    const struct worker *mine = argument;
    const struct job *job = mine->more;
    char answer;
    for (int n = 0; n < mine->objects; n++) {
        put_all(mine->fd, job->data, job->bytes);
        if (job->answered) must(get_some(mine->fd, &answer, 1) == 1, "the answer");
    }
    return NULL;
}

static void *read_objects(void *argument) {
    const struct worker *mine = argument;
    const struct job *job = mine->more;
    for (int n = 0; n < mine->objects; n++) read_object(mine->fd, job->bytes, job->answered);
    return NULL;
}

static double objects_per_s(const struct asked *asked, const char *data, size_t bytes, int answered) {
    struct job job = {data, bytes, answered};
    return asked->objects / between_processes(asked, read_objects, send_objects, &job);
}

int main(int argc, char **argv) {
    struct asked asked = ask(argc, argv, 2000);
    const char *data = noise(asked.bytes);
    struct figure figures[] = {
        {"objects_per_s", objects_per_s(&asked, data, asked.bytes, 1)},
        {"stream_mb_per_s", objects_per_s(&asked, data, asked.bytes, 0) * asked.bytes / 1e6},
        {"round_trips_per_s", objects_per_s(&asked, data, 1, 1)},
    };
    report(&asked, "loopback", figures, 3);
    return 0;
}
