/*
 * Replays prepared HTTP/1.1 requests over keep-alive connections.
 *
 *   load SCRIPT PORT CONNECTIONS SECONDS FIRST LOOP
 *
 * The script (see script.py) is a list of images.  An image is a list of steps,
 * a step a list of requests.  The requests of a step are sent as soon as
 * connections are free, each on another one; the next step begins when all of
 * them are answered.  Every connection is kept busy: if no step is waiting, the
 * next image begins.  Each response must have the script's status and, if it has
 * one, its body; any other response ends the run with exit code 1.
 *
 * The run begins with image FIRST and takes SECONDS, or until no image is left;
 * with LOOP 1 it starts over instead.  Requests that have begun are finished.
 *
 * So that opening and closing connections can be left out of the measurement,
 * it writes a line when they are open, waits for one on stdin, and after the run
 * writes one of JSON with the measurement.  It closes the connections
 * when stdin ends.
 *
 * One thread, one process, no allocation while it runs: it must cost less CPU
 * than any server it measures.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_STEPS 8
#define BUFFER (256 * 1024)
#define SILENCE_MS 20000
#define UNCHECKED UINT32_MAX

struct request {
    const char *bytes;
    const char *body; /* expected; NULL if any will do */
    uint32_t length, body_length;
    uint16_t status; /* expected */
};

struct image {
    struct request *requests;
    uint8_t steps;
    uint8_t sizes[MAX_STEPS];
};

/* An image under way: which step, and how many of its answers are missing. */
struct upload {
    const struct image *image;
    const struct request *next;
    uint8_t step, missing;
};

struct connection {
    int fd;
    uint32_t filled;
    const struct request *request; /* NULL: free */
    struct upload *upload;
    uint64_t sent;
    char buffer[BUFFER];
};

struct job {
    const struct request *request;
    struct upload *upload;
};

static struct image *images;
static uint32_t image_count, next_image;
static int loop, stopping;
static struct connection *connections;
static struct connection *idle[MAX_CONNECTIONS];
static int idle_count;
static struct job *queue; /* a ring; at most MAX_QUEUE wait */
#define MAX_QUEUE 65536
static uint32_t queue_head, queue_tail;
static struct upload *uploads; /* each connection works for one at the most */
static struct upload **unused_uploads;
static int unused_count;
static float *latencies;
static size_t latency_count, latency_room;
static uint64_t finished_images;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ---- the script ------------------------------------------------------- */

static const char *cursor, *script_end;

static uint32_t number(int bytes) {
    uint32_t value = 0;
    if (script_end - cursor < bytes)
        fail("the script is cut short");
    memcpy(&value, cursor, (size_t)bytes); /* little-endian */
    cursor += bytes;
    return value;
}

static const char *text(uint32_t length) {
    const char *start = cursor;
    if (script_end - cursor < (ptrdiff_t)length)
        fail("the script is cut short");
    cursor += length;
    return start;
}

static void read_script(const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0)
        fail("%s: %s", path, strerror(errno));
    cursor = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE,
                  fd, 0);
    if (cursor == MAP_FAILED)
        fail("mmap: %s", strerror(errno));
    script_end = cursor + status.st_size;
    image_count = number(4);
    images = allocate(image_count, sizeof *images);
    for (uint32_t i = 0; i < image_count; i++) {
        struct image *image = &images[i];
        uint32_t total = 0, steps = number(1);
        if (steps == 0 || steps > MAX_STEPS)
            fail("an image has %u steps", steps);
        image->steps = (uint8_t)steps;
        for (uint32_t step = 0; step < steps; step++)
            total += image->sizes[step] = (uint8_t)number(1);
        image->requests = allocate(total, sizeof *image->requests);
        for (uint32_t j = 0; j < total; j++) {
            struct request *request = &image->requests[j];
            request->status = (uint16_t)number(2);
            request->length = number(4);
            request->body_length = number(4);
            request->bytes = text(request->length);
            if (request->body_length != UNCHECKED)
                request->body = text(request->body_length);
        }
    }
}

/* ---- sending ---------------------------------------------------------- */

static void begin_step(struct upload *upload) {
    uint8_t size = upload->image->sizes[upload->step];
    upload->missing = size;
    for (uint8_t i = 0; i < size; i++)
        queue[queue_tail++ % MAX_QUEUE] = (struct job){upload->next++, upload};
    if (queue_tail - queue_head > MAX_QUEUE)
        fail("too many requests wait");
}

static int begin_image(void) {
    if (stopping || unused_count == 0)
        return 0;
    if (next_image == image_count) {
        if (!loop)
            return 0;
        next_image = 0;
    }
    struct upload *upload = unused_uploads[--unused_count];
    upload->image = &images[next_image++];
    upload->next = upload->image->requests;
    upload->step = 0;
    begin_step(upload);
    return 1;
}

static void dispatch(void) {
    while (idle_count > 0) {
        if (queue_head == queue_tail && !begin_image())
            return;
        struct job job = queue[queue_head++ % MAX_QUEUE];
        struct connection *connection = idle[--idle_count];
        connection->request = job.request;
        connection->upload = job.upload;
        connection->sent = now_ns();
        ssize_t sent = send(connection->fd, job.request->bytes, job.request->length, 0);
        if (sent != (ssize_t)job.request->length)
            fail("a request could not be sent at once: %s", strerror(errno));
    }
}

/* ---- receiving -------------------------------------------------------- */

/* The value of a field in a NUL-terminated head, or NULL. */
static const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            line += length + 1;
            return line + strspn(line, " \t");
        }
    }
    return NULL;
}

/*
 * Join the chunks of a chunked body at `body` in place, if its end is there.
 * Returns the joined length, or -1; *end is where the message ends.
 */
static ssize_t join_chunks(char *body, char *end_of_data, char **end) {
    char *from = body;
    /* First only search: joined chunks cannot be parsed again. */
    for (;;) {
        char *line = memmem(from, (size_t)(end_of_data - from), "\r\n", 2);
        if (line == NULL)
            return -1;
        unsigned long size = strtoul(from, NULL, 16);
        if (size > BUFFER)
            fail("a chunk of %lu bytes", size);
        from = line + 2 + size + 2;
        if (from > end_of_data)
            return -1;
        if (size == 0)
            break;
    }
    *end = from;
    char *to = body;
    from = body;
    for (;;) {
        unsigned long size = strtoul(from, &from, 16);
        if (size == 0)
            return to - body;
        from = (char *)memmem(from, (size_t)(*end - from), "\r\n", 2) + 2;
        memmove(to, from, size);
        to += size;
        from += size + 2;
    }
}

static void answered(struct connection *connection) {
    struct upload *upload = connection->upload;
    if (latency_count == latency_room) {
        latency_room *= 2;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (latencies == NULL)
            fail("out of memory");
    }
    latencies[latency_count++] = (float)(now_ns() - connection->sent);
    connection->request = NULL;
    idle[idle_count++] = connection;
    if (--upload->missing > 0)
        return;
    if (++upload->step < upload->image->steps) {
        begin_step(upload);
    } else {
        finished_images++;
        unused_uploads[unused_count++] = upload;
    }
}

static void check(const struct connection *connection, int status, const char *body,
                  size_t length) {
    const struct request *request = connection->request;
    if (status != request->status)
        fail("status %d instead of %d to\n%.*s\n-> %.*s", status, request->status,
             (int)request->length, request->bytes, (int)length, body);
    if (request->body != NULL && (length != request->body_length ||
                                  memcmp(body, request->body, length) != 0))
        fail("%zu bytes that are not the %u expected, to\n%.*s", length,
             request->body_length, (int)request->length, request->bytes);
}

/* Take the answer out of the buffer, if all of it is there. */
static void parse(struct connection *connection) {
    char *buffer = connection->buffer, *data_end = buffer + connection->filled;
    char *head_end = memmem(buffer, connection->filled, "\r\n\r\n", 4), *end;
    if (head_end == NULL)
        return;
    char *body = head_end + 4;
    ssize_t length;
    head_end[2] = '\0'; /* keeps the CRLF of the last field */
    if (strncmp(buffer, "HTTP/1.1 ", 9) != 0)
        fail("not an answer: %.40s", buffer);
    int status = atoi(buffer + 9);
    const char *value = field(buffer, "content-length");
    if (status == 204 || status == 304) { /* RFC 9112 6.3: no body */
        length = 0;
        end = body;
    } else if (value != NULL) {
        length = atol(value);
        end = body + length;
        if (length > BUFFER)
            fail("a body of %zd bytes", length);
        if (end > data_end)
            length = -1;
    } else {
        value = field(buffer, "transfer-encoding");
        if (value == NULL || strncasecmp(value, "chunked\r\n", 9) != 0)
            fail("an answer of unknown length:\n%s", buffer);
        length = join_chunks(body, data_end, &end);
    }
    head_end[2] = '\r';
    if (length < 0)
        return;
    if (end != data_end)
        fail("more bytes than one answer");
    check(connection, status, body, (size_t)length);
    connection->filled = 0;
    answered(connection);
}

static void receive(struct connection *connection) {
    /* A byte is kept free, so that the data can be ended by a NUL. */
    ssize_t got = recv(connection->fd, connection->buffer + connection->filled,
                       BUFFER - 1 - connection->filled, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        fail("the server closed a connection%s%s", got < 0 ? ": " : "",
             got < 0 ? strerror(errno) : "");
    connection->filled += (uint32_t)got;
    connection->buffer[connection->filled] = '\0';
    if (connection->request == NULL)
        fail("an answer to nothing: %.200s", connection->buffer);
    parse(connection);
}

/* ---- the run ---------------------------------------------------------- */

static void open_connections(int count, int port, int epoll) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; i++) {
        struct connection *connection = &connections[i];
        int fd = connection->fd = socket(AF_INET, SOCK_STREAM, 0);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
            fail("connect: %s", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            fail("epoll_ctl: %s", strerror(errno));
        idle[idle_count++] = connection;
    }
}

static int compare(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

static double percentile(double fraction) {
    return latencies[(size_t)(fraction * (double)(latency_count - 1))] / 1000.0;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 7)
        fail("usage: load SCRIPT PORT CONNECTIONS SECONDS FIRST LOOP");
    int port = atoi(argv[2]), count = atoi(argv[3]), epoll = epoll_create1(0);
    double seconds = atof(argv[4]);
    next_image = (uint32_t)atol(argv[5]);
    loop = atoi(argv[6]);
    if (count < 1 || count > MAX_CONNECTIONS)
        fail("1 to %d connections", MAX_CONNECTIONS);
    read_script(argv[1]);
    if (next_image >= image_count)
        fail("the script has no image %u", next_image);
    connections = allocate((size_t)count, sizeof *connections);
    queue = allocate(MAX_QUEUE, sizeof *queue);
    uploads = allocate((size_t)count, sizeof *uploads);
    unused_uploads = allocate((size_t)count, sizeof *unused_uploads);
    for (unused_count = 0; unused_count < count; unused_count++)
        unused_uploads[unused_count] = &uploads[unused_count];
    latency_room = 1 << 20;
    latencies = allocate(latency_room, sizeof *latencies);
    open_connections(count, port, epoll);
    puts("connected");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;

    double cpu = cpu_seconds();
    uint64_t begun = now_ns(), ended, deadline = begun + (uint64_t)(seconds * 1e9);
    dispatch();
    while (idle_count < count) {
        struct epoll_event events[MAX_CONNECTIONS];
        int ready = epoll_wait(epoll, events, MAX_CONNECTIONS, SILENCE_MS);
        if (ready == 0)
            fail("no answer for %d ms", SILENCE_MS);
        stopping = now_ns() >= deadline;
        for (int i = 0; i < ready; i++) {
            receive(events[i].data.ptr);
            dispatch();
        }
    }
    ended = now_ns();
    cpu = cpu_seconds() - cpu;
    qsort(latencies, latency_count, sizeof *latencies, compare);
    double elapsed = (double)(ended - begun) / 1e9;
    printf("{\"requests\": %zu, \"images\": %llu, \"next\": %u, \"seconds\": %.6f, "
           "\"load_cpu\": %.4f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           latency_count, (unsigned long long)finished_images, next_image, elapsed,
           cpu / elapsed, percentile(0.5), percentile(0.99));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
