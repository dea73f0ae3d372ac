/*
 * Answers for a change of where a service listens while it runs: which places stay, which come and which
 * leave, all that come made before anything changes, and the order in which it then does. What a place is
 * made of is proxy/place.c's. Control thread.
 */
#include "proxy/proxy_internal.h"

#include <stdlib.h>
#include <string.h>

struct proxy_listen_change {
    struct place **places; /* as they are to be, in order; those that come are owned until applied */
    struct addr *wanted;   /* owned; likewise, what each was asked for as */
    bool *comes;           /* owned; by places */
    size_t len;
    struct place **leaves; /* owned list; each of the service until applied */
    size_t leaves_len;
};

/* The place of the service that is meant by address and not yet in taken: bound there, or asked for in the
 * same words, as with port 0. */
static struct place *find(const struct proxy_service *service, const struct addr *address, const bool *taken,
                          size_t *at)
{
    struct place *found = NULL;
    for (size_t i = 0; i < service->places_len; i++) {
        struct place *place = service->places[i];
        bool here = !taken[i] && addr_equal(&place->bound, address);
        if (here || (found == NULL && !taken[i] && addr_equal(&place->wanted, address))) {
            found = place;
            *at = i;
        }
        if (here) {
            return found;
        }
    }
    return found;
}

/* By listen the place that stays for it, NULL: none; and whether each place of the service stays. */
static void match(const struct proxy_service *service, const struct addr *listen, size_t len,
                  struct place **places, bool *stays)
{
    for (size_t i = 0; i < len; i++) {
        size_t at = 0;
        places[i] = find(service, &listen[i], stays, &at);
        if (places[i] != NULL) {
            stays[at] = true;
        }
    }
}

void proxy_listen_change_drop(struct proxy_listen_change *change)
{
    if (change == NULL) {
        return;
    }
    for (size_t i = 0; change->places != NULL && change->comes != NULL && i < change->len; i++) {
        if (change->comes[i]) {
            place_destroy(change->places[i]);
        }
    }
    free((void *)change->places);
    free(change->wanted);
    free(change->comes);
    free((void *)change->leaves);
    free(change);
}

static struct proxy_listen_change *change_create(const struct proxy_service *service,
                                                 const struct addr *listen, size_t len)
{
    struct proxy_listen_change *change = calloc(1, sizeof(*change));
    bool *stays = calloc(service->places_len + 1, sizeof(*stays));
    if (change != NULL) {
        change->places = calloc(len + 1, sizeof(struct place *));
        change->wanted = calloc(len + 1, sizeof(*change->wanted));
        change->comes = calloc(len + 1, sizeof(*change->comes));
        change->leaves = calloc(service->places_len + 1, sizeof(struct place *));
        change->len = len;
    }
    if (stays == NULL || change == NULL || change->places == NULL || change->wanted == NULL ||
        change->comes == NULL || change->leaves == NULL) {
        free(stays);
        proxy_listen_change_drop(change);
        return NULL;
    }
    memcpy(change->wanted, listen, len * sizeof(*listen));
    match(service, listen, len, change->places, stays);
    for (size_t i = 0; i < service->places_len; i++) {
        if (!stays[i]) {
            change->leaves[change->leaves_len++] = service->places[i];
        }
    }
    free(stays);
    return change;
}

int proxy_listen_change_begin(const struct proxy_service *service, const struct addr *listen, size_t len,
                              struct proxy_listen_change **out)
{
    *out = change_create(service, listen, len);
    return *out != NULL ? 0 : ERR_NOMEM;
}

void proxy_listen_change_offer(const struct proxy_listen_change *change, given_visit_fn *visit, void *context)
{
    for (size_t i = 0; i < change->leaves_len; i++) {
        place_show(change->leaves[i], visit, context);
    }
}

int proxy_listen_change_prepare(struct proxy_service *service, struct proxy_listen_change *change,
                                struct given *given, struct err_text *err)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < change->len; i++) {
        if (change->places[i] == NULL) {
            code = place_open(service, &change->wanted[i], given, &change->places[i], err);
            change->comes[i] = code == 0;
        }
    }
    return code;
}

bool proxy_listen_change_address(const struct proxy_listen_change *change, bool comes, size_t index,
                                 struct addr *out)
{
    if (!comes) {
        if (index < change->leaves_len) {
            *out = change->leaves[index]->bound;
        }
        return index < change->leaves_len;
    }
    for (size_t i = 0; i < change->len; i++) {
        if (change->comes[i] && index-- == 0) {
            *out = change->places[i]->bound;
            return true;
        }
    }
    return false;
}

void listen_change_leave(struct place **places, size_t len, const struct given *given)
{
    for (size_t i = 0; i < len; i++) {
        char purpose[GIVEN_PURPOSE_MAX];
        given_purpose_of_service(places[i]->service->name, purpose);
        place_leave(places[i], given_is_taken(given, purpose, &places[i]->wanted));
    }
}

void proxy_listen_change_apply(struct proxy_service *service, struct proxy_listen_change *change,
                               const struct given *given)
{
    free((void *)service->places);
    service->places = change->places;
    service->places_len = change->len;
    for (size_t i = 0; i < change->len; i++) {
        service->places[i]->wanted = change->wanted[i];
        if (change->comes[i]) {
            place_join(service->places[i]);
        }
    }
    listen_change_leave(change->leaves, change->leaves_len, given);
    change->places = NULL;
    proxy_listen_change_drop(change);
}

/* ---- where it listens */

void proxy_service_sockets(const struct proxy_service *service, given_visit_fn *visit, void *context)
{
    for (size_t i = 0; i < service->places_len; i++) {
        place_show(service->places[i], visit, context);
    }
}

size_t proxy_service_listeners(const struct proxy_service *service)
{
    return service->places_len;
}

const struct addr *proxy_service_listen_address(const struct proxy_service *service, size_t index)
{
    return &service->places[index]->bound;
}

bool proxy_service_is_closed(const struct proxy_service *service)
{
    return atomic_load(&service->resting) == 0 && proxy_service_open(service) == 0;
}
