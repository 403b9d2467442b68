/* Calls that go wrong because a fault says so: the Nth write, send, fsync or rename kills the process, or is refused.
 *
 * The rule is in a file of the node's directory that the controller and this process map, a fork's child with it
 * (`chaos/deploy/virtual/calls.py` has the same structure). We count and note; everything between two turns of the
 * main thread has one order, so the Nth call is the same one in every run.
 */
#include "shim.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_NAME "calls"
#define KILLED_AFTER (-1)
#define LOG_FD 2 /* what a server says goes to files 1 and 2, and is no business of these rules */

struct rule {
  uint32_t call;   /* enum call, 0: every call passes */
  uint32_t who;    /* 0: the server, 1: a fork's child, 2: both */
  uint32_t error;  /* with which a call is refused; 0: SIGKILL */
  uint32_t after;  /* SIGKILL once the call has taken place, not before */
  uint32_t first;  /* the number of the first call that goes wrong, from 1 */
  uint32_t most;   /* so many go wrong; 0: all from the first on */
  uint32_t seen;   /* from here on we write: calls that the rule is about */
  uint32_t struck; /* calls that went wrong */
  int64_t time_ns; /* when the first of them was made */
  char pattern[64];
  char what[128]; /* the file of the last that went wrong, or the address that was sent to */
};

static struct rule *rule;

void map_rule(void) {
  int fd = (int)syscall(SYS_openat, AT_FDCWD, FILE_NAME, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return;
  void *mapped = mmap(NULL, sizeof *rule, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  syscall(SYS_close, fd);
  if (mapped != MAP_FAILED) rule = mapped;
}

static void die(void) {
  syscall(SYS_kill, (int)syscall(SYS_getpid), SIGKILL);
  for (;;) syscall(SYS_sched_yield);
}

static int strike(const char *what) {
  if (fnmatch(rule->pattern, what, 0)) return 0;
  uint32_t number = ++rule->seen;
  if (number < rule->first || (rule->most && rule->struck >= rule->most)) return 0;
  if (!rule->struck++) rule->time_ns = virtual_ns();
  snprintf(rule->what, sizeof rule->what, "%s", what);
  if (rule->error) return (int)rule->error;
  if (!rule->after) die();
  return KILLED_AFTER;
}

static bool concerned(enum call call) {
  return rule && rule->call == call && (rule->who == 2 || rule->who == (active ? 0 : 1));
}

static int strike_file(int fd) {
  char link[64], path[512];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return strike(basename(path));
}

/* What becomes of a call: 0 when it passes, an errno with which it is refused; `over` has to follow once it is made. */

int on_write(int fd) {
  struct stat about;
  if (concerned(CALL_SEND) && is_tracked(fd)) {
    char text[64];
    describe_peer(fd, text, sizeof text);
    return strike(text);
  }
  if (!concerned(CALL_WRITE) || fd <= LOG_FD || fstat(fd, &about) || !S_ISREG(about.st_mode)) return 0;
  return strike_file(fd);
}

int on_sync(int fd) { return concerned(CALL_FSYNC) ? strike_file(fd) : 0; }

int on_rename(const char *to) {
  char path[512];
  if (!concerned(CALL_RENAME)) return 0;
  snprintf(path, sizeof path, "%s", to);
  return strike(basename(path));
}

void over(int verdict) {
  if (verdict == KILLED_AFTER) die();
}
