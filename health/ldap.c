/*
 * The LDAP probe (RFC 4511): StartTLS (section 4.14) where asked for, then a simple bind, anonymous without a
 * name, whose answer must say success. Pure; control thread.
 */
#include "health/script_internal.h"

#include <stdio.h>
#include <string.h>

/* BER: tags of the messages used here. */
#define TAG_INTEGER 0x02u
#define TAG_OCTETS 0x04u
#define TAG_ENUMERATED 0x0au
#define TAG_SEQUENCE 0x30u
#define TAG_BIND_REQUEST 0x60u
#define TAG_BIND_RESPONSE 0x61u
#define TAG_SIMPLE 0x80u
#define TAG_EXTENDED_REQUEST 0x77u
#define TAG_EXTENDED_RESPONSE 0x78u
#define TAG_REQUEST_NAME 0x80u

#define STARTTLS_OID "1.3.6.1.4.1.1466.20037"

struct state {
    uint8_t message; /* number of the last request */
    bool starttls;   /* that was a StartTLS */
};

/* The identifier and length of an element; lengths below 65536. */
static void send_head(struct script_run *run, uint8_t tag, size_t len)
{
    const uint8_t head[4] = {tag, 0x82, (uint8_t)(len >> 8), (uint8_t)len};
    script_send(run, head, sizeof(head));
}

/* Begins a message whose operation has so many bytes after its head. */
static void send_message(struct script_run *run, uint8_t tag, size_t len)
{
    struct state *state = run->state;
    const uint8_t id[] = {TAG_INTEGER, 1, ++state->message};
    send_head(run, TAG_SEQUENCE, sizeof(id) + 4 + len);
    script_send(run, id, sizeof(id));
    send_head(run, tag, len);
}

static void send_starttls(struct script_run *run)
{
    struct state *state = run->state;
    state->starttls = true;
    send_message(run, TAG_EXTENDED_REQUEST, 4 + strlen(STARTTLS_OID));
    send_head(run, TAG_REQUEST_NAME, strlen(STARTTLS_OID));
    script_send_text(run, STARTTLS_OID);
    run->out_mask = "ExtendedRequest StartTLS";
}

static void send_bind(struct script_run *run)
{
    struct state *state = run->state;
    const char *name = run->params.config->ldap.bind_dn;
    const char *password = run->params.password;
    size_t name_len = name != NULL ? strlen(name) : 0;
    size_t password_len = password != NULL ? strlen(password) : 0;
    static const uint8_t version[] = {TAG_INTEGER, 1, 3};
    size_t bind_len = sizeof(version) + 4 + name_len + 4 + password_len;
    state->starttls = false;
    run->out_mask = password != NULL ? "BindRequest ***" : "BindRequest";
    send_message(run, TAG_BIND_REQUEST, bind_len);
    script_send(run, version, sizeof(version));
    send_head(run, TAG_OCTETS, name_len);
    script_send(run, name, name_len);
    send_head(run, TAG_SIMPLE, password_len);
    script_send(run, password, password_len);
}

static void begin(struct script_run *run)
{
    if (run->params.config->ldap.starttls) {
        send_starttls(run);
    } else {
        send_bind(run);
    }
}

static enum script_verdict secured(struct script_run *run)
{
    send_bind(run);
    return SCRIPT_MORE;
}

struct element {
    uint8_t tag;
    const uint8_t *content;
    size_t len;
    size_t whole; /* with its head */
};

enum ber { BER_OK, BER_SHORT, BER_BAD };

/* Reads the element at data. SHORT: its end has not come (head is set as far as it is known). */
static enum ber read_element(const uint8_t *data, size_t len, struct element *out)
{
    if (len < 2) {
        return BER_SHORT;
    }
    size_t head = 2;
    size_t content = data[1];
    if (content & 0x80u) {
        size_t bytes = content & 0x7fu;
        /* Zero would be the indefinite form, which LDAP forbids. */
        if (bytes == 0 || bytes > 4) {
            return BER_BAD;
        }
        if (len < 2 + bytes) {
            return BER_SHORT;
        }
        content = 0;
        for (size_t i = 0; i < bytes; i++) {
            content = content << 8 | data[2 + i];
        }
        head += bytes;
    }
    *out = (struct element){.tag = data[0], .content = data + head, .len = content, .whole = head + content};
    return len - head >= content ? BER_OK : BER_SHORT;
}

static const char *describe(unsigned code)
{
    switch (code) {
    case 2:
        return "not understood";
    case 7:
        return "method not supported";
    case 8:
        return "stronger authentication required";
    case 48:
        return "anonymous bind refused";
    case 49:
        return "invalid credentials";
    case 51:
        return "busy";
    case 52:
        return "unavailable";
    case 53:
        return "unwilling to perform";
    default:
        return "refused";
    }
}

/* The next element inside, which must be whole and of the tag. */
static bool take(const uint8_t **data, size_t *len, uint8_t tag, struct element *out)
{
    if (read_element(*data, *len, out) != BER_OK || out->tag != tag) {
        return false;
    }
    *data += out->whole;
    *len -= out->whole;
    return true;
}

static enum script_verdict succeed(struct script_run *run)
{
    const struct state *state = run->state;
    if (state->starttls) {
        return SCRIPT_SECURE;
    }
    const uint8_t unbind[] = {TAG_SEQUENCE, 5, TAG_INTEGER, 1, (uint8_t)(state->message + 1), 0x42, 0};
    script_send(run, unbind, sizeof(unbind));
    run->out_mask = "UnbindRequest";
    return script_pass(run, "bound");
}

static enum script_verdict judge(struct script_run *run, const struct element *message)
{
    const struct state *state = run->state;
    const uint8_t *data = message->content;
    size_t len = message->len;
    struct element id;
    struct element reply;
    struct element code;
    struct element text;
    const char *other = state->starttls ? "not a StartTLS reply" : "not a bind reply";
    if (!take(&data, &len, TAG_INTEGER, &id) || id.len != 1 || id.content[0] != state->message ||
        !take(&data, &len, state->starttls ? TAG_EXTENDED_RESPONSE : TAG_BIND_RESPONSE, &reply)) {
        return script_fail(run, "%s", other);
    }
    data = reply.content;
    len = reply.len;
    if (!take(&data, &len, TAG_ENUMERATED, &code) || code.len != 1) {
        return script_fail(run, "%s", other);
    }
    unsigned result = code.content[0];
    if (result == 0) {
        return succeed(run);
    }
    char what[64];
    (void)snprintf(what, sizeof(what), "%s%s (%u)", state->starttls ? "StartTLS: " : "", describe(result),
                   result);
    /* The matched name comes first, then the diagnostic message. */
    bool has_text = take(&data, &len, TAG_OCTETS, &text);
    has_text = has_text && take(&data, &len, TAG_OCTETS, &text);
    if (has_text && text.len > 0) {
        return script_fail_quoting(run, what, text.content, text.len);
    }
    return script_fail(run, "%s", what);
}

static enum script_verdict step(struct script_run *run, const uint8_t *data, size_t len, bool eof,
                                size_t *used)
{
    (void)eof;
    struct element message = {0};
    if (len == 0) {
        return SCRIPT_MORE;
    }
    enum ber rc = read_element(data, len, &message);
    if (data[0] != TAG_SEQUENCE || rc == BER_BAD || message.len > SCRIPT_REPLY_MAX / 2) {
        return script_fail_quoting(run, "not LDAP", data, len < 16 ? len : 16);
    }
    if (rc == BER_SHORT) {
        return SCRIPT_MORE;
    }
    *used = message.whole;
    return judge(run, &message);
}

const struct script script_ldap = {.type = CONFIG_HEALTH_LDAP,
                                   .state_size = sizeof(struct state),
                                   .begin = begin,
                                   .step = step,
                                   .secured = secured};
