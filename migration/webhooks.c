/*
 * Sends events with libcurl's multi interface on the control loop: curl says which sockets and which timer it
 * needs, libevent watches them. Control thread; names are resolved by curl in a thread of its own. What is
 * told when is decided in migration/hooked.c.
 */
#include "migration/webhooks.h"

#include "core/clock.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PENDING_MAX 256u
#define PAUSE_FIRST_US CLOCK_US_PER_S
#define PAUSE_MAX_US (60 * CLOCK_US_PER_S)
#define ANSWER_MAX_BYTES ((size_t)64 * 1024) /* of an answer that nobody reads */

/* One event on its way to one server. */
struct delivery {
    struct webhooks *home;
    struct delivery *next, **at; /* in home->list */
    const struct config_webhook *config;
    CURL *easy;                 /* owned */
    struct curl_slist *headers; /* owned */
    struct event *retry;        /* owned */
    char *body;                 /* owned */
    size_t answered;
    unsigned tries;
    char error[CURL_ERROR_SIZE];
};

/* A socket that curl wants watched. */
struct watched {
    struct webhooks *home;
    struct event *event; /* owned */
};

struct webhooks {
    struct webhooks_options options;
    CURLM *multi;        /* owned */
    struct event *timer; /* owned */
    struct delivery *list;
    size_t pending;
    uint64_t number; /* of the last event, for ids */
    char source[200];
};

static unsigned users; /* of curl's global state */

static void drop(struct delivery *delivery)
{
    *delivery->at = delivery->next;
    if (delivery->next != NULL) {
        delivery->next->at = delivery->at;
    }
    delivery->home->pending--;
    if (delivery->easy != NULL) {
        (void)curl_multi_remove_handle(delivery->home->multi, delivery->easy);
        curl_easy_cleanup(delivery->easy);
    }
    if (delivery->retry != NULL) {
        event_free(delivery->retry);
    }
    curl_slist_free_all(delivery->headers);
    free(delivery->body);
    free(delivery);
}

static void give_up(struct delivery *delivery, const char *why)
{
    char words[400];

    snprintf(words, sizeof(words), "webhook %.120s given up after %u %s: %.200s", delivery->config->url,
             delivery->tries, delivery->tries == 1 ? "try" : "tries", why);
    delivery->home->options.failed(delivery->home->options.context, words);
    drop(delivery);
}

static void try_now(struct delivery *delivery)
{
    delivery->tries++;
    delivery->answered = 0;
    delivery->error[0] = '\0';
    if (curl_multi_add_handle(delivery->home->multi, delivery->easy) != CURLM_OK) {
        give_up(delivery, "no memory");
    }
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    try_now(context);
}

/* Worth another try: the server or the way there is at fault, not what was sent. */
static bool may_pass_later(CURLcode code, long status)
{
    return code != CURLE_OK || status >= 500 || status == 408 || status == 429;
}

static void settle(struct delivery *delivery, CURLcode code)
{
    uint64_t pause_us = PAUSE_FIRST_US << (delivery->tries < 7 ? delivery->tries - 1 : 6);
    struct timeval pause;
    char why[CURL_ERROR_SIZE + 32];
    long status = 0;

    (void)curl_easy_getinfo(delivery->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_multi_remove_handle(delivery->home->multi, delivery->easy);
    if (code == CURLE_OK && status >= 200 && status < 300) {
        drop(delivery);
        return;
    }
    if (code == CURLE_OK) {
        snprintf(why, sizeof(why), "answered %ld", status);
    } else {
        snprintf(why, sizeof(why), "%s",
                 delivery->error[0] != '\0' ? delivery->error : curl_easy_strerror(code));
    }
    if (!may_pass_later(code, status) || delivery->tries > delivery->config->retries) {
        give_up(delivery, why);
        return;
    }
    pause_us = pause_us > PAUSE_MAX_US ? PAUSE_MAX_US : pause_us;
    pause = (struct timeval){.tv_sec = (time_t)(pause_us / CLOCK_US_PER_S)};
    if (event_add(delivery->retry, &pause) != 0) {
        give_up(delivery, why);
    }
}

static void collect(struct webhooks *webhooks)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(webhooks->multi, &left)) != NULL) {
        struct delivery *delivery = NULL;

        if (message->msg == CURLMSG_DONE) {
            CURLcode code = message->data.result; /* message is gone after the next call */

            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&delivery);
            settle(delivery, code);
        }
    }
}

/* ---- between curl and libevent */

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct webhooks *webhooks = context;
    int running;

    (void)fd;
    (void)what;
    (void)curl_multi_socket_action(webhooks->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(webhooks);
}

static int on_want_timer(CURLM *multi, long wait_ms, void *context)
{
    struct webhooks *webhooks = context;
    struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = (wait_ms % 1000) * 1000};

    (void)multi;
    if (wait_ms < 0) {
        return event_del(webhooks->timer);
    }
    return event_add(webhooks->timer, &wait);
}

static void on_socket(evutil_socket_t fd, short what, void *context)
{
    struct watched *watched = context;
    struct webhooks *webhooks = watched->home; /* watched may be gone after the action */
    int action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    int running;

    (void)curl_multi_socket_action(webhooks->multi, fd, action, &running);
    collect(webhooks);
}

static int on_want_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket)
{
    struct webhooks *webhooks = context;
    struct watched *watched = socket;
    short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));

    (void)easy;
    if (watched != NULL) {
        event_free(watched->event);
        watched->event = NULL;
    }
    if (what == CURL_POLL_REMOVE) {
        free(watched);
        return 0;
    }
    if (watched == NULL) {
        watched = calloc(1, sizeof(*watched));
        if (watched == NULL) {
            return -1;
        }
        watched->home = webhooks;
        (void)curl_multi_assign(webhooks->multi, fd, watched);
    }
    watched->event = event_new(webhooks->options.base, fd, (short)(events | EV_PERSIST), on_socket, watched);
    if (watched->event == NULL || event_add(watched->event, NULL) != 0) {
        if (watched->event != NULL) {
            event_free(watched->event);
        }
        (void)curl_multi_assign(webhooks->multi, fd, NULL);
        free(watched);
        return -1;
    }
    return 0;
}

/* ---- what is sent */

static size_t on_answer(char *bytes, size_t size, size_t n, void *context)
{
    struct delivery *delivery = context;

    (void)bytes;
    delivery->answered += size * n;
    return delivery->answered > ANSWER_MAX_BYTES ? 0 : size * n;
}

static char *write_body(struct webhooks *webhooks, const struct config_webhook *config,
                        const struct webhooks_event *event)
{
    char id[160];
    char type[64];
    char *text;
    json_t *body;

    if (config->format == CONFIG_WEBHOOK_TEXT) {
        body = json_pack("{s:s}", "text", event->text);
    } else {
        snprintf(id, sizeof(id), "%s-%s-%llu", event->migration, event->time,
                 (unsigned long long)webhooks->number);
        snprintf(type, sizeof(type), "shunt.migration.%s", event->event);
        body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O}", "specversion", "1.0", "id", id, "source",
                         webhooks->source, "type", type, "subject", event->migration, "time", event->time,
                         "datacontenttype", "application/json", "data", event->data);
    }
    text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

static bool prepare(struct delivery *delivery)
{
    const struct config_webhook *config = delivery->config;
    bool text = config->format == CONFIG_WEBHOOK_TEXT;
    CURL *easy = curl_easy_init();

    delivery->easy = easy;
    delivery->headers =
        curl_slist_append(NULL, text ? "Content-Type: application/json; charset=utf-8"
                                     : "Content-Type: application/cloudevents+json; charset=utf-8");
    return easy != NULL && delivery->headers != NULL && delivery->retry != NULL && delivery->body != NULL &&
           curl_easy_setopt(easy, CURLOPT_URL, config->url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, delivery->body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, delivery->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, "shunt/" SHUNT_VERSION) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(config->timeout_us / CLOCK_US_PER_MS)) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, delivery) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, delivery->error) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, delivery) == CURLE_OK;
}

static bool wants(const struct config_webhook *config, const char *event)
{
    for (size_t i = 0; i < config->on_len; i++) {
        if (strcmp(config->on[i], event) == 0) {
            return true;
        }
    }
    return config->on_len == 0;
}

static void send_to(struct webhooks *webhooks, const struct config_webhook *config,
                    const struct webhooks_event *event)
{
    struct delivery *delivery = webhooks->pending < PENDING_MAX ? calloc(1, sizeof(*delivery)) : NULL;

    if (delivery == NULL) {
        char words[200];

        snprintf(words, sizeof(words), "webhook %.120s: not sent, too many are under way", config->url);
        webhooks->options.failed(webhooks->options.context, words);
        return;
    }
    *delivery =
        (struct delivery){.home = webhooks, .next = webhooks->list, .at = &webhooks->list, .config = config};
    if (webhooks->list != NULL) {
        webhooks->list->at = &delivery->next;
    }
    webhooks->list = delivery;
    webhooks->pending++;
    delivery->retry = event_new(webhooks->options.base, -1, 0, on_retry, delivery);
    delivery->body = write_body(webhooks, config, event);
    if (!prepare(delivery)) {
        give_up(delivery, "no memory");
        return;
    }
    try_now(delivery);
}

bool webhooks_idle(const struct webhooks *webhooks)
{
    return webhooks == NULL || webhooks->list == NULL;
}

void webhooks_tell(struct webhooks *webhooks, const struct webhooks_event *event)
{
    webhooks->number++;
    for (size_t i = 0; i < webhooks->options.config->webhooks_len; i++) {
        if (wants(&webhooks->options.config->webhooks[i], event->event)) {
            send_to(webhooks, &webhooks->options.config->webhooks[i], event);
        }
    }
}

int webhooks_create(const struct webhooks_options *options, struct webhooks **out)
{
    struct webhooks *webhooks = calloc(1, sizeof(*webhooks));
    char host[128] = "localhost";

    if (webhooks == NULL || (users == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)) {
        free(webhooks);
        return ERR_NOMEM;
    }
    users++;
    webhooks->options = *options;
    (void)gethostname(host, sizeof(host) - 1);
    snprintf(webhooks->source, sizeof(webhooks->source), "/shunt/%s", host);
    webhooks->timer = event_new(options->base, -1, 0, on_timer, webhooks);
    webhooks->multi = curl_multi_init();
    if (webhooks->timer == NULL || webhooks->multi == NULL) {
        webhooks_destroy(webhooks);
        return ERR_NOMEM;
    }
    (void)curl_multi_setopt(webhooks->multi, CURLMOPT_SOCKETFUNCTION, on_want_socket);
    (void)curl_multi_setopt(webhooks->multi, CURLMOPT_SOCKETDATA, webhooks);
    (void)curl_multi_setopt(webhooks->multi, CURLMOPT_TIMERFUNCTION, on_want_timer);
    (void)curl_multi_setopt(webhooks->multi, CURLMOPT_TIMERDATA, webhooks);
    *out = webhooks;
    return 0;
}

void webhooks_destroy(struct webhooks *webhooks)
{
    if (webhooks == NULL) {
        return;
    }
    while (webhooks->list != NULL) {
        drop(webhooks->list); /* NOLINT(clang-analyzer-unix.Malloc): it takes itself out of the list */
    }
    if (webhooks->multi != NULL) {
        (void)curl_multi_cleanup(webhooks->multi);
    }
    if (webhooks->timer != NULL) {
        event_free(webhooks->timer);
    }
    free(webhooks);
    if (--users == 0) {
        curl_global_cleanup();
    }
}
