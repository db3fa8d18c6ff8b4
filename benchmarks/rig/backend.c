/* The model server of the benchmark: OpenAI's and Ollama's chat on one port of loopback, single-threaded, on epoll.
 *
 *   backend PORT
 *
 * A request that asks for no stream is answered with one JSON body. A stream has 3 chunks, sent at once; the text
 * "chunks=N pace=MICROSECONDS" anywhere in the request body asks for others, and travels through any translation.
 * Every chunk is one HTTP chunk in its own send(), and carries the moment it was sent (see net.h). Streams with a pace
 * start at a random moment of their first interval, so that the chunks of many streams arrive alone.
 */
#include "net.h"

#define MAX_FDS 16384
#define INPUT_BYTES 65536
#define OUTPUT_BYTES 2048

typedef struct Connection {
    int fd;
    int input_length;
    int output_length, output_sent;
    bool openai;          /* the wire of the running stream */
    long left;            /* chunks still to send; a stream runs while there are any */
    long pace_us;
    long due_us;          /* when the next chunk of a paced stream is due */
    int place;            /* in the heap of paced streams, -1 outside */
    bool waits_for_room;  /* EPOLLOUT is asked for */
    char output[OUTPUT_BYTES];
    char input[INPUT_BYTES + 1];
} Connection;

static Connection *connections[MAX_FDS];
static Connection *heap[MAX_FDS]; /* paced streams, the next due one first */
static int heap_length;
static int poller;

/* ---- the heap of paced streams ---------------------------------------------------------------------------------- */

static void put(int place, Connection *c) {
    heap[place] = c;
    c->place = place;
}

static void rise(int place) {
    Connection *c = heap[place];
    while (place > 0 && heap[(place - 1) / 2]->due_us > c->due_us) {
        put(place, heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(place, c);
}

static void sink(int place) {
    Connection *c = heap[place];
    for (;;) {
        int child = 2 * place + 1;
        if (child >= heap_length) break;
        if (child + 1 < heap_length && heap[child + 1]->due_us < heap[child]->due_us) child++;
        if (heap[child]->due_us >= c->due_us) break;
        put(place, heap[child]);
        place = child;
    }
    put(place, c);
}

static void schedule(Connection *c) {
    put(heap_length++, c);
    rise(c->place);
}

static void unschedule(Connection *c) {
    if (c->place < 0) return;
    int place = c->place;
    c->place = -1;
    Connection *last = heap[--heap_length];
    if (last == c) return;
    put(place, last);
    rise(place);
    sink(last->place);
}

/* ---- what is said ----------------------------------------------------------------------------------------------- */

#define TEXT                                                                                                          \
    "The quick brown fox jumps over the lazy dog while the gateway relays bytes from one side to the other "          \
    "without touching them more than needed. The quick brown fox jumps over the lazy dog once more, and then rests."

static const char OPENAI_ANSWER[] =
    "{\"id\":\"chatcmpl-0123456789abcdef01234567\",\"object\":\"chat.completion\",\"created\":1760000000,"
    "\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"" TEXT "\","
    "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":57,"
    "\"completion_tokens\":60,\"total_tokens\":117,\"prompt_tokens_details\":{\"cached_tokens\":0}},"
    "\"system_fingerprint\":\"fp_0123456789\"}";

static const char OLLAMA_ANSWER[] =
    "{\"model\":\"llama-bench\",\"created_at\":\"2026-11-20T08:00:00.123456789Z\",\"message\":{\"role\":\"assistant\","
    "\"content\":\"" TEXT "\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":123456789,"
    "\"load_duration\":1234567,\"prompt_eval_count\":57,\"prompt_eval_duration\":12345678,\"eval_count\":60,"
    "\"eval_duration\":98765432}";

/* What a gateway asks in order to know the backend: path and answer. */
static const char *const CATALOG[][2] = {
    {"/v1/models", "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-bench\",\"object\":\"model\",\"created\":1760000000,"
                   "\"owned_by\":\"bench\"}]}"},
    {"/api/tags", "{\"models\":[{\"name\":\"llama-bench:latest\",\"model\":\"llama-bench:latest\","
                  "\"modified_at\":\"2026-11-20T08:00:00Z\",\"size\":1000000,\"digest\":"
                  "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"details\":{\"parent_model\":"
                  "\"\",\"format\":\"gguf\",\"family\":\"llama\",\"families\":[\"llama\"],\"parameter_size\":\"1.0B\","
                  "\"quantization_level\":\"Q8_0\"}}]}"},
    {"/api/ps", "{\"models\":[]}"},
    {"/api/version", "{\"version\":\"0.12.0\"}"},
    {"/api/show", "{\"details\":{\"family\":\"llama\"},\"model_info\":{},\"capabilities\":[\"completion\"]}"},
};

/* The payload of one chunk; `left` counts this one. Returns its length. */
static int payload(char *to, bool openai, long left) {
    const char *more = left > 1 ? " tok" : "";
    long stamp = now_us();
    if (openai && left > 1)
        return sprintf(to,
                       "data: {\"id\":\"chatcmpl-0123456789abcdef01234567\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1760000000,\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                       "\"%c%016ld%s\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                       STAMP, stamp, more);
    if (openai)
        return sprintf(to,
                       "data: {\"id\":\"chatcmpl-0123456789abcdef01234567\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1760000000,\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                       "\"%c%016ld%s\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":57,"
                       "\"completion_tokens\":60,\"total_tokens\":117}}\n\ndata: [DONE]\n\n",
                       STAMP, stamp, more);
    if (left > 1)
        return sprintf(to,
                       "{\"model\":\"llama-bench\",\"created_at\":\"2026-11-20T08:00:00.123456789Z\",\"message\":{"
                       "\"role\":\"assistant\",\"content\":\"%c%016ld%s\"},\"done\":false}\n",
                       STAMP, stamp, more);
    return sprintf(to,
                   "{\"model\":\"llama-bench\",\"created_at\":\"2026-11-20T08:00:00.123456789Z\",\"message\":{\"role\":"
                   "\"assistant\",\"content\":\"%c%016ld%s\"},\"done\":true,\"done_reason\":\"stop\","
                   "\"total_duration\":123456789,\"prompt_eval_count\":57,\"eval_count\":60}\n",
                   STAMP, stamp, more);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

static void forget(Connection *c) {
    unschedule(c);
    close(c->fd);
    connections[c->fd] = NULL;
    free(c);
}

static void ask_for_room(Connection *c, bool wanted) {
    if (c->waits_for_room == wanted) return;
    c->waits_for_room = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0u), .data.fd = c->fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sends what is in `output`. Returns false where the connection is gone; waits_for_room says whether some is left. */
static bool flush(Connection *c) {
    while (c->output_sent < c->output_length) {
        ssize_t sent = send(c->fd, c->output + c->output_sent, (size_t)(c->output_length - c->output_sent), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) {
                ask_for_room(c, true);
                return true;
            }
            forget(c);
            return false;
        }
        c->output_sent += (int)sent;
    }
    c->output_length = c->output_sent = 0;
    ask_for_room(c, false);
    return true;
}

static void say_whole(Connection *c, const char *status, const char *body) {
    c->output_length = snprintf(c->output, OUTPUT_BYTES,
                                "HTTP/1.1 %s\r\nServer: rig\r\nContent-Type: application/json\r\n"
                                "Content-Length: %zu\r\n\r\n%s",
                                status, strlen(body), body);
}

/* Puts the next chunk of the stream behind what is in `output`. */
static void say_chunk(Connection *c) {
    char data[1024];
    int length = payload(data, c->openai, c->left);
    c->left--;
    c->output_length += sprintf(c->output + c->output_length, "%x\r\n%s\r\n%s", (unsigned)length, data,
                                c->left ? "" : "0\r\n\r\n");
}

/* Runs a stream without pace as far as the socket takes it. Returns false where the connection is gone. */
static bool pump(Connection *c) {
    while (c->left && !c->pace_us && !c->waits_for_room) {
        say_chunk(c);
        if (!flush(c)) return false;
    }
    return true;
}

static void start_stream(Connection *c, const char *body) {
    const char *wish = strstr(body, "chunks=");
    c->left = 3;
    c->pace_us = 0;
    if (wish) sscanf(wish, "chunks=%ld pace=%ld", &c->left, &c->pace_us);
    c->output_length = snprintf(c->output, OUTPUT_BYTES,
                                "HTTP/1.1 200 OK\r\nServer: rig\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n",
                                c->openai ? "text/event-stream" : "application/x-ndjson");
    if (c->pace_us) {
        c->due_us = now_us() + (long)((double)c->pace_us * rand() / RAND_MAX);
        schedule(c);
    }
}

/* Answers one request: `head` and `body` end with a NUL. */
static void answer(Connection *c, const char *head, const char *body) {
    const char *path = strchr(head, ' ');
    path = path ? path + 1 : "";
    c->openai = !strncmp(path, "/v1/chat/completions", 20);
    if (c->openai || !strncmp(path, "/api/chat", 9)) {
        bool asked = strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true");
        bool refused = strstr(body, "\"stream\":false") || strstr(body, "\"stream\": false");
        if (asked || (!c->openai && !refused))
            start_stream(c, body);
        else
            say_whole(c, "200 OK", c->openai ? OPENAI_ANSWER : OLLAMA_ANSWER);
        return;
    }
    for (size_t i = 0; i < sizeof CATALOG / sizeof *CATALOG; i++) {
        size_t length = strlen(CATALOG[i][0]);
        if (!strncmp(path, CATALOG[i][0], length) && strchr(" ?", path[length])) {
            say_whole(c, "200 OK", CATALOG[i][1]);
            return;
        }
    }
    say_whole(c, "404 Not Found", "{\"error\":\"not found\"}");
}

/* Answers the requests that are complete in `input`. Returns false where the connection is gone. */
static bool serve(Connection *c) {
    while (!c->left && !c->output_length && c->input_length) {
        char *end = memmem(c->input, (size_t)c->input_length, "\r\n\r\n", 4);
        if (!end) break;
        *end = 0;
        char *body = end + 4;
        const char *length = field(c->input, "\ncontent-length:");
        long wanted = body - c->input + (length ? atol(length) : 0);
        if (wanted > INPUT_BYTES || field(c->input, "\ntransfer-encoding:")) {
            forget(c); /* no gateway sends such a request here */
            return false;
        }
        if (c->input_length < wanted) {
            *end = '\r';
            break;
        }
        char next = c->input[wanted];
        c->input[wanted] = 0;
        answer(c, c->input, body);
        c->input[wanted] = next;
        memmove(c->input, c->input + wanted, (size_t)(c->input_length - wanted));
        c->input_length -= (int)wanted;
        if (!flush(c) || !pump(c)) return false;
    }
    return true;
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        Connection *c = fd < MAX_FDS ? calloc(1, sizeof *c) : NULL;
        if (!c) {
            close(fd);
            continue;
        }
        no_delay(fd);
        c->fd = fd;
        c->place = -1;
        connections[fd] = c;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static void ready(Connection *c, unsigned events) {
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(c->fd, c->input + c->input_length, (size_t)(INPUT_BYTES - c->input_length), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            forget(c);
            return;
        }
        if (got > 0) c->input_length += (int)got;
        if (!serve(c)) return;
    }
    if (events & EPOLLOUT && flush(c) && pump(c)) serve(c);
}

/* Sends the chunks that are due. A stream whose socket is full skips its turn. */
static void run_due(void) {
    long now = now_us();
    while (heap_length && heap[0]->due_us <= now) {
        Connection *c = heap[0];
        if (!c->output_length) say_chunk(c);
        c->due_us += c->pace_us;
        if (c->due_us < now - 10 * c->pace_us) c->due_us = now; /* far behind: do not catch up in one burst */
        sink(0);
        if (!c->left) unschedule(c);
        if (flush(c) && !c->left) serve(c);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: backend PORT\n");
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = loopback(atoi(argv[1]));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listen");
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct timespec pause = {0}, *limit = NULL;
        if (heap_length) {
            long left = heap[0]->due_us - now_us();
            if (left > 0) pause = (struct timespec){left / 1000000, left % 1000000 * 1000};
            limit = &pause;
        }
        struct epoll_event events[256];
        int count = epoll_pwait2(poller, events, 256, limit, NULL);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (connections[fd])
                ready(connections[fd], events[i].events);
        }
        run_due();
    }
}
