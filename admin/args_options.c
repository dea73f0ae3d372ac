/*
 * Options ("--older 5m", anywhere in a line) and the values that say which connections are meant. Control
 * thread. Words that have their place are args.c's business.
 */
#include "admin/args_internal.h"
#include "admin/history.h"
#include "core/clock.h"
#include "core/units.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define MAPPED_BITS 96u /* before the IPv4 address in "::ffff:10.0.0.5" */

bool args_is_option(const struct command_arg *arg)
{
    return arg->keyword != NULL && strncmp(arg->keyword, "--", 2) == 0;
}

/* Index of the option of this name, or COMMAND_ARGS_MAX. */
static size_t find_option(const struct command *command, const char *word)
{
    for (size_t i = 0; command->args[i].type != COMMAND_ARG_END; i++) {
        if (args_is_option(&command->args[i]) && strcmp(command->args[i].keyword, word) == 0) {
            return i;
        }
    }
    return COMMAND_ARGS_MAX;
}

static int refuse_option(struct args_reader *reader, const char *word)
{
    const char *names[COMMAND_ARGS_MAX];
    size_t n = 0;
    for (const struct command_arg *arg = reader->command->args; arg->type != COMMAND_ARG_END; arg++) {
        if (args_is_option(arg)) {
            names[n++] = arg->keyword;
        }
    }
    const char *near = units_nearest(word, names, n);
    if (near != NULL) {
        return err_set(reader->err, ERR_NOT_FOUND, "no option \"%.100s\" (did you mean \"%s\"?)", word, near);
    }
    return args_refuse_usage(reader, "unknown option ", word);
}

int args_take_options(struct args_reader *reader)
{
    size_t kept = 0;
    for (size_t i = 0; i < reader->len; i++) {
        const char *word = reader->word[i];
        if (strncmp(word, "--", 2) != 0) {
            reader->word[kept++] = word;
            continue;
        }
        size_t option = find_option(reader->command, word);
        if (option == COMMAND_ARGS_MAX) {
            return refuse_option(reader, word);
        }
        if (reader->option[option] != NULL) {
            return args_refuse_usage(reader, "given twice: ", word);
        }
        if (i + 1 == reader->len) {
            return args_refuse_usage(reader, "a value must follow ", word);
        }
        reader->option[option] = reader->word[++i];
    }
    reader->len = kept;
    return ERR_OK;
}

int args_read_options(struct args_reader *reader)
{
    int code = ERR_OK;
    for (size_t i = 0; code == ERR_OK && reader->command->args[i].type != COMMAND_ARG_END; i++) {
        if (reader->option[i] != NULL) {
            code = args_read_value(reader, &reader->command->args[i], reader->option[i]);
        }
    }
    return code;
}

/* "10.0.0.5", "10.0.0.0/8", "::1", "2001:db8::/32"; "0.0.0.0/0" is all of IPv4. */
static int read_client(struct args_reader *reader, const char *word)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char address[INET6_ADDRSTRLEN] = "";
    struct addr_ip *ip = &reader->out->client;
    const char *slash = strchr(word, '/');
    size_t length = slash != NULL ? (size_t)(slash - word) : strlen(word);
    uint64_t bits = 0;
    if (length < sizeof(address)) {
        snprintf(address, sizeof(address), "%.*s", (int)length, word);
    }
    *ip = (struct addr_ip){.family = 0};
    if (inet_pton(AF_INET, address, ip->bytes) == 1) {
        ip->family = 4;
    } else if (inet_pton(AF_INET6, address, ip->bytes) == 1) {
        ip->family = 6;
    }
    unsigned widest = ip->family == 4 ? 32 : 128;
    bits = widest;
    if (ip->family == 0 || (slash != NULL && units_parse_count(slash + 1, widest, &bits) != ERR_OK)) {
        return err_set(reader->err, ERR_PARSE,
                       "\"%.100s\" is not a client: an IP address without port, or a network as 10.0.0.0/8",
                       word);
    }
    if (ip->family == 6 && bits >= MAPPED_BITS && memcmp(ip->bytes, mapped, sizeof(mapped)) == 0) {
        memmove(ip->bytes, ip->bytes + sizeof(mapped), 4); /* as which clients are known: addr.h */
        memset(ip->bytes + 4, 0, sizeof(ip->bytes) - 4);
        ip->family = 4;
        bits -= MAPPED_BITS;
    }
    reader->out->client_bits = (unsigned)bits;
    addr_ip_mask(ip, bits < 32 ? (unsigned)bits : 32, (unsigned)bits);
    return ERR_OK;
}

/* BACKEND or GROUP/BACKEND. A backend's name may itself hold slashes, so the plain name is tried first. */
static int read_place(struct args_reader *reader, const char *word)
{
    const struct admin_service *service = reader->out->service;
    char path[2 * ROUTING_NAME_MAX + TOKENS_MAX + 2];
    if (service == NULL) {
        return args_refuse_usage(reader, "name the SERVICE before --backend ", word);
    }
    for (size_t g = 0; g < routing_groups(service->routing); g++) {
        struct backend *found = routing_find_backend(service->routing, g, word);
        if (found != NULL && reader->out->backend != NULL) {
            return err_set(reader->err, ERR_INVALID, "backend \"%.100s\" is in two groups: say GROUP/%.100s",
                           word, word);
        }
        if (found != NULL) {
            reader->out->backend = found;
            reader->out->group = (uint32_t)g;
        }
    }
    if (reader->out->backend != NULL) {
        return ERR_OK;
    }
    if (strchr(word, '/') == NULL) {
        return err_set(reader->err, ERR_NOT_FOUND, "no backend \"%.100s\" in %s; status %s shows them", word,
                       service->name, service->name);
    }
    (void)snprintf(path, sizeof(path), "%s/%.200s", service->name, word);
    return args_read_backend(reader, path);
}

/* An id, SERVICE, SERVICE/GROUP or SERVICE/GROUP/BACKEND. */
static int read_victim(struct args_reader *reader, const char *word)
{
    struct command_values *out = reader->out;
    const char *slash = strchr(word, '/');
    char service[ROUTING_NAME_MAX];
    if (slash == NULL && proxy_id_parse(word, &out->connection) == ERR_OK &&
        args_find_service(reader->admin, word, &out->service, NULL) != ERR_OK) {
        return ERR_OK;
    }
    out->connection = 0;
    if (slash != NULL && strchr(slash + 1, '/') != NULL) {
        return args_read_backend(reader, word);
    }
    size_t length = slash != NULL ? (size_t)(slash - word) : strlen(word);
    (void)snprintf(service, sizeof(service), "%.*s", (int)(length < sizeof(service) ? length : 0), word);
    int code = args_find_service(reader->admin, length < sizeof(service) ? service : word, &out->service,
                                 reader->err);
    return code == ERR_OK && slash != NULL ? args_read_group(reader, slash + 1) : code;
}

static int read_time(struct args_reader *reader, const char *word, uint64_t *out)
{
    int code = units_parse_duration(word, out);
    if (code == ERR_OK) {
        return code;
    }
    return err_set(reader->err, code, "\"%.100s\" is not a duration: as 500ms, 30s, 5m, 1h", word);
}

/* A time that the figures of the past can be shown for, or in steps of. */
static int read_span(struct args_reader *reader, const char *word, uint64_t most_us, uint64_t *out)
{
    int code = read_time(reader, word, out);
    if (code == ERR_OK && (*out < CLOCK_US_PER_S || *out > most_us)) {
        return err_set(reader->err, ERR_RANGE, "\"%.100s\": from 1s to 1h are kept", word);
    }
    return code;
}

/* Two digits at *cursor, at most max, which are then left behind. */
static bool read_two_digits(const char **cursor, uint64_t max, uint32_t *out)
{
    char digits[3] = "";
    uint64_t number = 0;
    (void)snprintf(digits, sizeof(digits), "%s", *cursor);
    bool good = strlen(digits) == 2 && units_parse_count(digits, max, &number) == ERR_OK;
    *out = (uint32_t)number;
    *cursor += good ? 2 : 0;
    return good;
}

static int read_time_of_day(struct args_reader *reader, const char *word)
{
    const char *cursor = word;
    uint32_t hour = 0;
    uint32_t minute = 0;
    uint32_t second = 0;
    bool good =
        read_two_digits(&cursor, 23, &hour) && *cursor++ == ':' && read_two_digits(&cursor, 59, &minute);
    if (good && *cursor == ':') {
        cursor++;
        good = read_two_digits(&cursor, 59, &second);
    }
    if (!good || *cursor != '\0') {
        return err_set(reader->err, ERR_PARSE, "\"%.100s\" is not a time of day (UTC): as 02:14 or 02:14:30",
                       word);
    }
    reader->out->at_given = true;
    reader->out->at_s = hour * 3600 + minute * 60 + second;
    return ERR_OK;
}

static int read_bounded(struct args_reader *reader, const char *word, uint64_t max, uint64_t *out)
{
    int code = units_parse_count(word, max, out);
    if (code == ERR_OK && *out > 0) {
        return code;
    }
    return err_set(reader->err, code == ERR_OK ? ERR_RANGE : code, "\"%.100s\" is not a number from 1 to %u",
                   word, (unsigned)max);
}

int args_read_filter(struct args_reader *reader, const struct command_arg *arg, const char *word)
{
    switch (arg->type) {
    case COMMAND_ARG_VICTIM:
        return read_victim(reader, word);
    case COMMAND_ARG_OLDER:
        return read_time(reader, word, &reader->out->older_us);
    case COMMAND_ARG_LAST:
        return read_span(reader, word, HISTORY_SECONDS * CLOCK_US_PER_S, &reader->out->last_us);
    case COMMAND_ARG_STEP:
        return read_span(reader, word, HISTORY_SECONDS * CLOCK_US_PER_S, &reader->out->step_us);
    case COMMAND_ARG_AT:
        return read_time_of_day(reader, word);
    case COMMAND_ARG_IDLE:
        return read_time(reader, word, &reader->out->idle_us);
    case COMMAND_ARG_CLIENT:
        return read_client(reader, word);
    case COMMAND_ARG_PLACE:
        return read_place(reader, word);
    case COMMAND_ARG_RATE:
        return read_bounded(reader, word, COMMAND_RATE_MAX, &reader->out->rate);
    default:
        return read_bounded(reader, word, COMMAND_LIMIT_MAX, &reader->out->count);
    }
}
