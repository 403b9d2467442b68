/* TCP as unix socket pairs: one end is the server's file descriptor, the other the controller gets.
 *
 * A connection's first end goes to the controller with the note of connect() or listen(). A listener's pair carries,
 * one record each, the connections that come in, each with a file descriptor of its own: so the kernel's epoll says
 * by itself when there is something to accept, to read, or room to write. Only a connection in the making needs care:
 * a pair can be written to at once, so interest in that is held back until the controller says that it stands.
 */
#include "shim.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/time.h>

#define MOST_FDS 65536
#define PEERS_FROM 901 /* where the ends wait that the controller has not got yet */
#define FIRST_PORT 32768
#define PORTS 28000

enum state { UNTRACKED, FRESH, CONNECTING, OPEN, LISTENING };

static struct sock {
  enum state state;
  int peer; /* the controller's end, as long as we have it */
  int error;
  uint32_t serial;
  uint32_t address, peer_address;
  uint16_t port, peer_port;
  int epoll; /* the set in which interest in writing is held back, and what was asked there */
  struct epoll_event wanted;
  int64_t receive_ns, send_ns; /* SO_RCVTIMEO and SO_SNDTIMEO; 0: for ever */
} socks[MOST_FDS];
static uint32_t serials;

static struct sock *tracked(int fd) {
  return fd >= 0 && fd < MOST_FDS && socks[fd].state != UNTRACKED ? &socks[fd] : NULL;
}

bool is_tracked(int fd) { return tracked(fd) != NULL; }
bool is_connecting(int fd) { return tracked(fd) && socks[fd].state == CONNECTING; }

static uint32_t own_address(void) {
  static uint32_t address;
  if (!address) address = inet_addr(getenv("CACHEQUAKE_ADDRESS") ? getenv("CACHEQUAKE_ADDRESS") : "127.0.0.1");
  return address;
}

EXPORT int socket(int domain, int type, int protocol) {
  if (!active || domain == AF_UNIX || domain == AF_NETLINK) return (int)syscall(SYS_socket, domain, type, protocol);
  if (domain != AF_INET || (type & 0xf) != SOCK_STREAM) return errno = EAFNOSUPPORT, -1;
  int pair[2];
  if (syscall(SYS_socketpair, AF_UNIX, type, 0, pair) < 0) return -1;
  int peer = fcntl(pair[1], F_DUPFD_CLOEXEC, PEERS_FROM);
  syscall(SYS_close, pair[1]);
  if (pair[0] >= MOST_FDS || peer < 0) return syscall(SYS_close, pair[0]), errno = EMFILE, -1;
  socks[pair[0]] = (struct sock){.state = FRESH, .peer = peer, .serial = ++serials};
  return pair[0];
}

EXPORT int bind(int fd, const struct sockaddr *address, socklen_t size) {
  struct sock *sock = tracked(fd);
  if (!sock) return (int)syscall(SYS_bind, fd, address, size);
  if (address->sa_family != AF_INET) return errno = EAFNOSUPPORT, -1;
  const struct sockaddr_in *in = (const struct sockaddr_in *)address;
  sock->address = in->sin_addr.s_addr;
  sock->port = ntohs(in->sin_port);
  return 0;
}

static void give_end(int fd, struct sock *sock, enum note_kind kind) {
  if (!sock->address) sock->address = own_address();
  add_note((struct note){.kind = kind, .fd = fd, .serial = sock->serial, .address = sock->peer_address,
                         .source = sock->address, .port = sock->peer_port, .source_port = sock->port},
           sock->peer);
  sock->peer = -1;
}

EXPORT int listen(int fd, int backlog) {
  struct sock *sock = tracked(fd);
  if (!sock) return (int)syscall(SYS_listen, fd, backlog);
  if (sock->state == FRESH) {
    sock->state = LISTENING;
    give_end(fd, sock, NOTE_LISTEN);
  }
  return 0;
}

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t size) {
  struct sock *sock = tracked(fd);
  if (!sock) return (int)syscall(SYS_connect, fd, address, size);
  if (sock->state != FRESH) return errno = sock->state == CONNECTING ? EALREADY : EISCONN, -1;
  const struct sockaddr_in *in = (const struct sockaddr_in *)address;
  sock->peer_address = in->sin_addr.s_addr;
  sock->peer_port = ntohs(in->sin_port);
  if (!sock->port) sock->port = FIRST_PORT + sock->serial % PORTS;
  sock->state = CONNECTING;
  give_end(fd, sock, NOTE_CONNECT);
  if (fcntl(fd, F_GETFL) & O_NONBLOCK) return errno = EINPROGRESS, -1;
  while (sock->state == CONNECTING) barrier(FOREVER);
  return sock->error ? errno = sock->error, sock->error = 0, -1 : 0;
}

/* The controller says how a connect() ended. A failed one shows as hang-up: the controller has closed its end. */
void connected(int fd, uint32_t serial, int error) {
  struct sock *sock = tracked(fd);
  if (!sock || sock->serial != serial || sock->state != CONNECTING) return;
  sock->state = OPEN;
  sock->error = error;
  if (sock->wanted.events) syscall(SYS_epoll_ctl, sock->epoll, EPOLL_CTL_MOD, fd, &sock->wanted);
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  struct epoll_event passed;
  if (is_connecting(fd)) {
    socks[fd].epoll = epoll;
    socks[fd].wanted = operation == EPOLL_CTL_DEL ? (struct epoll_event){0} : *event;
    if (operation != EPOLL_CTL_DEL) {
      passed = *event;
      passed.events &= ~EPOLLOUT;
      event = &passed;
    }
  }
  return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

/* One record of a listener's pair: whose connection it is. Its descriptor comes along. */
struct arrival {
  uint32_t address;
  uint16_t port, unused;
};

static long receive_arrival(int listener, struct arrival *arrival, int *fd) {
  struct iovec part = {arrival, sizeof *arrival};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  long size = syscall(SYS_recvmsg, listener, &message, MSG_DONTWAIT);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (size != sizeof *arrival || !header) return size < 0 ? -1 : (errno = EAGAIN, -1);
  memcpy(fd, CMSG_DATA(header), sizeof *fd);
  return 0;
}

void describe_peer(int fd, char *text, size_t size) {
  struct in_addr address = {socks[fd].peer_address};
  snprintf(text, size, "%s:%d", inet_ntoa(address), socks[fd].peer_port);
}

static void tell(uint32_t address, uint16_t port, struct sockaddr *out, socklen_t *size) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address, .sin_port = htons(port)};
  if (!out || !size) return;
  memcpy(out, &in, *size < sizeof in ? *size : sizeof in);
  *size = sizeof in;
}

EXPORT int accept4(int listener, struct sockaddr *address, socklen_t *size, int flags) {
  struct sock *sock = tracked(listener);
  if (!sock) return (int)syscall(SYS_accept4, listener, address, size, flags);
  struct arrival arrival;
  int fd;
  if (receive_arrival(listener, &arrival, &fd) < 0) return -1;
  if (fd >= MOST_FDS) return syscall(SYS_close, fd), errno = EMFILE, -1;
  if (flags & SOCK_NONBLOCK) fcntl(fd, F_SETFL, O_NONBLOCK);
  if (flags & SOCK_CLOEXEC) fcntl(fd, F_SETFD, FD_CLOEXEC);
  socks[fd] = (struct sock){.state = OPEN, .peer = -1, .serial = ++serials, .address = sock->address,
                            .port = sock->port, .peer_address = arrival.address, .peer_port = arrival.port};
  tell(arrival.address, arrival.port, address, size);
  return fd;
}

EXPORT int accept(int listener, struct sockaddr *address, socklen_t *size) {
  return accept4(listener, address, size, 0);
}

EXPORT int getsockname(int fd, struct sockaddr *address, socklen_t *size) {
  struct sock *sock = tracked(fd);
  if (!sock) return (int)syscall(SYS_getsockname, fd, address, size);
  return tell(sock->address, sock->port, address, size), 0;
}

EXPORT int getpeername(int fd, struct sockaddr *address, socklen_t *size) {
  struct sock *sock = tracked(fd);
  if (!sock) return (int)syscall(SYS_getpeername, fd, address, size);
  if (sock->state != OPEN) return errno = ENOTCONN, -1;
  return tell(sock->peer_address, sock->peer_port, address, size), 0;
}

/* Options of TCP mean nothing to a pair, and are granted; how long calls may block is kept. */
EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
  struct sock *sock = tracked(fd);
  if (!sock) return (int)syscall(SYS_setsockopt, fd, level, name, value, size);
  if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO) && size >= sizeof(struct timeval)) {
    const struct timeval *time = value;
    int64_t ns = time->tv_sec * 1000000000LL + time->tv_usec * 1000LL;
    *(name == SO_RCVTIMEO ? &sock->receive_ns : &sock->send_ns) = ns;
  }
  return 0;
}

/* How long a call on a socket that blocks may take, in nanoseconds. */
int64_t patience(int fd, short events) {
  int64_t ns = events == POLLIN ? socks[fd].receive_ns : socks[fd].send_ns;
  return ns ? ns : FOREVER;
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
  struct sock *sock = tracked(fd);
  if (!sock || level != SOL_SOCKET || name != SO_ERROR) return (int)syscall(SYS_getsockopt, fd, level, name, value, size);
  *(int *)value = sock->error;
  sock->error = 0;
  return 0;
}

EXPORT int close(int fd) {
  struct sock *sock = tracked(fd);
  if (sock) {
    if (sock->peer >= 0) syscall(SYS_close, sock->peer);
    sock->state = UNTRACKED;
  }
  int result = (int)syscall(SYS_close, fd);
  child_moves(-1); /* whatever it was: a pipe that a child waits for ends with its last writer */
  return result;
}
