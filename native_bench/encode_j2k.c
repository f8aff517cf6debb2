/* The limit of compression: OpenJPEG, lossless, memory to memory, one image at a time on each of --threads threads.
 *
 *   encode_j2k --library FILE --rows N --columns N [--samples N] [--precision N] [--signed] [--rct]
 *              [--objects N] [--threads N] [--codec-threads N] [--keep FILE] [--json] RAW...
 *
 * A RAW file is one image as the codec takes it: planar, each sample in the fewest whole bytes that hold the precision,
 * in native byte order. The files are taken in turn until --objects images are encoded; a thread takes the next one as
 * soon as it is done. --codec-threads is the number of the library's own threads for each image. --keep writes the last
 * codestream to a file.
 *
 * The library is opened at run time, by its path, so that it can be the same file that the service has loaded (the one in
 * imagecodecs' wheel). Only the declarations are Debian's (libopenjp2-7-dev, 2.5): libopenjp2.so.7 has one ABI from 2.1
 * on. Parameters, stream and calls are those of src/leyden/transcode/openjpeg.py, and so are the codestreams.
 */
#include <dlfcn.h>
#include <openjpeg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "bench.h"

enum { STREAM_BUFFER_BYTES = 1 << 20, MAX_RESOLUTIONS = 6, MAX_FILES = 4096 };

#define CALLS(X)                                                                                                   \
    X(set_default_encoder_parameters) X(image_tile_create) X(image_destroy) X(create_compress) X(destroy_codec)    \
    X(set_error_handler) X(setup_encoder) X(codec_set_threads) X(start_compress) X(write_tile) X(end_compress)     \
    X(stream_create) X(stream_destroy) X(stream_set_user_data) X(stream_set_write_function)                        \
    X(stream_set_skip_function) X(stream_set_seek_function)

#define DECLARE(name) __typeof__(&opj_##name) name;
#define FIND(name) must_find((void **)&opj.name, dlsym(library, "opj_" #name), "opj_" #name);
static struct { CALLS(DECLARE) } opj;

static void must_find(void **call, void *found, const char *name) {
    if (found == NULL) {
        fprintf(stderr, "%s: %s\n", name, dlerror());
        exit(1);
    }
    *call = found;
}

static void open_library(const char *path) {
    void *library;
    must_find(&library, dlopen(path, RTLD_NOW), path);
    CALLS(FIND)
}

struct job {
    OPJ_UINT32 rows, columns, samples, precision;
    int is_signed, rct, codec_threads, files;
    const char *library, *keep;
    char *images[MAX_FILES];
    atomic_int next;
    atomic_ullong codestream_bytes, image_ns;
};

struct room {
    char *bytes;
    size_t size, at, used;
};

static OPJ_SIZE_T put(void *buffer, OPJ_SIZE_T bytes, void *user) {
    struct room *room = user;
    if (room->at + bytes > room->size) return (OPJ_SIZE_T)-1;
    memcpy(room->bytes + room->at, buffer, bytes);
    room->at += bytes;
    if (room->at > room->used) room->used = room->at;
    return bytes;
}

static OPJ_BOOL seek(OPJ_OFF_T position, void *user) {
    struct room *room = user;
    if (position < 0 || (size_t)position > room->size) return OPJ_FALSE;
    room->at = position;
    return OPJ_TRUE;
}

static OPJ_OFF_T skip(OPJ_OFF_T bytes, void *user) {
    return seek(((struct room *)user)->at + bytes, user) ? bytes : -1;
}

static void complain(const char *text, void *user) {
    (void)user;
    fprintf(stderr, "OpenJPEG: %s", text);
}

static int resolutions(OPJ_UINT32 rows, OPJ_UINT32 columns) {
    int halvings = 0;
    for (OPJ_UINT32 side = rows < columns ? rows : columns; side; side >>= 1) halvings++;
    return halvings < MAX_RESOLUTIONS ? halvings : MAX_RESOLUTIONS;
}

static void encode(const struct job *job, char *pixels, size_t bytes, struct room *room) {
    opj_cparameters_t parameters;
    opj.set_default_encoder_parameters(&parameters);
    parameters.numresolution = resolutions(job->rows, job->columns);
    parameters.tcp_numlayers = 1;
    parameters.tcp_rates[0] = 0;
    parameters.cp_disto_alloc = 1;
    parameters.tcp_mct = job->rct;
    opj_image_cmptparm_t components[4] = {0};
    for (OPJ_UINT32 n = 0; n < job->samples; n++) {
        components[n].dx = components[n].dy = 1;
        components[n].w = job->columns, components[n].h = job->rows;
        components[n].prec = job->precision;
        components[n].sgnd = job->is_signed;
    }
    opj_image_t *image =
        opj.image_tile_create(job->samples, components, job->rct ? OPJ_CLRSPC_SRGB : OPJ_CLRSPC_UNSPECIFIED);
    opj_stream_t *stream = opj.stream_create(STREAM_BUFFER_BYTES, OPJ_FALSE);
    opj_codec_t *codec = opj.create_compress(OPJ_CODEC_J2K);
    must(image && stream && codec, "memory for the codec");
    image->x1 = job->columns, image->y1 = job->rows;
    room->at = room->used = 0;
    opj.stream_set_user_data(stream, room, NULL);
    opj.stream_set_write_function(stream, put);
    opj.stream_set_skip_function(stream, skip);
    opj.stream_set_seek_function(stream, seek);
    opj.set_error_handler(codec, complain, NULL);
    int good = opj.setup_encoder(codec, &parameters, image) &&
               (!job->codec_threads || opj.codec_set_threads(codec, job->codec_threads)) &&
               opj.start_compress(codec, image, stream) &&
               opj.write_tile(codec, 0, (OPJ_BYTE *)pixels, bytes, stream) && opj.end_compress(codec, stream);
    must(good, "encode");
    opj.destroy_codec(codec);
    opj.stream_destroy(stream);
    opj.image_destroy(image);
}

static void keep(const char *path, const struct room *room) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0, path);
    put_all(fd, room->bytes, room->used);
    close(fd);
}

static void *encode_images(void *argument) {
    const struct worker *mine = argument;
    struct job *job = (struct job *)mine->more;
    struct room room = {.size = mine->asked->bytes * 5 / 4 + 16384};
    room.bytes = noise(room.size);
    for (int n; (n = atomic_fetch_add(&job->next, 1)) < mine->asked->objects;) {
        double begin_s = now_s();
        encode(job, job->images[n % job->files], mine->asked->bytes, &room);
        atomic_fetch_add(&job->image_ns, (unsigned long long)((now_s() - begin_s) * 1e9));
        atomic_fetch_add(&job->codestream_bytes, room.used);
        if (job->keep && n == mine->asked->objects - 1) keep(job->keep, &room);
    }
    free(room.bytes);
    return NULL;
}

static char *read_image(const char *path, size_t bytes) {
    int fd = open(path, O_RDONLY);
    struct stat status;
    must(fd >= 0 && fstat(fd, &status) == 0, path);
    if ((size_t)status.st_size != bytes) {
        fprintf(stderr, "%s: %lld bytes where the image has %zu\n", path, (long long)status.st_size, bytes);
        exit(1);
    }
    char *image = malloc(bytes);
    must(image != NULL, "malloc");
    for (size_t at = 0; at < bytes;) {
        size_t got = get_some(fd, image + at, bytes - at);
        must(got > 0, path);
        at += got;
    }
    close(fd);
    return image;
}

static double processor_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void ask_encoder(int argc, char **argv, struct asked *asked, struct job *job) {
    static const struct option words[] = {
        {"json", 0, 0, 'j'},    {"objects", 1, 0, 'o'},       {"threads", 1, 0, 't'}, {"library", 1, 0, 'l'},
        {"rows", 1, 0, 'r'},    {"columns", 1, 0, 'c'},       {"samples", 1, 0, 's'}, {"precision", 1, 0, 'p'},
        {"signed", 0, 0, 'n'},  {"rct", 0, 0, 'y'},           {"keep", 1, 0, 'k'},    {"codec-threads", 1, 0, 'x'},
        {0, 0, 0, 0}};
    int word;
    while ((word = getopt_long(argc, argv, "", words, NULL)) != -1) {
        if (word == 'j') asked->json = 1;
        else if (word == 'o') asked->objects = atoi(optarg);
        else if (word == 't') asked->connections = atoi(optarg);
        else if (word == 'l') job->library = optarg;
        else if (word == 'r') job->rows = atoi(optarg);
        else if (word == 'c') job->columns = atoi(optarg);
        else if (word == 's') job->samples = atoi(optarg);
        else if (word == 'p') job->precision = atoi(optarg);
        else if (word == 'n') job->is_signed = 1;
        else if (word == 'y') job->rct = 1;
        else if (word == 'k') job->keep = optarg;
        else if (word == 'x') job->codec_threads = atoi(optarg);
        else exit(2);
    }
    job->files = argc - optind;
    if (!job->library || job->rows < 1 || job->columns < 1 || job->samples < 1 || job->samples > 4 ||
        job->precision < 1 || job->precision > 16 || job->files < 1 || job->files > MAX_FILES || asked->objects < 1 ||
        asked->connections < 1 || asked->connections > MAX_CONNECTIONS) {
        fprintf(stderr, "--library, --rows, --columns and at least one file; 1 to 4 samples of 1 to 16 bits\n");
        exit(2);
    }
    asked->bytes = (size_t)job->rows * job->columns * job->samples * ((job->precision + 7) / 8);
}

int main(int argc, char **argv) {
    struct asked asked = {.objects = 100, .connections = 1};
    struct job job = {.samples = 1, .precision = 12};
    ask_encoder(argc, argv, &asked, &job);
    open_library(job.library);
    for (int n = 0; n < job.files; n++) job.images[n] = read_image(argv[optind + n], asked.bytes);
    alarm(LIMIT_S);
    double begin_s = now_s(), begin_processor_s = processor_s();
    in_threads(&asked, encode_images, NULL, &job);
    double spent_s = now_s() - begin_s, spent_processor_s = processor_s() - begin_processor_s;
    struct figure figures[] = {
        {"images_per_s", asked.objects / spent_s},
        {"mb_per_s", asked.objects * (double)asked.bytes / 1e6 / spent_s},
        {"wall_us", spent_s * 1e6},
        {"us_per_image", job.image_ns / 1e3 / asked.objects}, /* on its thread */
        {"processor_us_per_image", spent_processor_s * 1e6 / asked.objects},
        {"codestream_bytes_per_image", job.codestream_bytes / (double)asked.objects},
    };
    report(&asked, "encode_j2k", figures, 6);
    return 0;
}
