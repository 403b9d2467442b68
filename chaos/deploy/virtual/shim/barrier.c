/* One turn: say what was done, stand still, and hear what time it is.
 *
 * A SEQPACKET socket keeps messages whole. When the controller is gone, receiving fails and the process ends: nothing
 * stays behind, however the controller died.
 */
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/prctl.h>

#define MOST_NOTES 200 /* a message carries at most 253 file descriptors */
#define CONTROL_FD 900 /* out of the way: the server's own descriptors keep the numbers they always have */

struct step {
  int64_t timeout_ns;
  uint32_t ticks;
  uint32_t stuck;
  uint32_t notes;
  uint32_t unused;
};
struct turn {
  int64_t now_ns;
  int64_t skew_ns;
  uint32_t results;
  uint32_t unused;
};
struct result {
  int32_t fd;
  uint32_t serial;
  int32_t error;
};

bool joined, active;
int64_t base_ns, skew_ns;
uint32_t ticks;
__thread bool is_main;

static int control = -1;
static bool stuck;
static struct {
  struct step head;
  struct note notes[MOST_NOTES];
} out;
static int ends[MOST_NOTES];
static struct {
  struct turn head;
  struct result results[1024];
} in;

bool yields(void) { return active && is_main; }
int64_t virtual_ns(void) { return base_ns + ticks * 1000LL; }
void note_stuck(void) { stuck = true; }

int64_t own_number(const char *name, int64_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoll(text, NULL, 10) : otherwise;
}

static void send_step(void) {
  struct iovec part = {&out, sizeof out.head + out.head.notes * sizeof(struct note)};
  union {
    char bytes[CMSG_SPACE(sizeof ends)];
    struct cmsghdr align;
  } control_part;
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  size_t size = out.head.notes * sizeof(int);
  if (size) {
    message.msg_control = control_part.bytes;
    message.msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), ends, size);
  }
  while (syscall(SYS_sendmsg, control, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) _exit(111);
  for (uint32_t i = 0; i < out.head.notes; i++) syscall(SYS_close, ends[i]);
  out.head.notes = 0;
}

/* Hand the turn over. `timeout_ns` is how long we would wait at most: 0 when there is something to do already. */
void barrier(int64_t timeout_ns) {
  int before = errno;
  stand_still();
  out.head.timeout_ns = timeout_ns;
  out.head.ticks = ticks;
  out.head.stuck = stuck;
  send_step();
  long size;
  do size = syscall(SYS_recvfrom, control, &in, sizeof in, 0, NULL, NULL); /* a signal's handler may run in here */
  while (size < 0 && errno == EINTR);
  if (size < (long)sizeof in.head) _exit(111);
  stand_still(); /* a helper may have been waiting for what came with the turn */
  base_ns = in.head.now_ns;
  skew_ns = in.head.skew_ns;
  ticks = 0;
  stuck = false;
  for (uint32_t i = 0; i < in.head.results; i++)
    connected(in.results[i].fd, in.results[i].serial, in.results[i].error);
  errno = before;
}

void add_note(struct note note, int end) {
  if (out.head.notes == MOST_NOTES) barrier(0);
  ends[out.head.notes] = end;
  out.notes[out.head.notes++] = note;
}

/* Before main: take the control socket, forget how we came here, and wait for the first turn. */
__attribute__((constructor)) static void begin(void) {
  int given = (int)own_number("CACHEQUAKE_CONTROL", -1);
  if (given < 0) return;
  control = fcntl(given, F_DUPFD_CLOEXEC, CONTROL_FD);
  if (control < 0) control = given;
  else syscall(SYS_close, given);
  unsetenv("CACHEQUAKE_CONTROL");
  unsetenv("LD_PRELOAD"); /* a program that the server starts is not part of the run */
  guard();
  map_rule();
  is_main = true;
  joined = active = true;
  barrier(0);
}

/* In a fork's child: no controller any more. Its clock goes on from where it was, and it ends with its parent. */
void leave_the_run(void) {
  active = false;
  syscall(SYS_close, control);
  prctl(PR_SET_PDEATHSIG, 9);
}
