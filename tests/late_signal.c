/* Put before libc with LD_PRELOAD: a signal comes in the last moment before each `poll`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>

int poll(struct pollfd *polled, nfds_t count, int milliseconds)
{
    int (*real)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");
    raise(SIGUSR1);
    return real(polled, count, milliseconds);
}
