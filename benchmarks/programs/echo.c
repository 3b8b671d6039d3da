/* An MCP server on stdio that costs next to nothing, so that what is measured is the gateway before it.
 *
 * It answers initialize, ping, tools/list and tools/call; with the argument "both" it also knows server/discover,
 * and so speaks the stateless era too. Tools: "echo" gives back its message; "progress" first reports as many steps as
 * it is told. All lines of one read are answered with one write. It trusts its caller: no validation, no limits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *at;
    size_t size;
} text;

static char *out;
static size_t out_size, out_room;
static int knows_discover;

static void put(const char *bytes, size_t size) {
    if (out_size + size > out_room) {
        out_room = (out_size + size) * 2;
        out = realloc(out, out_room);
    }
    memcpy(out + out_size, bytes, size);
    out_size += size;
}

static void put_text(const char *words) { put(words, strlen(words)); }

static void write_out(void) {
    for (size_t done = 0; done < out_size;) {
        ssize_t count = write(1, out + done, out_size - done);
        if (count < 0 && errno != EINTR) exit(0);
        if (count > 0) done += count;
    }
    out_size = 0;
}

/* Reading JSON without building anything: where does a string, a value, a blank end? */

static const char *skip_blanks(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
    return p;
}

static const char *end_of_string(const char *p, const char *end) {
    for (p++;;) {
        const char *quote = memchr(p, '"', end - p);
        if (!quote) return end;
        size_t backslashes = 0;
        while (quote - 1 - backslashes >= p && quote[-1 - (long)backslashes] == '\\') backslashes++;
        if (backslashes % 2 == 0) return quote + 1;
        p = quote + 1;
    }
}

static const char *end_of_value(const char *p, const char *end) {
    if (p < end && *p == '"') return end_of_string(p, end);
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = end_of_string(p, end);
            continue;
        }
        if (depth == 0 && (*p == ',' || *p == '}' || *p == ']')) return p;
        if (*p == '{' || *p == '[') depth++;
        if ((*p == '}' || *p == ']') && --depth == 0) return p + 1;
        p++;
    }
    return end;
}

static text member(text object, const char *name) {
    const char *end = object.at + object.size, *p = skip_blanks(object.at, end);
    if (p >= end || *p != '{') return (text){0, 0};
    for (p++;; p++) {
        p = skip_blanks(p, end);
        if (p >= end || *p != '"') return (text){0, 0};
        const char *key = p + 1;
        p = end_of_string(p, end);
        size_t key_size = p - key - 1;
        p = skip_blanks(skip_blanks(p, end) + 1, end);
        const char *value = p;
        p = end_of_value(p, end);
        if (key_size == strlen(name) && !memcmp(key, name, key_size)) return (text){value, p - value};
        p = skip_blanks(p, end);
        if (p >= end || *p != ',') return (text){0, 0};
    }
}

static int equals(text value, const char *json) {
    return value.size == strlen(json) && !memcmp(value.at, json, value.size);
}

#define SCHEMA "\"inputSchema\":{\"type\":\"object\",\"properties\":{\"message\":{\"type\":\"string\"}," \
               "\"steps\":{\"type\":\"integer\"}},\"required\":[\"message\"]}"
#define KEPT "\"resultType\":\"complete\",\"ttlMs\":60000,\"cacheScope\":\"public\""

static void answer_call(text params) {
    text arguments = member(params, "arguments"), message = member(arguments, "message");
    put_text(",\"result\":{\"content\":[{\"type\":\"text\",\"text\":");
    if (message.size) put(message.at, message.size); else put_text("\"\"");
    put_text("}],\"isError\":false,\"resultType\":\"complete\"}}\n");
}

static void report_progress(text params) {
    text token = member(member(params, "_meta"), "progressToken"), steps = member(member(params, "arguments"), "steps");
    long count = steps.size ? strtol(steps.at, 0, 10) : 0;
    for (long step = 1; token.size && step <= count; step++) {
        char numbers[80];
        put_text("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":");
        put(token.at, token.size);
        put(numbers, snprintf(numbers, sizeof numbers, ",\"progress\":%ld,\"total\":%ld}}\n", step, count));
    }
}

static void answer(const char *line, size_t size) {
    text message = {line, size}, id = member(message, "id"), method = member(message, "method");
    text params = member(message, "params");
    if (!id.size || !method.size) return;
    int is_call = equals(method, "\"tools/call\"");
    if (is_call && equals(member(params, "name"), "\"progress\"")) report_progress(params);
    put_text("{\"jsonrpc\":\"2.0\",\"id\":");
    put(id.at, id.size);
    if (is_call) {
        answer_call(params);
    } else if (equals(method, "\"initialize\"")) {
        text revision = member(params, "protocolVersion");
        put_text(",\"result\":{\"protocolVersion\":");
        if (!revision.size || equals(revision, "\"2026-07-28\"")) put_text("\"2025-11-25\"");
        else put(revision.at, revision.size);
        put_text(",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"echo\",\"version\":\"1\"}}}\n");
    } else if (equals(method, "\"tools/list\"")) {
        put_text(",\"result\":{\"tools\":[{\"name\":\"echo\",\"description\":\"Gives back.\"," SCHEMA "},"
                 "{\"name\":\"progress\",\"description\":\"Reports, then gives back.\"," SCHEMA "}]," KEPT "}}\n");
    } else if (equals(method, "\"server/discover\"") && knows_discover) {
        put_text(",\"result\":{" KEPT ",\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},"
                 "\"serverInfo\":{\"name\":\"echo\",\"version\":\"1\"}}}\n");
    } else if (equals(method, "\"ping\"")) {
        put_text(",\"result\":{}}\n");
    } else {
        put_text(",\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}\n");
    }
}

int main(int count, char **arguments) {
    size_t room = 1 << 18, size = 0;
    char *in = malloc(room);
    knows_discover = count > 1 && !strcmp(arguments[1], "both");
    for (;;) {
        if (size == room) in = realloc(in, room *= 2);
        ssize_t got = read(0, in + size, room - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        size_t line = 0, look = size;
        size += got;
        for (char *end; (end = memchr(in + look, '\n', size - look)); line = look = end - in + 1)
            answer(in + line, end - in - line);
        if (out_size) write_out();
        if (line) memmove(in, in + line, size -= line);
    }
}
