/* One HTTP connection of the load generator: what it is doing, and reading the responses that come on it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum step { CLOSED, INITIALIZING, INITIALIZED, READY, CALLING, DELETING };

typedef struct {
    char *at;
    size_t size, room;
} buffer;

typedef struct {
    int fd;
    enum step step;
    buffer out, in, body;
    size_t sent, body_at;
    int has_head, status, is_chunked, is_closing;
    long length, id;
    double began;
    char session[160];
} connection;

static void reserve(buffer *b, size_t more) {
    if (b->size + more > b->room) b->at = realloc(b->at, b->room = (b->size + more) * 2);
}

static void add(buffer *b, const char *bytes, size_t size) {
    reserve(b, size + 1);
    memcpy(b->at + b->size, bytes, size);
    b->at[b->size += size] = 0;
}

static void __attribute__((format(printf, 2, 3))) add_text(buffer *b, const char *format, ...) {
    va_list values;
    va_start(values, format);
    reserve(b, 16384);
    b->size += vsnprintf(b->at + b->size, 16384, format, values);
    va_end(values);
}

/* 0: read what is there; -1: the other side is gone. */
static int receive(connection *c) {
    for (;;) {
        reserve(&c->in, 1 << 18);
        ssize_t count = recv(c->fd, c->in.at + c->in.size, (1 << 18) - 1, 0);
        if (count < 0) return errno == EAGAIN ? 0 : -1;
        if (count == 0) return -1;
        c->in.size += count;
        if (count < 1 << 17) return 0;
    }
}

static void read_head(connection *c, char *end) {
    *end = 0;
    c->has_head = 1;
    c->length = -1;
    c->is_chunked = c->is_closing = 0;
    c->body.size = 0;
    c->body_at = end + 4 - c->in.at;
    c->status = atoi(c->in.at + 9);
    for (char *line = strstr(c->in.at, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) c->length = atol(line + 15);
        if (!strncasecmp(line, "transfer-encoding: chunked", 26)) c->is_chunked = 1;
        if (!strncasecmp(line, "connection: close", 17)) c->is_closing = 1;
        if (!strncasecmp(line, "mcp-session-id:", 15)) sscanf(line + 15, " %159[^\r\n]", c->session);
    }
    if (c->status == 202 || c->status == 204) c->length = c->length < 0 && !c->is_chunked ? 0 : c->length;
}

static void consume(connection *c, size_t size) {
    memmove(c->in.at, c->in.at + size, c->in.size - size);
    c->in.size -= size;
    c->has_head = 0;
}

/* 1: one whole response is in c->body; 0: it is not complete. */
static int read_response(connection *c) {
    if (!c->has_head) {
        char *end = c->in.size ? memmem(c->in.at, c->in.size, "\r\n\r\n", 4) : 0;
        if (!end) return 0;
        read_head(c, end);
    }
    if (!c->is_chunked) {
        if (c->length < 0 || c->in.size - c->body_at < (size_t)c->length) return 0;
        add(&c->body, c->in.at + c->body_at, c->length);
        consume(c, c->body_at + c->length);
        return 1;
    }
    for (;;) {
        char *from = c->in.at + c->body_at, *end = memmem(from, c->in.size - c->body_at, "\r\n", 2);
        if (!end) return 0;
        size_t size = strtoul(from, 0, 16), at = end + 2 - c->in.at;
        if (c->in.size < at + size + 2) return 0;
        add(&c->body, c->in.at + at, size);
        c->body_at = at + size + 2;
        if (size == 0) {
            consume(c, c->body_at);
            return 1;
        }
    }
}
