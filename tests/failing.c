/* Put before libc with LD_PRELOAD: lets the n-th call that is about files below a folder fail, be
   shortened, or kill the process. The variables are set from outside; see failing.py. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* The order is that of KINDS in failing.py. */
enum { OPEN, CREATE, READ, WRITE, SYNC, ALLOCATE, TRUNCATE, RENAME, REMOVE, MAKE, LOCK, CLOSE, LIST };
/* And this that of ACTIONS. */
enum { NOTHING, FAIL, FAIL_EVER_AFTER, SHORTEN, SHORTEN_AND_FAIL, DIE };

char failing_folder[4096];
long failing_kinds;  /* a bit for each that counts */
long failing_number; /* of the call, from 1 on; 0: only count */
long failing_action;
long failing_errno;
long failing_count;
char failing_seen[1 << 16]; /* the kinds of the calls so far */

static int below(const char *path)
{
    return failing_folder[0] && strncmp(path, failing_folder, strlen(failing_folder)) == 0;
}

static int descriptor_below(int descriptor)
{
    char link[64], path[4096];
    ssize_t length;

    if (!failing_folder[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below(path);
}

/* What is to happen to a call: one of the actions. */
static int fate(int kind, int ours)
{
    if (!ours || !(failing_kinds >> kind & 1))
        return NOTHING;
    failing_seen[failing_count++ % (long)sizeof failing_seen] = (char)kind;
    if (failing_number == 0 || failing_count < failing_number)
        return NOTHING;
    if (failing_count > failing_number && failing_action != FAIL_EVER_AFTER)
        return failing_action == SHORTEN_AND_FAIL && failing_count == failing_number + 1
            ? FAIL : NOTHING;
    if (failing_action == DIE)
        kill(getpid(), SIGKILL);
    return (int)failing_action;
}

static int fails(int kind, int ours)
{
    int action = fate(kind, ours);

    if (action != FAIL && action != FAIL_EVER_AFTER)
        return 0;
    errno = (int)failing_errno;
    return 1;
}

/* The function of libc behind this one. */
#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static int open_any(const char *name, int folder, const char *path, int flags, va_list rest)
{
    int ours = path[0] == '/' ? below(path) : descriptor_below(folder);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;

    if (fails(flags & O_CREAT ? CREATE : OPEN, ours))
        return -1;
    return NEXT(int (*)(int, const char *, int, ...), name)(folder, path, flags, mode);
}

#define OPEN_FUNCTION(name, behind)                      \
    int name(const char *path, int flags, ...)           \
    {                                                    \
        va_list rest;                                    \
        int result;                                      \
        va_start(rest, flags);                           \
        result = open_any(behind, AT_FDCWD, path, flags, rest); \
        va_end(rest);                                    \
        return result;                                   \
    }
OPEN_FUNCTION(open, "openat")
OPEN_FUNCTION(open64, "openat64")

#define OPENAT_FUNCTION(name)                              \
    int name(int folder, const char *path, int flags, ...) \
    {                                                      \
        va_list rest;                                      \
        int result;                                        \
        va_start(rest, flags);                             \
        result = open_any(#name, folder, path, flags, rest); \
        va_end(rest);                                      \
        return result;                                     \
    }
OPENAT_FUNCTION(openat)
OPENAT_FUNCTION(openat64)

#define WRITE_FUNCTION(name, offset_type)                                              \
    ssize_t name(int descriptor, const void *data, size_t size, offset_type offset)    \
    {                                                                                  \
        int action = fate(WRITE, descriptor_below(descriptor));                        \
        if (action == FAIL || action == FAIL_EVER_AFTER) {                             \
            errno = (int)failing_errno;                                                \
            return -1;                                                                 \
        }                                                                              \
        if (action == SHORTEN || action == SHORTEN_AND_FAIL)                           \
            size = (size + 1) / 2;                                                     \
        return NEXT(ssize_t (*)(int, const void *, size_t, offset_type), #name)(       \
            descriptor, data, size, offset);                                           \
    }
WRITE_FUNCTION(pwrite, off_t)
WRITE_FUNCTION(pwrite64, off64_t)

#define READ_FUNCTION(name, offset_type)                                        \
    ssize_t name(int descriptor, void *data, size_t size, offset_type offset)   \
    {                                                                           \
        int action = fate(READ, descriptor_below(descriptor));                  \
        if (action == FAIL || action == FAIL_EVER_AFTER) {                      \
            errno = (int)failing_errno;                                         \
            return -1;                                                          \
        }                                                                       \
        if (action == SHORTEN)                                                  \
            size = (size + 1) / 2;                                              \
        return NEXT(ssize_t (*)(int, void *, size_t, offset_type), #name)(      \
            descriptor, data, size, offset);                                    \
    }
READ_FUNCTION(pread, off_t)
READ_FUNCTION(pread64, off64_t)

/* A function whose first argument is a descriptor, and which fails with -1. */
#define DESCRIPTOR_FUNCTION(name, kind, parameters, types, arguments) \
    int name parameters                                              \
    {                                                                \
        if (fails(kind, descriptor_below(descriptor)))               \
            return -1;                                               \
        return NEXT(int(*) types, #name) arguments;                  \
    }
DESCRIPTOR_FUNCTION(fdatasync, SYNC, (int descriptor), (int), (descriptor))
DESCRIPTOR_FUNCTION(fsync, SYNC, (int descriptor), (int), (descriptor))
DESCRIPTOR_FUNCTION(flock, LOCK, (int descriptor, int how), (int, int), (descriptor, how))
DESCRIPTOR_FUNCTION(ftruncate, TRUNCATE, (int descriptor, off_t size), (int, off_t),
                    (descriptor, size))
DESCRIPTOR_FUNCTION(ftruncate64, TRUNCATE, (int descriptor, off64_t size), (int, off64_t),
                    (descriptor, size))
DESCRIPTOR_FUNCTION(renameat, RENAME,
                    (int descriptor, const char *old, int folder, const char *new),
                    (int, const char *, int, const char *), (descriptor, old, folder, new))
DESCRIPTOR_FUNCTION(unlinkat, REMOVE, (int descriptor, const char *path, int flags),
                    (int, const char *, int), (descriptor, path, flags))

DESCRIPTOR_FUNCTION(mkdirat, MAKE, (int descriptor, const char *path, mode_t mode),
                    (int, const char *, mode_t), (descriptor, path, mode))

int mkdir(const char *path, mode_t mode)
{
    if (fails(MAKE, below(path)))
        return -1;
    return NEXT(int (*)(const char *, mode_t), "mkdir")(path, mode);
}

/* Linux gives the descriptor up also when it reports a failure. */
int close(int descriptor)
{
    int failed = fails(CLOSE, descriptor_below(descriptor));
    int code = errno;
    int result = NEXT(int (*)(int), "close")(descriptor);

    if (!failed)
        return result;
    errno = code;
    return -1;
}

/* These return the error. */
#define ALLOCATE_FUNCTION(name, offset_type)                                              \
    int name(int descriptor, offset_type offset, offset_type size)                        \
    {                                                                                     \
        if (fails(ALLOCATE, descriptor_below(descriptor)))                                \
            return errno;                                                                 \
        return NEXT(int (*)(int, offset_type, offset_type), #name)(descriptor, offset, size); \
    }
ALLOCATE_FUNCTION(posix_fallocate, off_t)
ALLOCATE_FUNCTION(posix_fallocate64, off64_t)

DIR *fdopendir(int descriptor)
{
    if (fails(LIST, descriptor_below(descriptor)))
        return NULL;
    return NEXT(DIR * (*)(int), "fdopendir")(descriptor);
}
