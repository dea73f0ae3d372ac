/*
 * Answers for the files of TLS while the program runs: looks now and then whether one was changed, and then
 * puts the new ones in force for handshakes to come. What cannot be used changes nothing and is told once.
 * Also turns the keys of session tickets. Control thread; making and swapping is the proxy's business.
 */
#include "daemon/app_internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <event2/event.h>

#define CERTIFICATES_LOOK_US (2 * CLOCK_US_PER_S)

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

static void look_at(struct app *app, struct app_service *service)
{
    uint64_t stamp = proxy_tls_stamp(service->config);
    if (stamp == proxy_service_tls_stamp(service->proxy)) {
        service->tls_seen = service->tls_refused = 0;
        return;
    }
    if (stamp == service->tls_refused) {
        return;
    }
    if (stamp != service->tls_seen) {
        service->tls_seen = stamp; /* a certificate and its key are two files: both may not be there yet */
        return;
    }
    renew(app, service, stamp);
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
    if (app->certificates_timer != NULL) {
        event_free(app->certificates_timer);
        app->certificates_timer = NULL;
    }
}
