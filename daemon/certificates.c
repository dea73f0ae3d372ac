/*
 * Answers for the files of TLS, those of checks too, while the program runs: looks now and then whether one
 * was changed, and then puts the new ones in force for handshakes to come. What cannot be used changes
 * nothing and is told once. Also turns the keys of session tickets. Control thread; making and swapping is
 * the business of the proxy and of health.
 */
#include "daemon/app_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/phrases.h"

#include <event2/event.h>
#include <stdlib.h>

#define CERTIFICATES_LOOK_US (2 * CLOCK_US_PER_S)

/* Files were changed, and the commands for the pass phrases of their keys run. One service at a time. */
struct certificates_asking {
    struct phrases *phrases;             /* owned */
    struct app_service *service;         /* a place that stays; who is in it may have changed */
    const struct config_service *config; /* only compared: whom it was asked for */
    uint64_t stamp;
    void (*renew)(struct app *app, struct app_service *service, uint64_t stamp);
};

static void stop_asking(struct app *app)
{
    if (app->certificates_asking != NULL) {
        phrases_destroy(app->certificates_asking->phrases);
        free(app->certificates_asking);
        app->certificates_asking = NULL;
    }
}

static void on_phrases(void *context)
{
    struct app *app = context;
    const struct certificates_asking *asking = app->certificates_asking;
    struct app_service *service = asking->service;
    if (service->config == asking->config && service->proxy != NULL && !service->leaving) {
        asking->renew(app, service, asking->stamp);
    }
    stop_asking(app);
}

/* Calls renew when the pass phrases are at hand; at once where there are none. While others are asked for it
 * is left to a later look. */
static void renew_when_asked(struct app *app, struct app_service *service, uint64_t stamp,
                             void (*renew)(struct app *app, struct app_service *service, uint64_t stamp))
{
    if (app->certificates_asking != NULL || app->reload != NULL) {
        return;
    }
    struct certificates_asking *asking = calloc(1, sizeof(*asking));
    if (asking == NULL) {
        return;
    }
    *asking = (struct certificates_asking){
        .service = service, .config = service->config, .stamp = stamp, .renew = renew};
    app->certificates_asking = asking;
    if (phrases_ask(app->base, app->config, service->config, on_phrases, app, &asking->phrases) != 0) {
        stop_asking(app);
    } else if (asking->phrases == NULL) {
        stop_asking(app);
        renew(app, service, stamp);
    }
}

static void renew(struct app *app, struct app_service *service, uint64_t stamp)
{
    const char *name = service->config->name;
    struct proxy_change *change = NULL;
    struct err_text err;
    if (proxy_service_change_prepare(service->proxy, service->config, &change, &err) != 0) {
        service->tls_refused = stamp;
        events_add(app->events, clock_wall_us(), EVENTS_ERROR, name, "certificates", "shuntd", NULL,
                   "files of TLS were changed and cannot be used, those in force stay: %s", err.text);
        return;
    }
    proxy_service_change_apply(service->proxy, change);
    events_add(app->events, clock_wall_us(), EVENTS_INFO, name, "certificates", "shuntd", NULL,
               "files of TLS were changed: new handshakes go by them");
}

static void renew_checks(struct app *app, struct app_service *service, uint64_t stamp)
{
    struct err_text err;
    if (service->health == NULL) {
        return; /* gone while pass phrases were asked for */
    }
    int rc = health_reread(service->health, &err);
    if (rc != 0) {
        service->checks_refused = stamp;
        events_add(app->events, clock_wall_us(), EVENTS_ERROR, service->config->name, "certificates",
                   "shuntd", NULL, "files of checks were changed and cannot be used, those in force stay: %s",
                   err.text);
        return;
    }
    events_add(app->events, clock_wall_us(), EVENTS_INFO, service->config->name, "certificates", "shuntd",
               NULL, "files of checks were changed: checks to come go by them");
}

/* Whether files are other ones than those in force, and can be read: seen and refused are what this goes by.
 * A certificate and its key are two files, so a change counts once it has stood for a look. */
static bool is_changed(uint64_t stamp, uint64_t in_force, uint64_t *seen, const uint64_t *refused)
{
    bool stood = stamp == *seen;
    *seen = stamp;
    return stamp != in_force && stamp != *refused && stood;
}

static void look_at(struct app *app, struct app_service *service)
{
    uint64_t stamp = proxy_tls_stamp(service->config);
    if (is_changed(stamp, proxy_service_tls_stamp(service->proxy), &service->tls_seen,
                   &service->tls_refused)) {
        renew_when_asked(app, service, stamp, renew);
    }
    if (service->health == NULL) {
        return;
    }
    stamp = health_files_now(service->config);
    if (is_changed(stamp, health_files_in_force(service->health), &service->checks_seen,
                   &service->checks_refused)) {
        renew_when_asked(app, service, stamp, renew_checks);
    }
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
    struct app *app = context;
    (void)fd;
    (void)what;
    proxy_tickets_tend(app->proxy, clock_mono_us());
    for (size_t i = 0; i < app->services_len; i++) {
        struct app_service *service = &app->services[i];
        if (service->config != NULL && service->proxy != NULL && !service->leaving && !service->fresh) {
            look_at(app, service);
        }
    }
}

int certificates_watch(struct app *app, struct err_text *err)
{
    const struct timeval look = {.tv_sec = CERTIFICATES_LOOK_US / CLOCK_US_PER_S};
    app->certificates_timer = event_new(app->base, -1, EV_PERSIST, on_look, app);
    if (app->certificates_timer == NULL || event_add(app->certificates_timer, &look) != 0) {
        return err_set(err, ERR_NOMEM, "out of memory for the timer of certificates");
    }
    return 0;
}

void certificates_unwatch(struct app *app)
{
    stop_asking(app);
    if (app->certificates_timer != NULL) {
        event_free(app->certificates_timer);
        app->certificates_timer = NULL;
    }
}
