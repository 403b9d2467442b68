/* The calls that wait: each becomes turns, until something is ready or its time is up. */
#include "shim.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

/* How long is left, as the controller wants it: FOREVER or nanoseconds. */
static int64_t left(int64_t deadline) {
  if (deadline == FOREVER) return FOREVER;
  int64_t rest = deadline - virtual_ns();
  return rest > 0 ? rest : 0;
}

static int64_t deadline_of(int64_t timeout_ns) { return timeout_ns < 0 ? FOREVER : virtual_ns() + timeout_ns; }

static int real_poll(struct pollfd *fds, nfds_t count, struct timespec *timeout) {
  return (int)syscall(SYS_ppoll, fds, count, timeout, NULL, 8);
}

static int by_data(const void *one, const void *other) {
  uint64_t a = ((const struct epoll_event *)one)->data.u64, b = ((const struct epoll_event *)other)->data.u64;
  return a < b ? -1 : a > b;
}

/* Whether an epoll set has events is asked with poll(): that takes none away. The kernel reports in the order in which
 * things became ready; sorted, the order does not depend on how the controller came to deliver them. */
EXPORT int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms) {
  if (!yields()) return (int)syscall(SYS_epoll_pwait, epoll, events, most, timeout_ms, NULL, 8);
  int64_t deadline = deadline_of(timeout_ms < 0 ? FOREVER : timeout_ms * 1000000LL);
  struct timespec now = {0, 0};
  int count;
  do {
    struct pollfd set = {epoll, POLLIN, 0};
    barrier(real_poll(&set, 1, &now) > 0 ? 0 : left(deadline));
    count = (int)syscall(SYS_epoll_pwait, epoll, events, most, 0, NULL, 8);
  } while (count == 0 && left(deadline) != 0);
  if (count > 1) qsort(events, count, sizeof *events, by_data);
  return count;
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask) {
  if (!yields()) return (int)syscall(SYS_epoll_pwait, epoll, events, most, timeout_ms, mask, 8);
  return epoll_wait(epoll, events, most, timeout_ms);
}

/* A pair's end can always be written to; while it stands for a connection in the making, that must not show. */
static int masked_poll(struct pollfd *fds, nfds_t count) {
  struct timespec now = {0, 0};
  struct pollfd masked[count ? count : 1];
  for (nfds_t i = 0; i < count; i++) {
    masked[i] = fds[i];
    if (is_connecting(fds[i].fd)) masked[i].events &= ~POLLOUT;
  }
  int ready = real_poll(masked, count, &now);
  for (nfds_t i = 0; i < count; i++) fds[i].revents = masked[i].revents;
  return ready;
}

int wait_for(struct pollfd *fds, nfds_t count, int64_t timeout_ns) {
  int64_t deadline = deadline_of(timeout_ns);
  int ready;
  do {
    barrier(masked_poll(fds, count) ? 0 : left(deadline));
    ready = masked_poll(fds, count);
  } while (ready == 0 && left(deadline) != 0);
  return ready;
}

static int64_t as_ns(const struct timespec *time) { return time ? time->tv_sec * 1000000000LL + time->tv_nsec : FOREVER; }

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
  if (yields()) return wait_for(fds, count, as_ns(timeout));
  struct timespec copy; /* the kernel writes the rest into it */
  if (timeout) copy = *timeout;
  return (int)syscall(SYS_ppoll, fds, count, timeout ? &copy : NULL, mask, 8);
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
  struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
  return ppoll(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL);
}

EXPORT int select(int count, fd_set *read, fd_set *write, fd_set *except, struct timeval *timeout) {
  struct timespec wait;
  if (timeout) wait = (struct timespec){timeout->tv_sec, timeout->tv_usec * 1000};
  if (!yields()) return (int)syscall(SYS_pselect6, count, read, write, except, timeout ? &wait : NULL, NULL);
  struct pollfd fds[FD_SETSIZE];
  nfds_t used = 0;
  for (int fd = 0; fd < count; fd++) {
    short events = (read && FD_ISSET(fd, read) ? POLLIN : 0) | (write && FD_ISSET(fd, write) ? POLLOUT : 0);
    if (events) fds[used++] = (struct pollfd){fd, events, 0};
  }
  wait_for(fds, used, as_ns(timeout ? &wait : NULL));
  if (read) FD_ZERO(read);
  if (write) FD_ZERO(write);
  if (except) FD_ZERO(except);
  int set = 0;
  for (nfds_t i = 0; i < used; i++) {
    short got = fds[i].revents;
    if (read && fds[i].events & POLLIN && got & (POLLIN | POLLHUP | POLLERR)) FD_SET(fds[i].fd, read), set++;
    if (write && fds[i].events & POLLOUT && got & (POLLOUT | POLLERR)) FD_SET(fds[i].fd, write), set++;
  }
  return set;
}

/* A fork's child and helper threads do not meet the controller: for them no time passes in a sleep. */
static int sleep_for(int64_t ns) {
  if (yields() && ns > 0) wait_for(NULL, 0, ns);
  return 0;
}

EXPORT int nanosleep(const struct timespec *wanted, struct timespec *rest) {
  if (rest) *rest = (struct timespec){0, 0};
  return sleep_for(as_ns(wanted));
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *rest) {
  if (flags & TIMER_ABSTIME) {
    struct timespec now;
    clock_gettime(clock, &now);
    return sleep_for(as_ns(wanted) - as_ns(&now));
  }
  return nanosleep(wanted, rest);
}

EXPORT int usleep(useconds_t us) { return sleep_for(us * 1000LL); }
EXPORT unsigned sleep(unsigned seconds) { return sleep_for(seconds * 1000000000LL), 0; }
