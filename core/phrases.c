/*
 * Asks for pass phrases ahead: a list of commands, some of which run, and what they said. Those who read keys
 * look here before they ask themselves, so that nothing has to be carried through all that is made of a
 * configuration. Control thread.
 */
#include "core/phrases.h"

#include "core/list.h"
#include "core/process.h"
#include "core/tls_phrase.h"

#include <stdlib.h>
#include <string.h>

#define RUNNING_MAX 8u /* processes at a time */

struct answer {
    struct phrases *phrases;
    char **command; /* owned, ended by NULL */
    size_t command_len;
    struct process *process; /* owned; NULL: does not run */
    bool known;
    int rc;
    struct err_text err;
    char text[TLS_PHRASE_MAX];
};

struct phrases {
    struct list node; /* of at_hand */
    struct event_base *base;
    void (*done)(void *context);
    void *context;
    size_t len, begun, running;
    bool failed; /* nothing more is begun */
    struct answer *answers;
};

/* All that is asked for or known, of the control thread alone. */
static struct list at_hand = {.prev = &at_hand, .next = &at_hand};

static bool is_same(const struct answer *answer, char *const *command, size_t len)
{
    bool same = answer->command_len == len;
    for (size_t i = 0; same && i < len; i++) {
        same = strcmp(answer->command[i], command[i]) == 0;
    }
    return same;
}

bool phrases_recall(char *const *command, size_t command_len, char out[TLS_PHRASE_MAX], int *rc,
                    struct err_text *err)
{
    list_each (node, &at_hand) {
        const struct phrases *phrases = list_entry(node, struct phrases, node);
        for (size_t i = 0; i < phrases->len; i++) {
            const struct answer *answer = &phrases->answers[i];
            if (answer->known && is_same(answer, command, command_len)) {
                memcpy(out, answer->text, sizeof(answer->text));
                *rc = answer->rc;
                *err = answer->err;
                return true;
            }
        }
    }
    return false;
}

/* ---- what is to be asked */

static int add(struct phrases *phrases, const struct config_certificate *certificate)
{
    if (certificate->phrase_command_len == 0) {
        return 0;
    }
    for (size_t i = 0; i < phrases->len; i++) {
        if (is_same(&phrases->answers[i], certificate->phrase_command, certificate->phrase_command_len)) {
            return 0;
        }
    }
    struct answer *more = realloc(phrases->answers, (phrases->len + 1) * sizeof(*more));
    if (more == NULL) {
        return ERR_NOMEM;
    }
    phrases->answers = more;
    struct answer *answer = &more[phrases->len++];
    memset(answer, 0, sizeof(*answer));
    answer->phrases = phrases;
    answer->command = calloc(certificate->phrase_command_len + 1, sizeof(char *));
    for (size_t i = 0; answer->command != NULL && i < certificate->phrase_command_len; i++) {
        answer->command[i] = strdup(certificate->phrase_command[i]);
        if (answer->command[i] == NULL) {
            return ERR_NOMEM;
        }
        answer->command_len++;
    }
    return answer->command != NULL ? 0 : ERR_NOMEM;
}

/* In the order in which the keys are read, so that the first that failed is the one that is told. */
static int add_service(struct phrases *phrases, const struct config_service *service)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < service->tls.certificates_len; i++) {
        rc = add(phrases, &service->tls.certificates[i]);
    }
    for (size_t i = 0; rc == 0 && i < service->groups_len; i++) {
        rc = add(phrases, &service->groups[i].tls.own);
    }
    return rc;
}

/* ---- asking */

static void begin_more(struct phrases *phrases);

static void on_done(void *context, const struct process_result *result)
{
    struct answer *answer = context;
    struct phrases *phrases = answer->phrases;
    answer->process = NULL;
    answer->rc = tls_phrase_take(result, answer->text, &answer->err);
    answer->known = true;
    phrases->failed |= answer->rc != 0;
    phrases->running--;
    begin_more(phrases);
    if (phrases->running == 0) {
        phrases->done(phrases->context); /* it may be destroyed now */
    }
}

static void begin_more(struct phrases *phrases)
{
    while (!phrases->failed && phrases->begun < phrases->len && phrases->running < RUNNING_MAX) {
        struct answer *answer = &phrases->answers[phrases->begun++];
        answer->rc =
            tls_phrase_start(phrases->base, answer->command, on_done, answer, &answer->process, &answer->err);
        if (answer->rc == 0) {
            phrases->running++;
        } else {
            answer->known = true;
            phrases->failed = true;
        }
    }
    for (size_t i = phrases->begun; phrases->failed && i < phrases->len; i++) {
        struct answer *answer = &phrases->answers[i];
        answer->rc = err_set(&answer->err, ERR_INVALID,
                             "the command for its pass phrase was not run: another one failed");
        answer->known = true;
    }
}

int phrases_ask(struct event_base *base, const struct config *config, const struct config_service *service,
                void (*done)(void *context), void *context, struct phrases **out)
{
    struct phrases *phrases = calloc(1, sizeof(*phrases));
    int rc = phrases != NULL ? 0 : ERR_NOMEM;
    *out = NULL;
    if (rc != 0) {
        return rc;
    }
    phrases->base = base;
    phrases->done = done;
    phrases->context = context;
    list_append(&at_hand, &phrases->node);
    for (size_t i = 0; service == NULL && rc == 0 && i < config->services_len; i++) {
        rc = add_service(phrases, &config->services[i]);
    }
    rc = service != NULL ? add_service(phrases, service) : rc;
    if (rc == 0) {
        begin_more(phrases);
        if (phrases->running == 0 && phrases->len > 0) {
            rc = ERR_NOMEM; /* not even one could be started */
        }
    }
    if (rc != 0 || phrases->len == 0) {
        phrases_destroy(phrases);
        return rc;
    }
    *out = phrases;
    return 0;
}

void phrases_destroy(struct phrases *phrases)
{
    if (phrases == NULL) {
        return;
    }
    for (size_t i = 0; i < phrases->len; i++) {
        struct answer *answer = &phrases->answers[i];
        if (answer->process != NULL) {
            process_cancel(answer->process);
        }
        explicit_bzero(answer->text, sizeof(answer->text));
        for (size_t c = 0; c < answer->command_len; c++) {
            free(answer->command[c]);
        }
        free(answer->command);
    }
    free(phrases->answers);
    list_remove(&phrases->node);
    free(phrases);
}
