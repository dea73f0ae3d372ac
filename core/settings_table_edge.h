/*
 * The lines of the schema table for what stands between a service and its clients. Part of settings_table.c's
 * list, which is the only file to include this one; in a file of its own for its length.
 */
/* clang-format off: not a whole declaration */
{.path = "services.proxy_protocol",
 .type = SETTINGS_SECTION,
 .text = "Whether clients come through something that tells whom each connection is for, with a PROXY header "
         "(version 1 or 2) ahead of it. The client's address in it then counts for everything."},
{.path = "services.proxy_protocol.accept",
 .type = SETTINGS_WORD,
 AT(struct config_service, proxy_protocol.accept),
 .words = proxy_accept_words,
 .fallback = "required",
 .absent = "off",
 .text = "`required`: who may not send a header, or sends none, is refused. `optional`: of those who may, a "
         "header is taken where there is one; anybody else is an ordinary client."},
{.path = "services.proxy_protocol.from",
 .type = SETTINGS_PREFIX,
 .flags = SETTINGS_MANY,
 LIST(struct config_service, proxy_protocol.from),
 RANGE(1, PATH_TEXT_MAX),
 .note = "none",
 .text = "Who may: prefixes such as `10.0.0.0/8`, or `@FILE` with one a line. Who may can say anything, so this "
         "has no default. Whoever connects over a Unix path may."},
{.path = "services.proxy_protocol.timeout",
 .type = SETTINGS_DURATION,
 AT(struct config_service, proxy_protocol.timeout_us),
 RANGE(MILLISECOND, HOUR),
 .fallback = "3s",
 .text = "For the whole header, however slowly it comes."},
