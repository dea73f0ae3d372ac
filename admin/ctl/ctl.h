/* What the files of shuntctl share. One thread, and one more that ciphers for a daemon on another machine. */
#ifndef ADMIN_CTL_CTL_H
#define ADMIN_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Part of the interface: scripts branch on these. The first few are those of sysexits.h. */
enum ctl_exit {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,
    EXIT_ROLLED_BACK = 3,
    EXIT_PAUSED = 4,
    EXIT_USAGE = 64,
    EXIT_NO_DAEMON = 69,
    EXIT_NOT_PERMITTED = 77,
    EXIT_TIMED_OUT = 124
};

#define CTL_TLS_PREFIX "tls://"

/* To the Unix socket at path, or through TLS to "tls://HOST:PORT". Returns a connected socket, or -1 with
 * errno; for TLS what is wrong has then been told on standard error. */
int ctl_connect(const char *path);
/* The second of these: endpoint is HOST:PORT. The files of $SHUNT_CERT, $SHUNT_KEY and $SHUNT_CA (PEM) say
 * who calls and who is believed. EACCES: one does not trust the other, or a file cannot be used. */
int ctl_tunnel(const char *endpoint);
/* False: the connection is gone. */
bool ctl_send_all(int fd, const char *bytes, size_t length);
/* Tells that nobody answers at path (number: errno of ctl_connect) and returns the exit code. */
int ctl_no_daemon(const char *path, int number);
/* Sends the command (words ended by NULL), prints the reply and returns the exit code. What goes on for long
 * (wait, watch) is asked again for a while when the daemon is replaced meanwhile. Takes over fd. */
int ctl_ask(int fd, const char *path, char **words);
/* Whether the locale has no UTF-8, so that texts are written in ASCII. */
bool ctl_is_ascii(void);
/* Writes what a daemon said, or words of our own beyond ASCII: cleaned, and as the locale has it. JSON stays.
 */
void ctl_say(FILE *out, const char *text, size_t length);
/* The exit code at the end: that of output that was not written, else code. */
int ctl_finish(int code);
/* Prints a refusal ("error: …\n") on standard error and returns what it means as an exit code. */
int ctl_refused(const char *line);

#endif
