/* Drives MCP over HTTP on loopback with some connections, checks every answer, and prints one line of JSON.
 *
 * One thread, one request in flight on each connection, connections are kept. An answer counts when its status is 200,
 * its id is the request's, and what the tool was given comes back; with --tool progress, when every step was reported
 * in order and under the token of the request as well. Sessions are opened before the time runs, and deleted after it.
 *
 *   load --port N --path /echo/mcp --connections N --seconds S --warm S --bytes N
 *        [--style bare|session|stateless|rest] [--revision R] [--tool echo|progress|convert_time] [--steps N]
 *        [--header 'Name: value']... [--accept TYPES] [--server NAME] [--requests N] [--pid N]
 *
 * --requests ends the run after so many answers; --pid is the process whose processor time is told.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"

enum { MAX_GREETING = 16, MAX_FAULTS = 50 };
enum style { BARE, SESSION, STATELESS, REST };
enum tool { ECHO, PROGRESS, CONVERT_TIME };

static int port = 8099, connection_count = 1, steps = 100, watched;
static const char *path = "/mcp", *revision = "2025-06-18", *server = "";
static const char *accepts = "application/json, text/event-stream";
static enum style style = BARE;
static enum tool tool = ECHO;
static char headers[8192];
static double seconds = 1, warm = 0.3, drain_seconds = 15, greeting_seconds = 60;
static long max_requests;
static buffer payload, request;

static connection *connections;
static int epoll, greeting;
static long next_id = 1000, begun, answered, flying, wrong, refused, lost;
static char first_fault[400];
static float *times;
static size_t time_count, time_room;
static double window_from, window_to;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double own_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + 1e-6 * (used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* Processor time of the watched process, all its threads: the 14th and 15th field of its stat. */
static double watched_seconds(void) {
    char name[64], line[1024];
    snprintf(name, sizeof name, "/proc/%d/stat", watched);
    FILE *file = watched ? fopen(name, "r") : 0;
    if (!file) return 0;
    size_t size = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[size] = 0;
    char *rest = strrchr(line, ')');
    unsigned long user = 0, system = 0;
    if (rest) sscanf(rest + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user, &system);
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

static void note(long *counter, const char *what, connection *c) {
    ++*counter;
    if (first_fault[0]) return;
    snprintf(first_fault, sizeof first_fault, "%s: HTTP %d %.200s", what, c->status, c->body.at ? c->body.at : "");
    for (char *p = first_fault; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126) *p = '\'';
}

/* Requests */

static const char *tool_name(void) {
    static const char *const names[] = {"echo", "progress", "convert_time"};
    return names[tool];
}

static void write_request(connection *c, const char *method) {
    int greets = c->step == INITIALIZING, calls = c->step == CALLING;
    c->out.size = c->sent = 0;
    add_text(&c->out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: %s\r\n%s",
             method, path, port, accepts, headers);
    if (style == STATELESS || (style == SESSION && !greets))
        add_text(&c->out, "MCP-Protocol-Version: %s\r\n", revision);
    if (style == STATELESS) add_text(&c->out, "Mcp-Method: tools/call\r\nMcp-Name: %s\r\n", tool_name());
    if (c->session[0]) add_text(&c->out, "Mcp-Session-Id: %s\r\n", c->session);
    add_text(&c->out, "Content-Length: %zu\r\n\r\n", request.size);
    add(&c->out, request.at, request.size);
    if (calls) c->began = now();
}

static void write_arguments(connection *c) {
    if (tool == CONVERT_TIME) {
        add_text(&request, "{\"source_timezone\":\"UTC\",\"target_timezone\":\"Asia/Tokyo\",\"time\":\"%02ld:%02ld\"}",
                 c->id / 60 % 24, c->id % 60);
        return;
    }
    add_text(&request, "{\"message\":\"n%ld-", c->id);
    add(&request, payload.at, payload.size);
    add_text(&request, tool == PROGRESS ? "\",\"steps\":%d}" : "\"}", steps);
}

static void write_call(connection *c) {
    c->id = next_id++;
    request.size = 0;
    if (style == REST) {
        add_text(&request, "{\"server_name\":\"%s\",\"tool\":\"%s\",\"arguments\":", server, tool_name());
    } else {
        add_text(&request, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",",
                 c->id, tool_name());
        if (style == STATELESS || tool == PROGRESS) add_text(&request, "\"_meta\":{");
        if (style == STATELESS)
            add_text(&request, "\"io.modelcontextprotocol/protocolVersion\":\"%s\","
                     "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"load\",\"version\":\"1\"},"
                     "\"io.modelcontextprotocol/clientCapabilities\":{}", revision);
        if (tool == PROGRESS) add_text(&request, "%s\"progressToken\":%ld", style == STATELESS ? "," : "", c->id);
        if (style == STATELESS || tool == PROGRESS) add_text(&request, "},");
        add_text(&request, "\"arguments\":");
    }
    write_arguments(c);
    add_text(&request, style == REST ? "}" : "}}");
    begun++;
    flying++;
    c->step = CALLING;
    write_request(c, "POST");
}

static void write_greeting(connection *c) {
    request.size = 0;
    if (c->step == INITIALIZING)
        add_text(&request, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{"
                 "\"protocolVersion\":\"%s\",\"capabilities\":{},"
                 "\"clientInfo\":{\"name\":\"load\",\"version\":\"1\"}}}", revision);
    else
        add_text(&request, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}");
    write_request(c, "POST");
}

/* Connections */

static void listen_for(connection *c, int events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static int open_connection(connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(c->fd, (void *)&address, sizeof address) < 0) {
        close(c->fd);
        return -1;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    c->in.size = c->has_head = 0;
    return 0;
}

static void shut(connection *c) {
    if (c->step == CALLING) flying--;
    if (c->step == INITIALIZING || c->step == INITIALIZED) greeting--;
    if (c->step != CLOSED) close(c->fd);
    c->step = CLOSED;
}

/* 1: all is sent; 0: more when the socket takes it; -1: broken. */
static int send_out(connection *c) {
    while (c->sent < c->out.size) {
        ssize_t count = send(c->fd, c->out.at + c->sent, c->out.size - c->sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            listen_for(c, EPOLLIN | EPOLLOUT);
            return 0;
        }
        if (count < 0) return -1;
        c->sent += count;
    }
    return 1;
}

/* Answers */

/* Is `name: number` somewhere from `from` on? */
static char *find_number(char *from, char *end, const char *name, long number) {
    char *found = memmem(from, end - from, name, strlen(name));
    if (!found) return 0;
    char *digits = found + strlen(name), *after;
    long value = strtol(digits + strspn(digits, " \""), &after, 10);
    return value == number ? after : 0;
}

static int has_all_steps(connection *c) {
    char *at = c->body.at, *end = at + c->body.size;
    for (int step = 1; step <= steps; step++) {
        char *found = memmem(at, end - at, "\"notifications/progress\"", 24);
        if (!found) return 0;
        char *line_end = memchr(found, '\n', end - found);
        char *line = memrchr(c->body.at, '\n', found - c->body.at);
        if (!line) line = c->body.at;
        if (!line_end) line_end = end;
        if (!find_number(line, line_end, "\"progressToken\":", c->id)) return 0;
        if (!find_number(line, line_end, "\"progress\":", step)) return 0;
        at = line_end;
    }
    return 1;
}

static int has_payload(connection *c) {
    char sought[64];
    if (tool == CONVERT_TIME) {
        int size = sprintf(sought, "T%02ld:%02ld:00+00:00", c->id / 60 % 24, c->id % 60);
        return memmem(c->body.at, c->body.size, sought, size) != 0;
    }
    int size = sprintf(sought, "n%ld-", c->id);
    char *found = memmem(c->body.at, c->body.size, sought, size), *end = c->body.at + c->body.size;
    if (!found || (size_t)(end - found) <= size + payload.size) return 0;
    char after = found[size + payload.size];
    return !memcmp(found + size, payload.at, payload.size) && (after == '"' || after == '\\');
}

static void check(connection *c) {
    if (!c->body.at) add(&c->body, "", 0);
    if (c->status != 200) note(&refused, "refused", c);
    else if (!has_payload(c)) note(&wrong, "what was sent did not come back", c);
    else if (style != REST && !find_number(c->body.at, c->body.at + c->body.size, "\"id\":", c->id))
        note(&wrong, "another id", c);
    else if (tool == PROGRESS && !has_all_steps(c)) note(&wrong, "progress is missing", c);
    else {
        double t = now();
        answered++;
        if (t < window_from || t > window_to) return;
        if (time_count == time_room) times = realloc(times, (time_room = time_room * 2 + 65536) * sizeof *times);
        times[time_count++] = (t - c->began) * 1e3;
    }
}

/* What happens next on a connection */

static int may_call(void) {
    return now() < window_to && (!max_requests || begun < max_requests) && wrong + refused + lost < MAX_FAULTS;
}

static void begin(connection *c) {
    if (c->step == CALLING) write_call(c);
    else write_greeting(c);
    if (send_out(c) < 0) {
        note(&lost, "cannot send", c);
        shut(c);
    }
}

static void reopen(connection *c) {
    close(c->fd);
    if (open_connection(c) < 0) {
        note(&lost, "cannot connect", c);
        c->step = CLOSED;
    }
}

static void go_on(connection *c) {
    enum step step = c->step;
    c->step = READY;
    if (step == CALLING) {
        flying--;
        check(c);
    } else if (step == INITIALIZING || step == INITIALIZED) {
        greeting--;
        if (c->status / 100 != 2) {
            note(&refused, "greeting refused", c);
            close(c->fd);
            c->step = CLOSED;
            return;
        }
    } else {
        close(c->fd);
        c->step = CLOSED;
        return;
    }
    if (c->is_closing) reopen(c);
    if (c->step == CLOSED) return;
    if (step == INITIALIZING) {
        greeting++;
        c->step = INITIALIZED;
        begin(c);
    } else if (step == CALLING && may_call()) {
        c->step = CALLING;
        begin(c);
    }
}

static void handle(connection *c, int events) {
    if (c->step == CLOSED) return;
    if (events & EPOLLOUT && send_out(c) == 1) listen_for(c, EPOLLIN);
    int gone = events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? receive(c) : 0;
    if (read_response(c)) {
        if (gone) c->is_closing = 1;
        go_on(c);
    } else if (gone) {
        int called = c->step == CALLING;
        if (c->step != READY && c->step != DELETING) note(&lost, "the connection was closed", c);
        shut(c);
        if (called && may_call() && open_connection(c) == 0) {
            c->step = CALLING;
            begin(c);
        }
    }
}

static void look(void) {
    struct epoll_event events[256];
    int count = epoll_wait(epoll, events, 256, 20);
    for (int i = 0; i < count; i++) handle(events[i].data.ptr, events[i].events);
}

/* The run */

static void greet_all(void) {
    double end = now() + greeting_seconds;
    for (int next = 0; (next < connection_count || greeting) && now() < end && refused + lost < MAX_FAULTS;) {
        while (next < connection_count && greeting < MAX_GREETING) {
            connection *c = &connections[next++];
            if (c->step == CLOSED) continue;
            greeting++;
            c->step = INITIALIZING;
            begin(c);
        }
        look();
    }
}

static void delete_all(void) {
    int left = 1;
    for (int i = 0; i < connection_count; i++) {
        connection *c = &connections[i];
        if (c->step != READY || !c->session[0]) continue;
        c->step = DELETING;
        request.size = 0;
        write_request(c, "DELETE");
        if (send_out(c) < 0) shut(c);
    }
    for (double end = now() + 5; left && now() < end; look()) {
        left = 0;
        for (int i = 0; i < connection_count; i++) left += connections[i].step == DELETING;
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) { return time_count ? times[(size_t)((time_count - 1) * share)] : 0; }

static void run(void) {
    double own = 0, used = 0, used_to = 0;
    int has_begun = 0, has_ended = 0;
    window_from = now() + warm;
    window_to = window_from + seconds;
    if (max_requests) window_to = window_from + 1e9;
    for (int i = 0; i < connection_count && may_call(); i++)
        if (connections[i].step == READY) {
            connections[i].step = CALLING;
            begin(&connections[i]);
        }
    while (flying && now() < window_to + drain_seconds) {
        double t = now();
        if (!has_begun && t >= window_from) {
            has_begun = 1;
            window_from = t;
            used = watched_seconds();
            own = own_seconds();
        }
        if (!has_ended && t >= window_to) {
            has_ended = 1;
            used_to = watched_seconds();
            own = own_seconds() - own;
        }
        look();
    }
    double end = now() < window_to ? now() : window_to;
    if (!has_ended) {
        used_to = watched_seconds();
        own = own_seconds() - own;
    }
    qsort(times, time_count, sizeof *times, by_size);
    long stuck = flying;
    double took = end > window_from ? end - window_from : 0;
    printf("{\"answers\":%zu,\"seconds\":%.3f,\"per_second\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
           "\"gateway_seconds\":%.3f,\"load_seconds\":%.3f,\"all_answers\":%ld,\"wrong\":%ld,"
           "\"refused\":%ld,\"lost\":%ld,\"stuck\":%ld,\"fault\":\"%s\"}\n",
           time_count, took, took > 0 ? time_count / took : 0, percentile(0.5), percentile(0.99), percentile(1),
           has_begun ? used_to - used : 0, has_begun ? own : 0, answered, wrong, refused, lost, stuck, first_fault);
}

static int choose(const char *word, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(word, words[i])) return i;
    fprintf(stderr, "load: what is %s?\n", word);
    exit(2);
}

static void read_options(int count, char **values) {
    static const char *const styles[] = {"bare", "session", "stateless", "rest", 0};
    static const char *const tools[] = {"echo", "progress", "convert_time", 0};
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'},
        {"warm", 1, 0, 'w'}, {"bytes", 1, 0, 'b'}, {"style", 1, 0, 'y'}, {"revision", 1, 0, 'v'},
        {"tool", 1, 0, 't'}, {"steps", 1, 0, 'n'},
        {"header", 1, 0, 'h'}, {"accept", 1, 0, 'a'}, {"server", 1, 0, 'e'}, {"requests", 1, 0, 'r'},
        {"pid", 1, 0, 'i'}, {0, 0, 0, 0}};
    long bytes = 200;
    for (int option; (option = getopt_long(count, values, "", known, 0)) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'u': path = optarg; break;
        case 'c': connection_count = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'w': warm = atof(optarg); break;
        case 'b': bytes = atol(optarg); break;
        case 'y': style = choose(optarg, styles); break;
        case 'v': revision = optarg; break;
        case 't': tool = choose(optarg, tools); break;
        case 'n': steps = atoi(optarg); break;
        case 'h': snprintf(headers + strlen(headers), sizeof headers - strlen(headers), "%s\r\n", optarg); break;
        case 'a': accepts = optarg; break;
        case 'e': server = optarg; break;
        case 'r': max_requests = atol(optarg); break;
        case 'i': watched = atoi(optarg); break;
        default: exit(2);
    }
    for (long i = 0; i < bytes; i++) {
        char letter = 'a' + (i * 7 + i / 26) % 26;
        add(&payload, &letter, 1);
    }
}

int main(int count, char **values) {
    read_options(count, values);
    signal(SIGPIPE, SIG_IGN);
    add(&payload, "", 0);
    epoll = epoll_create1(0);
    window_to = 1e18;
    connections = calloc(connection_count, sizeof *connections);
    for (int i = 0; i < connection_count; i++) {
        connections[i].step = READY;
        if (open_connection(&connections[i]) < 0) {
            note(&lost, "cannot connect", &connections[i]);
            connections[i].step = CLOSED;
        }
    }
    if (style == SESSION) greet_all();
    run();
    if (style == SESSION) delete_all();
    return 0;
}
