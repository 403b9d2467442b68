/* The preloaded half of the deployment `virtual`: what the files of the shim share.
 *
 * An unmodified server is loaded together with this library. Whenever it would wait, it hands its turn to the
 * controller over a unix socket (barrier.c) and stands still until the controller says that something happened, or
 * that the time has come. Its TCP connections are unix socket pairs whose other ends the controller holds
 * (sockets.c); its clocks, random numbers and process numbers come from the run's seed (values.c); and what runs
 * beside its main thread is waited for until it sleeps (helpers.c). The kernel's own epoll, read and write keep their
 * meaning: only waiting is taken over.
 *
 * Calls that are only passed on use syscall(): the shim's own versions of these functions hide those of libc.
 */
#ifndef CACHEQUAKE_SHIM_H
#define CACHEQUAKE_SHIM_H

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FOREVER (-1)

/* barrier.c: the talk with the controller. */

extern bool joined;           /* whether this process belongs to a run; a fork's child does, too */
extern bool active;           /* whether this process belongs to a run and is not a fork's child */
extern int64_t base_ns;       /* what the controller said the time was when it last gave us the turn */
extern int64_t skew_ns;       /* how far this node's wall clock is off */
extern uint32_t ticks;        /* readings of the clock since then, of 1 us each */
extern __thread bool is_main; /* whether this is the server's main thread: the only one that may meet the controller */

enum note_kind { NOTE_CONNECT = 1, NOTE_LISTEN = 2 };

struct note { /* something that the process did since its last turn; carries the controller's end of the socket */
  uint32_t kind;
  int32_t fd;
  uint32_t serial; /* tells the sockets apart that had this file number one after the other */
  uint32_t address, source;
  uint16_t port, source_port;
};

void barrier(int64_t timeout_ns);
void add_note(struct note note, int end);
void note_stuck(void); /* a socket took less than it was given: the controller wakes us when there is room */
void leave_the_run(void);
bool yields(void);     /* whether a call of this thread is to be taken over */
int64_t virtual_ns(void);

/* guard.c */

void guard(void); /* from now on, a call that lets the real world in ends the process */

/* files.c */

void note_new(int fd); /* of a file that is still empty, nothing survives a power failure yet */

/* sockets.c */

bool is_tracked(int fd);
bool is_connecting(int fd);
void describe_peer(int fd, char *text, size_t size);
void connected(int fd, uint32_t serial, int error);
int64_t patience(int fd, short events);

/* waiting.c */

struct pollfd;
int wait_for(struct pollfd *fds, unsigned long count, int64_t timeout_ns);

/* calls.c */

enum call { CALL_WRITE = 1, CALL_SEND, CALL_FSYNC, CALL_RENAME };

void map_rule(void);
int on_write(int fd);
int on_sync(int fd);
int on_rename(const char *to);
void over(int verdict);

/* helpers.c */

void helper_waits(bool begins); /* a helper begins or ends waiting for bytes */
void stand_still(void);         /* return once every helper thread, and a fork's child, sleeps */
void child_moves(int fd);       /* something was done to a pipe: a child that waited for it goes on now */
int64_t own_number(const char *name, int64_t otherwise);

#endif
