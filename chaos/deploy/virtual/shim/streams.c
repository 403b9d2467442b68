/* Files that are written through stdio, as snapshots are: libc writes their bytes by calls of its own, which nobody
 * can take over. They are made when the stream's buffer overflows or is flushed, which can be told beforehand.
 */
#include "shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdio_ext.h>

#define FIRST_BUFFER 4096 /* of a stream that has none yet */

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

EXPORT size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
  static size_t (*write_all)(const void *, size_t, size_t, FILE *);
  if (!write_all) write_all = (size_t(*)(const void *, size_t, size_t, FILE *))real("fwrite");
  size_t room = __fbufsize(stream) ? __fbufsize(stream) : FIRST_BUFFER;
  int verdict = __fpending(stream) + size * count > room ? on_write(fileno(stream)) : 0;
  if (verdict > 0) return errno = verdict, 0;
  size_t done = write_all(bytes, size, count, stream);
  over(verdict);
  return done;
}

static int on_flush(FILE *stream) { return stream && __fpending(stream) ? on_write(fileno(stream)) : 0; }

EXPORT int fflush(FILE *stream) {
  static int (*flush)(FILE *);
  if (!flush) flush = (int (*)(FILE *))real("fflush");
  int verdict = on_flush(stream);
  if (verdict > 0) return errno = verdict, EOF;
  int result = flush(stream);
  over(verdict);
  return result;
}

EXPORT int fclose(FILE *stream) {
  static int (*close_stream)(FILE *);
  if (!close_stream) close_stream = (int (*)(FILE *))real("fclose");
  int verdict = on_flush(stream);
  if (verdict > 0) __fpurge(stream); /* it is closed all the same, without what was not written */
  int result = close_stream(stream);
  over(verdict);
  return verdict > 0 ? errno = verdict, EOF : result;
}
