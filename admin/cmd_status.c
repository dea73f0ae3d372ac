/*
 * `status`: everything at a glance, as text or as one line of JSON. Control thread. How it looks is in
 * render.c and render_json.c.
 */
#include "admin/admin_internal.h"

int cmd_status(struct command_call *call, struct err_text *err)
{
    (void)err;
    const struct admin *admin = call->admin;
    if (call->values.json) {
        return render_json_write(call->reply, render_json_status(admin, call->values.service));
    }
    for (size_t i = 0; i < admin->options.services_len; i++) {
        const struct admin_service *service = &admin->options.services[i];
        if (call->values.service == NULL || call->values.service == service) {
            render_service_line(call->reply, service);
            render_service_tree(call->reply, service);
        }
    }
    if (call->values.service == NULL) {
        render_program(call->reply, admin);
    }
    return ERR_OK;
}
