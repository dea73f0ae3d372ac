/*
 * The lines of the schema table for TLS to the backends of a group. Part of settings_table.c's list, which is
 * the only file to include this one; in a file of its own for its length.
 */
/* clang-format off: not a whole declaration */
{.path = "services.groups.tls",
 .type = SETTINGS_SECTION,
 .present = offsetof(struct config_group, tls.present),
 .text = "Connections to the group's backends speak TLS, whether or not clients do; an empty section will "
         "do. Without "
         "it bytes are passed on as they are. Checks without a `port` of their own do the same (see "
         "`health.tls`)."},
    {.path = "services.groups.tls.verify",
     .type = SETTINGS_BOOL,
     AT(struct config_group, tls.verify),
     .fallback = "true",
     .text = "Whether a backend must show a valid certificate for its name. `false` is insecure: whoever is "
             "on the way "
             "can read and change everything."},
    {.path = "services.groups.tls.ca",
     .type = SETTINGS_PATH,
     AT(struct config_group, tls.ca),
     RANGE(1, PATH_TEXT_MAX),
     .note = "those of the system",
     .text = "The authorities that count, PEM."},
    {.path = "services.groups.tls.crl",
     .type = SETTINGS_PATH,
     AT(struct config_group, tls.crl),
     RANGE(1, PATH_TEXT_MAX),
     .note = "none",
     .text = "Certificates that were revoked, PEM: the lists of all authorities in the chain, the root too."},
    {.path = "services.groups.tls.server_name",
     .type = SETTINGS_STRING,
     AT(struct config_group, tls.server_name),
     RANGE(1, 253),
     .note = "the host name in each backend's address, else the address",
     .text = "The name that is asked for (SNI) and that the certificate must be for."},
    {.path = "services.groups.tls.certificate",
     .type = SETTINGS_PATH,
     AT(struct config_group, tls.own.certificate),
     RANGE(1, PATH_TEXT_MAX),
     .note = "none",
     .text = "What is shown to backends that ask for a certificate, PEM, with those between it and the "
             "authority."},
    {.path = "services.groups.tls.key",
     .type = SETTINGS_PATH,
     AT(struct config_group, tls.own.key),
     RANGE(1, PATH_TEXT_MAX),
     .from = "certificate",
     .note = "the certificate's file",
     .text = "Its private key, PEM."},
    {.path = "services.groups.tls.passphrase_command",
     .type = SETTINGS_STRING,
     .flags = SETTINGS_MANY,
     LIST(struct config_group, tls.own.phrase_command),
     RANGE(1, 4000),
     .note = "none",
     .text = "For a key that is encrypted, as in `services.tls.certificates`."},
    {.path = "services.groups.tls.alpn",
     .type = SETTINGS_STRING,
     .flags = SETTINGS_MANY,
     LIST(struct config_group, tls.alpn),
     RANGE(1, 255),
     .note = "none",
     .text = "Protocols that are offered (ALPN), best first. `client` stands for the one that was agreed on "
             "with the "
             "client, if any."},
    {.path = "services.groups.tls.min_version",
     .type = SETTINGS_WORD,
     AT(struct config_group, tls.min_version),
     .words = tls_version_words,
     .fallback = "1.2",
     .text = "The oldest version of TLS that is spoken."},
    /* clang-format on */
