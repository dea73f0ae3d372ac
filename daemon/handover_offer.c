/*
 * What the program that is to take over gets before it is even started: the listening sockets, the lock of
 * the journal, and the channels to those before. Control thread.
 */
#include "daemon/handover_internal.h"

struct batch {
    struct channel *channel; /* borrowed */
    json_t *list;
    int fds[CHANNEL_FDS_MAX];
    size_t len;
    int rc;
};

static void flush_batch(struct batch *batch)
{
    if (batch->rc == 0 && batch->len > 0) {
        batch->rc = handover_send_json(batch->channel, HANDOVER_SOCKETS, batch->list, batch->fds, batch->len);
        batch->list = json_array();
    }
    batch->len = 0;
}

static void add_descriptor(struct batch *batch, json_t *what, int fd)
{
    if (json_array_append_new(batch->list, what) != 0) {
        batch->rc = ERR_NOMEM;
        return;
    }
    batch->fds[batch->len++] = fd;
    if (batch->len == CHANNEL_FDS_MAX) {
        flush_batch(batch);
    }
}

static void add_socket(void *context, const char *purpose, const struct addr *wanted, bool foreign, int fd)
{
    char text[ADDR_TEXT_MAX];
    addr_format(wanted, text, sizeof(text));
    add_descriptor(context,
                   json_pack("{s:s, s:s, s:b}", "purpose", purpose, "wanted", text, "foreign", foreign), fd);
}

int handover_offer(const struct app *app, struct channel *channel)
{
    struct batch batch = {.channel = channel, .list = json_array()};
    for (size_t i = 0; i < app->services_len; i++) {
        const struct app_service *service = &app->services[i];
        if (service->config != NULL && !service->leaving) {
            proxy_service_sockets(service->proxy, add_socket, &batch);
        }
    }
    admin_sockets(app->admin, add_socket, &batch);
    add_descriptor(&batch, json_pack("{s:s}", "purpose", "journal"), journal_lock(app->journal));
    list_each (node, &app->formers) {
        const struct former *former = list_entry(node, struct former, node);
        add_descriptor(&batch, json_pack("{s:s, s:i}", "purpose", "former", "pid", (int)former->pid),
                       channel_fd(former->channel));
    }
    flush_batch(&batch);
    json_decref(batch.list);
    return batch.rc != 0 ? batch.rc
                         : handover_send_json(channel, HANDOVER_OFFER, handover_introduction(), NULL, 0);
}
