/* What a program learns of the world besides its connections: time, chance, its own number and a few files. */
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#define EPOCH_NS 1700000000000000000LL /* where every run begins, by the calendar */
#define BOOT_NS 1000000000000LL        /* and on the monotonic clock: a machine is never 0 s up */

static uintptr_t main_begin, main_end;

/* The program is the first; one whose code is in a library of its own, as an interpreter's may be, says its name. */
static int measure_main(struct dl_phdr_info *info, size_t size, void *library) {
  (void)size;
  bool first = !main_end;
  if (!first && !(library && strstr(info->dlpi_name, library))) return 0;
  main_begin = UINTPTR_MAX, main_end = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD) continue;
    uintptr_t begin = info->dlpi_addr + part->p_vaddr;
    if (begin < main_begin) main_begin = begin;
    if (begin + part->p_memsz > main_end) main_end = begin + part->p_memsz;
  }
  return first ? !library : 1;
}

/* A reading of the clock takes 1 us, so that time passes within a turn. Readings by libraries take none: an allocator
 * reads it as often as its memory happens to lie. Nor do those of helper threads. */
static int64_t read_clock(void *caller) {
  if (!main_end) dl_iterate_phdr(measure_main, getenv("CACHEQUAKE_PROGRAM"));
  if (is_main && (uintptr_t)caller - main_begin < main_end - main_begin) ticks++;
  return virtual_ns();
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *time) {
  if (!joined) return (int)syscall(SYS_clock_gettime, clock, time);
  bool coarse = clock == CLOCK_MONOTONIC_COARSE; /* an allocator's, also where that is a part of the program */
  int64_t ns = read_clock(coarse ? NULL : __builtin_return_address(0));
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI) ns += EPOCH_NS + skew_ns;
  else if (clock != CLOCK_PROCESS_CPUTIME_ID && clock != CLOCK_THREAD_CPUTIME_ID) ns += BOOT_NS;
  *time = (struct timespec){ns / 1000000000, ns % 1000000000};
  return 0;
}

EXPORT int gettimeofday(struct timeval *time, void *zone) {
  (void)zone;
  struct timespec now;
  if (!joined) syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  else {
    int64_t ns = read_clock(__builtin_return_address(0)) + EPOCH_NS + skew_ns;
    now = (struct timespec){ns / 1000000000, ns % 1000000000};
  }
  *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

EXPORT time_t time(time_t *result) {
  struct timespec now;
  if (!joined) syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  else now.tv_sec = (read_clock(__builtin_return_address(0)) + EPOCH_NS + skew_ns) / 1000000000;
  if (result) *result = now.tv_sec;
  return now.tv_sec;
}

EXPORT clock_t clock(void) { return (clock_t)(virtual_ns() / 1000); }

/* Processor time and memory are the machine's, not the run's. */
EXPORT int getrusage(int who, struct rusage *usage) {
  if (!joined) return (int)syscall(SYS_getrusage, who, usage);
  memset(usage, 0, sizeof *usage);
  return 0;
}

/* Chance: SplitMix64 from the seed that the controller gave this process. */

static uint64_t chance(void) {
  static uint64_t state;
  static bool seeded;
  if (!seeded) state = (uint64_t)own_number("CACHEQUAKE_SEED", 1), seeded = true;
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static void fill(void *buffer, size_t size) {
  for (size_t at = 0; at < size; at += 8) {
    uint64_t word = chance();
    memcpy((char *)buffer + at, &word, size - at < 8 ? size - at : 8);
  }
}

EXPORT ssize_t getrandom(void *buffer, size_t size, unsigned flags) {
  if (!joined) return syscall(SYS_getrandom, buffer, size, flags);
  return fill(buffer, size), (ssize_t)size;
}

EXPORT int getentropy(void *buffer, size_t size) { return getrandom(buffer, size, 0) < 0 ? -1 : 0; }
EXPORT uint32_t arc4random(void) { return (uint32_t)chance(); }
EXPORT void arc4random_buf(void *buffer, size_t size) { fill(buffer, size); }
EXPORT uint32_t arc4random_uniform(uint32_t bound) { return (uint32_t)((uint64_t)arc4random() * bound >> 32); }

/* Where the server believes to be: run directories have names of their own, and their length would show. */
EXPORT char *getcwd(char *buffer, size_t size) {
  const char *said = getenv("CACHEQUAKE_DIRECTORY");
  if (!said) return syscall(SYS_getcwd, buffer, size) < 0 ? NULL : buffer;
  if (!buffer) return strdup(said);
  if (strlen(said) >= size) return errno = ERANGE, NULL;
  return strcpy(buffer, said);
}

/* CONFIG REWRITE writes that place down, and the next start goes there: to where the server is. */
EXPORT int chdir(const char *path) {
  const char *said = getenv("CACHEQUAKE_DIRECTORY");
  return said && !strcmp(path, said) ? 0 : (int)syscall(SYS_chdir, path);
}

/* Files that tell about the machine. /proc/cpuinfo would name a time-stamp counter, which nobody can redirect. */

#define RANDOM_BYTES 65536

static int random_file(void) {
  static char bytes[RANDOM_BYTES];
  int fd = memfd_create("random", MFD_CLOEXEC);
  fill(bytes, sizeof bytes);
  if (fd >= 0 && (syscall(SYS_write, fd, bytes, sizeof bytes) < 0 || lseek(fd, 0, SEEK_SET) < 0)) return -1;
  return fd;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), tail = strlen(end);
  return length >= tail && !strcmp(text + length - tail, end);
}

static bool is_random(const char *path) { return !strcmp(path, "/dev/urandom") || !strcmp(path, "/dev/random"); }

static bool tells_of_the_machine(const char *path) {
  return !strncmp(path, "/proc/", 6) && (!strcmp(path, "/proc/cpuinfo") || ends_with(path, "/stat") ||
                                         ends_with(path, "/smaps") || ends_with(path, "/statm"));
}

/* What is really opened: a file below the directory where the server believes to be lies in the real one. */
static const char *redirected(const char *path) {
  if (!joined) return path;
  if (tells_of_the_machine(path)) return "/dev/null";
  const char *said = getenv("CACHEQUAKE_DIRECTORY");
  size_t length = said ? strlen(said) : 0;
  if (!length || strncmp(path, said, length)) return path;
  return !path[length] ? "." : path[length] == '/' ? path + length + 1 : path;
}

static int open_at(int directory, const char *path, int flags, mode_t mode) {
  if (joined && is_random(path)) return random_file();
  int fd = (int)syscall(SYS_openat, directory, redirected(path), flags, mode);
  if (fd >= 0 && flags & O_CREAT) note_new(fd);
  return fd;
}

static mode_t mode_of(int flags, va_list rest) {
  return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                          \
  EXPORT int name(const char *path, int flags, ...) {       \
    va_list rest;                                           \
    va_start(rest, flags);                                  \
    mode_t mode = mode_of(flags, rest);                     \
    va_end(rest);                                           \
    return open_at(AT_FDCWD, path, flags, mode);            \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                               \
  EXPORT int name(int directory, const char *path, int flags, ...) { \
    va_list rest;                                                  \
    va_start(rest, flags);                                         \
    mode_t mode = mode_of(flags, rest);                            \
    va_end(rest);                                                  \
    return open_at(directory, path, flags, mode);                  \
  }
OPENAT(openat)
OPENAT(openat64)

/* A server that writes its configuration file anew (CONFIG REWRITE; a Sentinel does it all the time) names it in full. */

EXPORT int access(const char *path, int mode) { return (int)syscall(SYS_faccessat, AT_FDCWD, redirected(path), mode); }

EXPORT int rename(const char *from, const char *to) {
  int verdict = on_rename(to);
  if (verdict > 0) return errno = verdict, -1;
  int error = (int)syscall(SYS_renameat2, AT_FDCWD, redirected(from), AT_FDCWD, redirected(to), 0);
  over(verdict);
  return error;
}

/* The letters that are drawn land in `path`, of which the redirected one is the end. */
#define MKOSTEMP(name)                                                  \
  EXPORT int name(char *path, int flags) {                              \
    static int (*real)(char *, int);                                    \
    if (!real) real = (int (*)(char *, int))dlsym(RTLD_NEXT, #name);    \
    return real((char *)redirected(path), flags);                       \
  }
MKOSTEMP(mkostemp)
MKOSTEMP(mkostemp64)

#define FOPEN(name)                                                                  \
  EXPORT FILE *name(const char *path, const char *mode) {                            \
    static FILE *(*real)(const char *, const char *);                                \
    if (!real) real = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #name); \
    if (joined && is_random(path)) return fdopen(random_file(), "r");              \
    return real(redirected(path), mode);                                             \
  }
FOPEN(fopen)
FOPEN(fopen64)
