/* The clients of the benchmark: a closed loop of keep-alive connections on loopback, single-threaded, on epoll.
 *
 *   load -p PORT -u PATH -b BODY_FILE -c CONNECTIONS -n REQUESTS -t SECONDS
 *
 * Ends after REQUESTS whole answers or SECONDS, whichever comes first, and prints one line of JSON: answers, answers
 * with a status other than 200, broken connections, chunks (by the stamps of net.h), seconds, and percentiles in
 * microseconds of the answer times and of the chunk delays from send() in the backend to recv() here.
 */
#include "net.h"

#define MAX_CONNECTIONS 8192
#define HEAD_BYTES 8192
#define READ_BYTES 65536
#define SAMPLES 4000000

typedef enum { HEAD, SIZE, DATA, DATA_END, TRAILER, PLAIN } Stage;

typedef struct {
    int fd;
    long started_us;
    Stage stage;
    int head_length;
    long remaining;   /* bytes of the body, or of the HTTP chunk */
    bool last_chunk;
    int line_length;  /* of the trailer line that is being read */
    int digits;       /* of the stamp that is being read, -1 outside */
    long stamp;
    char head[HEAD_BYTES];
} Client;

typedef struct {
    unsigned *values;
    int count;
} Sample;

static Client *clients;
static int poller, port;
static char *request;
static size_t request_length;
static long started_requests, wanted_requests, done, refused, broken, chunks;
static Sample times, delays;

static void note(Sample *sample, long value) {
    if (sample->count < SAMPLES) sample->values[sample->count++] = (unsigned)(value < 0 ? 0 : value);
}

static int ascending(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static long percentile(const Sample *sorted, double share) {
    return sorted->count ? (long)sorted->values[(int)(share * (sorted->count - 1))] : -1;
}

static void ask(Client *c) {
    if (started_requests >= wanted_requests) return;
    started_requests++;
    c->stage = HEAD;
    c->head_length = 0;
    c->digits = -1;
    c->started_us = now_us();
    if (send(c->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) broken++;
}

static void open_client(int index) {
    Client *c = &clients[index];
    struct sockaddr_in address = loopback(port);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    no_delay(c->fd);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)index};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    ask(c);
}

static void reopen(int index) {
    close(clients[index].fd);
    if (started_requests < wanted_requests) open_client(index);
}

/* Reads the stamps out of `length` bytes of body; a stamp may be cut anywhere. */
static void scan(Client *c, const char *data, long length, long now) {
    const char *end = data + length;
    while (data < end) {
        if (c->digits < 0) {
            data = memchr(data, STAMP, (size_t)(end - data));
            if (!data) return;
            data++;
            c->digits = 0;
            c->stamp = 0;
            continue;
        }
        if (*data < '0' || *data > '9') {
            c->digits = -1;
            continue;
        }
        c->stamp = c->stamp * 10 + (*data++ - '0');
        if (++c->digits == STAMP_DIGITS) {
            c->digits = -1;
            chunks++;
            note(&delays, now - c->stamp);
        }
    }
}

/* Takes the head that ends in `c->head` and says how the body is framed. */
static void read_head(Client *c) {
    if (strncmp(c->head + 9, "200", 3)) refused++;
    const char *length = field(c->head, "\ncontent-length:");
    c->remaining = length ? atol(length) : 0;
    c->last_chunk = false;
    c->line_length = 0;
    c->stage = field(c->head, "\ntransfer-encoding: chunked") ? SIZE : PLAIN;
}

/* Takes bytes from the wire. Returns true when the answer is whole; no answer follows before the next request. */
static bool take(Client *c, const char *data, long length, long now) {
    const char *end = data + length;
    while (data < end || (c->stage == PLAIN && !c->remaining)) {
        long here = end - data;
        switch (c->stage) {
        case HEAD: {
            if (c->head_length == HEAD_BYTES - 1) return true; /* no head of ours is so long */
            c->head[c->head_length++] = *data++;
            c->head[c->head_length] = 0;
            if (c->head_length > 3 && !memcmp(c->head + c->head_length - 4, "\r\n\r\n", 4)) {
                read_head(c);
                if (c->stage == SIZE) c->remaining = 0;
            }
            break;
        }
        case PLAIN: {
            long part = here < c->remaining ? here : c->remaining;
            scan(c, data, part, now);
            data += part;
            c->remaining -= part;
            if (!c->remaining) return true;
            break;
        }
        case SIZE: {
            char byte = *data++;
            if (byte == '\n') {
                c->last_chunk = !c->remaining;
                c->stage = c->last_chunk ? TRAILER : DATA;
                c->line_length = 0;
            } else if (byte != '\r') {
                int digit = byte >= 'a' ? byte - 'a' + 10 : byte >= 'A' ? byte - 'A' + 10 : byte - '0';
                c->remaining = c->remaining * 16 + digit;
            }
            break;
        }
        case DATA: {
            long part = here < c->remaining ? here : c->remaining;
            scan(c, data, part, now);
            data += part;
            c->remaining -= part;
            if (!c->remaining) c->stage = DATA_END;
            break;
        }
        case DATA_END:
            if (*data++ == '\n') c->stage = SIZE;
            break;
        case TRAILER: {
            char byte = *data++;
            if (byte == '\n') {
                if (!c->line_length) return true;
                c->line_length = 0;
            } else if (byte != '\r') {
                c->line_length++;
            }
            break;
        }
        }
    }
    return false;
}

static void ready(int index) {
    static char data[READ_BYTES];
    Client *c = &clients[index];
    ssize_t got = recv(c->fd, data, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        broken++;
        done++;
        reopen(index);
        return;
    }
    long now = now_us();
    if (!take(c, data, got, now)) return;
    done++;
    note(&times, now - c->started_us);
    if (field(c->head, "\nconnection: close"))
        reopen(index);
    else
        ask(c);
}

static void make_request(const char *path, const char *body_file) {
    static char body[READ_BYTES];
    FILE *file = fopen(body_file, "r");
    if (!file) die(body_file);
    size_t length = fread(body, 1, sizeof body, file);
    fclose(file);
    request = malloc(length + 1024);
    request_length = (size_t)sprintf(request,
                                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: ollama-python/0.6.3\r\n"
                                     "Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
                                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                     path, port, length);
    memcpy(request + request_length, body, length);
    request_length += length;
}

int main(int argc, char **argv) {
    const char *path = "/", *body_file = "/dev/null";
    int connections = 1;
    double seconds = 10;
    for (int option; (option = getopt(argc, argv, "p:u:b:c:n:t:")) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'b': body_file = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 'n': wanted_requests = atol(optarg); break;
        case 't': seconds = atof(optarg); break;
        default: return 2;
        }
    if (connections > MAX_CONNECTIONS) connections = MAX_CONNECTIONS;
    make_request(path, body_file);
    clients = calloc((size_t)connections, sizeof *clients);
    times.values = malloc(SAMPLES * sizeof(unsigned));
    delays.values = malloc(SAMPLES * sizeof(unsigned));
    poller = epoll_create1(0);
    long start = now_us(), end = start + (long)(seconds * 1e6);
    for (int i = 0; i < connections; i++) open_client(i);
    while (done < wanted_requests && now_us() < end) {
        struct epoll_event events[256];
        int count = epoll_wait(poller, events, 256, 50);
        for (int i = 0; i < count; i++) ready((int)events[i].data.u32);
    }
    double elapsed = (double)(now_us() - start) / 1e6;
    qsort(times.values, (size_t)times.count, sizeof(unsigned), ascending);
    qsort(delays.values, (size_t)delays.count, sizeof(unsigned), ascending);
    printf("{\"answers\":%ld,\"refused\":%ld,\"broken\":%ld,\"chunks\":%ld,\"seconds\":%.3f,\"p50_us\":%ld,\"p99_us\":%ld,"
           "\"delay_p50_us\":%ld,\"delay_p99_us\":%ld}\n",
           done, refused, broken, chunks, elapsed, percentile(&times, 0.5), percentile(&times, 0.99),
           percentile(&delays, 0.5), percentile(&delays, 0.99));
    return 0;
}
