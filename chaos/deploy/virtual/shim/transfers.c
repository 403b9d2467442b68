/* Bytes over tracked sockets, and into files.
 *
 * What a pair does not take now, it takes when the controller has emptied it. Servers never block; the sockets of
 * other programs may, and then hand the turn over until there is something to read, or room.
 */
#include "shim.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>

/* Whether a call that could do nothing now has to be made again, once it can do something. */
static bool again(int fd, ssize_t done, short events) {
  if (done >= 0 || errno != EAGAIN || !is_tracked(fd) || !yields() || fcntl(fd, F_GETFL) & O_NONBLOCK) return false;
  struct pollfd one = {fd, events, 0};
  if (wait_for(&one, 1, patience(fd, events)) > 0) return true;
  errno = EAGAIN;
  return false;
}

static ssize_t sent(int fd, ssize_t size, size_t wanted) {
  if (is_tracked(fd) && (size < 0 ? errno == EAGAIN : (size_t)size < wanted)) note_stuck();
  return size;
}

/* A socket that blocks takes all of it. */
static ssize_t send_all(int fd, const char *bytes, size_t size, int flags) {
  size_t all = 0;
  ssize_t done;
  if (!yields()) return sent(fd, syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0), size);
  do {
    done = sent(fd, syscall(SYS_sendto, fd, bytes + all, size - all, flags | MSG_DONTWAIT, NULL, 0), size - all);
    if (done > 0) all += done;
  } while (all < size && (done >= 0 ? !(fcntl(fd, F_GETFL) & O_NONBLOCK) : again(fd, done, POLLOUT)));
  return all ? (ssize_t)all : done;
}

EXPORT ssize_t write(int fd, const void *bytes, size_t size) {
  int verdict = on_write(fd);
  if (verdict > 0) return errno = verdict, -1;
  ssize_t done = is_tracked(fd) ? send_all(fd, bytes, size, 0) : syscall(SYS_write, fd, bytes, size);
  over(verdict);
  child_moves(fd);
  return done;
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
  size_t size = 0;
  for (int i = 0; i < count; i++) size += parts[i].iov_len;
  int verdict = on_write(fd);
  if (verdict > 0) return errno = verdict, -1;
  ssize_t done = sent(fd, syscall(SYS_writev, fd, parts, count), size);
  over(verdict);
  return done;
}

EXPORT ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  int verdict = on_write(fd);
  if (verdict > 0) return errno = verdict, -1;
  ssize_t done = is_tracked(fd) ? send_all(fd, bytes, size, flags)
                                : syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
  over(verdict);
  return done;
}

/* A helper thread (one that receives a snapshot, say) blocks for real: the main thread's turns go on meanwhile. */
static ssize_t receive_beside(int fd, void *bytes, size_t size, int flags) {
  helper_waits(true);
  ssize_t done = syscall(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
  helper_waits(false);
  return done;
}

EXPORT ssize_t recv(int fd, void *bytes, size_t size, int flags) {
  ssize_t done;
  if (!is_tracked(fd)) return syscall(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
  if (!yields()) return receive_beside(fd, bytes, size, flags);
  do done = syscall(SYS_recvfrom, fd, bytes, size, flags | MSG_DONTWAIT, NULL, NULL);
  while (!(flags & MSG_DONTWAIT) && again(fd, done, POLLIN));
  return done;
}

EXPORT ssize_t read(int fd, void *bytes, size_t size) {
  if (is_tracked(fd)) return recv(fd, bytes, size, 0);
  ssize_t done = syscall(SYS_read, fd, bytes, size);
  child_moves(fd);
  return done;
}
