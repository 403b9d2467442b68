/* What is safe on the disk: after each fsync the file's number and size are noted in a file of their own.
 *
 * When the power fails, everything that was written since is gone. The controller cuts the files off by these notes;
 * a new file is noted as empty, since file numbers are used again.
 */
#include "shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define NOTES "synced"

static void note_size(int fd, bool only_empty) {
  struct stat about;
  char line[64];
  if (!joined || fstat(fd, &about) || !S_ISREG(about.st_mode) || (only_empty && about.st_size)) return;
  int notes = (int)syscall(SYS_openat, AT_FDCWD, NOTES, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (notes < 0) return;
  int size = snprintf(line, sizeof line, "%llu %lld\n", (unsigned long long)about.st_ino, (long long)about.st_size);
  (void)!syscall(SYS_write, notes, line, size);
  syscall(SYS_close, notes);
}

void note_new(int fd) { note_size(fd, true); }

#define SYNC(name)                               \
  EXPORT int name(int fd) {                      \
    int verdict = on_sync(fd);                   \
    if (verdict > 0) return errno = verdict, -1; \
    int error = (int)syscall(SYS_##name, fd);    \
    if (!error) note_size(fd, false);            \
    over(verdict);                               \
    return error;                                \
  }
SYNC(fsync)
SYNC(fdatasync)
