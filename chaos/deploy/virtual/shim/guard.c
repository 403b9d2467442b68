/* A guard against calls that the shim does not take over: they would let real time or a real network in, unnoticed.
 *
 * A seccomp filter, in the process itself, lets the kernel end it with SIGSYS when it opens an internet socket or
 * waits in epoll for longer than no time: the shim does neither. What a filter cannot see stays unguarded: clocks are
 * read without a system call.
 */
#include "shim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no) /* instructions to skip */
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define END BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#ifndef SYS_epoll_wait
#define SYS_epoll_wait SYS_epoll_pwait /* newer machines have one of the two */
#endif

void guard(void) {
  static struct sock_filter filter[] = {
      LOAD(arch),
      IS(ARCHITECTURE, 1, 0),
      ALLOW,
      LOAD(nr),
      IS(SYS_epoll_wait, 5, 0),
      IS(SYS_epoll_pwait, 4, 0),
      IS(SYS_socket, 0, 5),
      LOAD(args[0]), /* of socket: its family */
      IS(AF_INET, 4, 0),
      IS(AF_INET6, 3, 2),
      LOAD(args[3]), /* of epoll: how long to wait */
      IS(0, 0, 1),
      ALLOW,
      END,
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
#else
void guard(void) {}
#endif
