/*
 * The socket's side of the room: server.c owns the listening socket and the list of clients, client.c what
 * happens on one connection. Control thread only.
 *
 *     admin ──owns──▶ admin_server ──owns──▶ admin_client (list, least recently active first)
 */
#ifndef ADMIN_SERVER_INTERNAL_H
#define ADMIN_SERVER_INTERNAL_H

#include "admin/admin_internal.h"
#include "core/list.h"

#include <sys/stat.h>

struct bufferevent;
struct event;
struct remote;

#define SERVER_CLIENTS_MAX 256u
#define SERVER_OUTPUT_PAUSE_BYTES (256u << 10) /* no further command is begun above this */
#define SERVER_OUTPUT_MAX_BYTES (4u << 20)     /* a stream that nobody reads ends here */
#define SERVER_STALL_US UINT64_C(30000000)     /* a reply of which nothing is read for so long is given up */

struct admin_server {
    struct admin *admin; /* borrowed */
    struct server_spec spec;
    int fd;         /* listening */
    bool held;      /* accepts nobody for now */
    bool foreign;   /* the socket file is a service manager's */
    bool leaves;    /* another process goes on with the socket, or still has it */
    int reserve_fd; /* given up to let an operator in when descriptors ran out; -1: given up */
    dev_t device;   /* of the socket file, to unlink only our own */
    ino_t inode;
    struct event *accept_event; /* owned, as the next three */
    struct event *back_off;     /* turns accepting on again */
    struct event *sweep;        /* runs each second while there are clients */
    struct event *wake;         /* something happened: those that follow look */
    struct list clients;        /* of admin_client, least recently active first */
    size_t clients_len;
};

struct admin_client {
    struct list node; /* in server->clients */
    struct admin_server *server;
    struct bufferevent *stream; /* owned, with its descriptor */
    struct event *timer;        /* owned; the end of a wait, or the next turn when a budget was used up */
    struct admin_peer peer;
    struct command_followed follow; /* kind NONE: ready for the next line */
    uint64_t progress_us;           /* when it last read from its reply, or had read all */
    bool half_closed;               /* it will send no more */
    bool closing;                   /* when the reply is out, it ends */
    bool is_remote;                 /* over TLS: nothing goes to its descriptor past the stream */
};

/* Takes over stream (and its descriptor) in any case. */
MUST_CHECK int client_create(struct admin_server *server, struct bufferevent *stream,
                             const struct admin_peer *peer);
void client_destroy(struct admin_client *client);
/* Lets a client that follows something look whether there is news. May destroy it. */
void client_follow(struct admin_client *client);
/* Once a second: gives up on what stalls or is gone. May destroy it. */
void client_sweep(struct admin_client *client, uint64_t now_us);
/* Tells one that follows something that the program is about to end for good. */
void client_tell_stop(struct admin_client *client);
/* Tells why and ends it at once. */
void client_evict(struct admin_client *client, const char *why);

/* A peer that is known from now on; makes a place for it if need be. Takes over stream, which may be NULL for
 * want of memory. False: it could not be served. */
bool server_take(struct admin_server *server, struct bufferevent *stream, const struct admin_peer *peer);

/* The way in over TLS, as admin.remote says; who comes is a client of the server, which is borrowed and must
 * outlive it. Errors: ERR_INVALID (a file that cannot be used), ERR_EXISTS, ERR_DENIED, ERR_SYSTEM,
 * ERR_NOMEM, each with a message. */
MUST_CHECK int remote_create(struct admin_server *server, struct remote **out, struct err_text *err);
/* Reads certificates and revocations again, as the admin's present configuration names them; what cannot be
 * used is logged, and what was used goes on. */
void remote_reload(struct remote *remote);
/* As bound. */
const struct addr *remote_address(const struct remote *remote);
/* As admin_sockets and admin_hold; remote NULL is allowed. */
void remote_sockets(const struct remote *remote, given_visit_fn *visit, void *context);
void remote_hold(struct remote *remote, bool hold);
/* NULL is allowed. Those that are clients already stay until their server goes. */
void remote_destroy(struct remote *remote);

#endif
