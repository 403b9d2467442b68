/*
 * A wall clock that is wrong: preloaded into a server, it adds an offset to gettimeofday, time and
 * clock_gettime(CLOCK_REALTIME). The monotonic clock stays as it is.
 *
 * The offset, nanoseconds as a signed 64-bit number, is read at every call from the file that CACHEQUAKE_SKEW names;
 * the file is mapped, so whoever writes to it changes the clock of a running server. Without the file it is 0.
 *
 * Nothing is linked: the few names it needs are in every libc, so one library serves glibc and musl. The time comes
 * from the system call, since looking the real function up may call malloc, and malloc may ask for the time.
 */

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define NS_PER_S 1000000000LL

static const char NAME[] = "CACHEQUAKE_SKEW=";
static const int64_t *mapped;

extern char **environ;

static const char *path(void)
{
    for (char **entry = environ; entry && *entry; entry++) {
        size_t at = 0;
        while (NAME[at] && (*entry)[at] == NAME[at])
            at++;
        if (!NAME[at])
            return *entry + at;
    }
    return NULL;
}

__attribute__((constructor)) static void map_offset(void)
{
    const char *name = path();
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof *mapped, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED)
        mapped = found;
}

static int64_t offset_ns(void)
{
    return mapped ? __atomic_load_n(mapped, __ATOMIC_RELAXED) : 0;
}

EXPORTED int clock_gettime(clockid_t clock, struct timespec *now)
{
    int status = (int)syscall(SYS_clock_gettime, clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t total = now->tv_sec * NS_PER_S + now->tv_nsec + offset_ns();
        now->tv_sec = total / NS_PER_S;
        now->tv_nsec = total % NS_PER_S;
    }
    return status;
}

EXPORTED int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

EXPORTED time_t time(time_t *now)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}
