/* `shuntd demo`: a whole migration on embedded backends and clients, shown as it happens. */
#ifndef DAEMON_DEMO_DEMO_H
#define DAEMON_DEMO_DEMO_H

/* Runs the demo; argv[0] is "demo". Prints to standard output. Returns the exit code: 0 when the story ended
 * as it should and no client saw an error, 64 for usage, 1 otherwise. Main thread. */
int demo_main(int argc, char **argv);

#endif
