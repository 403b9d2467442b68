/* What runs beside the main thread: helper threads (fsync, closing, freeing) and a fork's child (snapshots).
 *
 * They run while the main thread stands still, so their work always falls on the same moment: after a thread was
 * started, or a condition was signalled and the mutex given back, we wait until every helper sleeps again; after a
 * fork, and after anything that lets the child go on, until the child sleeps or has ended.
 */
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define MOST_HELPERS 64
#define MOST_CHILDREN 8

static int helpers[MOST_HELPERS];
static int helper_count;
static bool stirred;       /* whether a helper may be awake */
static int waiting_helpers; /* how many wait for bytes, which may come at any turn */

static struct child {
  int real, shown;
} children[MOST_CHILDREN];
static int child_count, forks;

static int own_shown;

static int shown_pid(void) {
  if (!own_shown) own_shown = (int)own_number("CACHEQUAKE_PID", (int)syscall(SYS_getpid));
  return own_shown;
}

EXPORT pid_t getpid(void) { return shown_pid(); }

/* State letter of a process or thread: R, S (sleeps), D (waits for a disk), Z (ended). */
static char state_of(const char *path) {
  char text[512];
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 'X';
  long size = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (size <= 0) return 'X';
  text[size] = 0;
  char *end = strrchr(text, ')'); /* the name before it may hold anything */
  return end ? end[2] : 'X';
}

static void let_others_run(int round) {
  struct timespec moment = {0, 20000};
  if (round < 20) syscall(SYS_sched_yield);
  else syscall(SYS_nanosleep, &moment, NULL);
}

static void until_asleep(const char *path) {
  for (int round = 0;; round++) {
    char state = state_of(path);
    if (state == 'S' || state == 'Z' || state == 'X' || state == 'T') return;
    let_others_run(round);
  }
}

static void until_helpers_sleep(void) {
  char path[64];
  stirred = false;
  for (int i = 0; i < helper_count; i++) {
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", __atomic_load_n(&helpers[i], __ATOMIC_ACQUIRE));
    until_asleep(path);
  }
}

static void until_child_sleeps(void) {
  char path[64];
  for (int i = 0; i < child_count; i++) {
    snprintf(path, sizeof path, "/proc/%d/stat", children[i].real);
    until_asleep(path);
  }
}

void helper_waits(bool begins) { __atomic_add_fetch(&waiting_helpers, begins ? 1 : -1, __ATOMIC_SEQ_CST); }

void stand_still(void) {
  if (stirred || __atomic_load_n(&waiting_helpers, __ATOMIC_SEQ_CST)) until_helpers_sleep();
  if (child_count) until_child_sleeps();
}

void child_moves(int fd) {
  struct stat about;
  if (!child_count || !is_main) return;
  if (fd < 0 || (fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode))) until_child_sleeps();
}

/* Threads */

static void *real(const char *name) {
  void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2"); /* x86-64 keeps an older condition variable by that name */
  return found ? found : dlsym(RTLD_NEXT, name);
}

struct start {
  void *(*run)(void *);
  void *argument;
  int slot;
};

static void *helper(void *given) {
  struct start start = *(struct start *)given;
  free(given);
  __atomic_store_n(&helpers[start.slot], (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
  return start.run(start.argument);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  if (!create) create = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))real("pthread_create");
  if (!yields() || helper_count == MOST_HELPERS) return create(thread, attributes, run, argument);
  struct start *start = malloc(sizeof *start);
  *start = (struct start){run, argument, helper_count};
  helpers[helper_count] = 0;
  int error = create(thread, attributes, helper, start);
  if (error) return free(start), error;
  for (int round = 0; !__atomic_load_n(&helpers[helper_count], __ATOMIC_ACQUIRE); round++) let_others_run(round);
  helper_count++;
  until_helpers_sleep();
  return 0;
}

EXPORT int pthread_cond_signal(pthread_cond_t *condition) {
  static int (*signal_one)(pthread_cond_t *);
  if (!signal_one) signal_one = (int (*)(pthread_cond_t *))real("pthread_cond_signal");
  if (yields()) stirred = true;
  return signal_one(condition);
}

EXPORT int pthread_cond_broadcast(pthread_cond_t *condition) {
  static int (*signal_all)(pthread_cond_t *);
  if (!signal_all) signal_all = (int (*)(pthread_cond_t *))real("pthread_cond_broadcast");
  if (yields()) stirred = true;
  return signal_all(condition);
}

/* Helpers have no time that could be up: an allocator's thread, which has nothing to do until then, would spin. */
EXPORT int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  static int (*wait_until)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (!wait_until)
    wait_until = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))real("pthread_cond_timedwait");
  return active && !is_main ? pthread_cond_wait(condition, mutex) : wait_until(condition, mutex, until);
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex) {
  static int (*unlock)(pthread_mutex_t *);
  if (!unlock) unlock = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");
  int error = unlock(mutex);
  if (stirred && yields()) until_helpers_sleep();
  return error;
}

/* Children: shown with numbers that do not depend on what else runs on the machine. */

EXPORT pid_t fork(void) {
  static pid_t (*real_fork)(void);
  if (!real_fork) real_fork = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
  if (!yields()) return real_fork();
  int shown = shown_pid() + ++forks;
  pid_t pid = real_fork();
  if (pid == 0) leave_the_run(), own_shown = shown;
  if (pid <= 0 || child_count == MOST_CHILDREN) return pid;
  children[child_count++] = (struct child){pid, shown};
  until_child_sleeps();
  return shown;
}

static struct child *child_shown_as(int pid) {
  for (int i = 0; i < child_count; i++)
    if (children[i].shown == pid) return &children[i];
  return NULL;
}

EXPORT int kill(pid_t pid, int signal) {
  struct child *child = child_shown_as(pid);
  int result = (int)syscall(SYS_kill, child ? child->real : pid == shown_pid() ? (int)syscall(SYS_getpid) : pid, signal);
  if (child) until_child_sleeps();
  return result;
}

EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage) {
  struct child *child = child_shown_as(pid);
  pid_t ended = (pid_t)syscall(SYS_wait4, child ? child->real : pid, status, options, usage);
  for (int i = 0; ended > 0 && i < child_count; i++)
    if (children[i].real == ended) {
      ended = children[i].shown;
      children[i] = children[--child_count];
    }
  return ended;
}

EXPORT pid_t waitpid(pid_t pid, int *status, int options) { return wait4(pid, status, options, NULL); }
EXPORT pid_t wait3(int *status, int options, struct rusage *usage) { return wait4(-1, status, options, usage); }
