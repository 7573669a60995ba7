/* Stands between a process and its file system, for paths under one prefix.
 *
 * Loaded with LD_PRELOAD.  It fails, delays or shortens calls as a control file says that another
 * process may change at any time (struct control, written by faultfs.py), and it can record what
 * reaches the disk, in order and with the data, for a model of power cuts (power_model.py).
 *
 *   FAULTFS_PREFIX   paths that start so are watched
 *   FAULTFS_CONTROL  the control file
 *   FAULTFS_NO_SYNC  when set, fsync and fdatasync only get recorded: faster, where a model decides
 *                    what is durable
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum operation { OPEN, READ, WRITE, SYNC, TRUNCATE, UNLINK, RENAME, MKDIR, STATVFS, OPERATIONS };

struct rule {
    int32_t error;    /* errno to fail with; 0 to succeed */
    int32_t skip;     /* calls to let through first */
    int32_t times;    /* calls to apply it to after that; -1 for all, 0 for none */
    int32_t delay_ms; /* wait first, for as long as the rule stays */
    int32_t shortened; /* writes store half; statvfs tells of no free space */
    int32_t hits;     /* calls it was applied to */
    char suffix[40];  /* only paths that end so */
};

struct control {
    struct rule rules[OPERATIONS];
};

enum recorded { R_OPEN, R_CLOSE, R_WRITE, R_TRUNCATE, R_SYNC, R_UNLINK, R_RENAME, R_MKDIR, R_RMDIR };

struct entry {
    int32_t what;
    int32_t fd;
    int64_t offset; /* of a write, size after truncation, errno of a failed sync, flags of an open */
    int64_t length; /* of the bytes that follow: data, or paths */
};

#define FDS 4096
static char *paths[FDS];
static const char *prefix;
static size_t prefix_length;
static volatile struct control *control;
static int no_sync;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *trace;
static size_t trace_used, trace_size;
static int tracing;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULTFS_CONTROL");
    no_sync = getenv("FAULTFS_NO_SYNC") != NULL;
    if (path) {
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
        int fd = real_open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            void *at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (at != MAP_FAILED) control = at;
        }
    }
    prefix = getenv("FAULTFS_PREFIX");
    prefix_length = prefix ? strlen(prefix) : 0;
}

/* Recording, for a program in the same process. */

void faultfs_trace(int on) {
    pthread_mutex_lock(&mutex);
    tracing = on;
    trace_used = 0;
    pthread_mutex_unlock(&mutex);
}

const char *faultfs_traced(size_t *used) {
    *used = trace_used;
    return trace;
}

static void append(const void *data, size_t size) {
    if (trace_used + size > trace_size) {
        trace_size = (trace_used + size) * 2;
        trace = realloc(trace, trace_size);
        if (!trace) abort();
    }
    memcpy(trace + trace_used, data, size);
    trace_used += size;
}

static void record(enum recorded what, int fd, int64_t offset, const void *data, size_t length) {
    if (!tracing) return;
    struct entry entry = {what, fd, offset, (int64_t)length};
    pthread_mutex_lock(&mutex);
    append(&entry, sizeof entry);
    if (length) append(data, length);
    pthread_mutex_unlock(&mutex);
}

/* Deciding. */

static int watched(const char *path) {
    return prefix_length && path && strncmp(path, prefix, prefix_length) == 0;
}

static const char *path_of(int fd) {
    return fd >= 0 && fd < FDS ? paths[fd] : NULL;
}

static int ends_with(const char *path, const char *suffix) {
    size_t length = strlen(path), wanted = strlen(suffix);
    return length >= wanted && strcmp(path + length - wanted, suffix) == 0;
}

/* Return 0 to go on, an errno to fail with, or -1 to do less than what was asked for. */
static int decide(enum operation operation, const char *path) {
    if (!control || !path) return 0;
    volatile struct rule *rule = &control->rules[operation];
    if (!rule->times || !ends_with(path, (const char *)rule->suffix)) return 0;
    pthread_mutex_lock(&mutex);
    int applies = rule->times != 0;
    if (applies && rule->skip > 0) {
        rule->skip--;
        applies = 0;
    }
    int error = rule->error, delay_ms = rule->delay_ms, shortened = rule->shortened;
    if (applies) {
        if (rule->times > 0) rule->times--;
        rule->hits++;
    }
    pthread_mutex_unlock(&mutex);
    if (!applies) return 0;
    for (int slept = 0; slept < delay_ms && rule->delay_ms; slept += 10)
        nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
    return shortened ? -1 : error;
}

#define FAIL_IF(decision) \
    do { \
        int error_ = (decision); \
        if (error_ > 0) { \
            errno = error_; \
            return -1; \
        } \
    } while (0)

/* Opening and closing. */

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FDS) return fd;
    free(paths[fd]);
    paths[fd] = strdup(path);
    record(R_OPEN, fd, (flags & O_TRUNC ? 1 : 0) | (existed ? 0 : 2), path, strlen(path));
    return fd;
}

static int open_watched(int (*real)(const char *, int, ...), const char *path, int flags, int mode) {
    if (!watched(path)) return real(path, flags, mode);
    int decision = decide(OPEN, path);
    if (decision == EROFS && (flags & (O_ACCMODE | O_CREAT)) == O_RDONLY) decision = 0;
    FAIL_IF(decision);
    struct stat found;
    int existed = stat(path, &found) == 0;
    return opened(real(path, flags, mode), path, flags, existed);
}

#define DEFINE_OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0; \
        va_end(arguments); \
        return open_watched(real, path, flags, mode); \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

int close(int fd) {
    REAL(close);
    if (path_of(fd)) {
        record(R_CLOSE, fd, 0, NULL, 0);
        free(paths[fd]);
        paths[fd] = NULL;
    }
    return real(fd);
}

/* Reading and writing. */

ssize_t pread64(int fd, void *data, size_t length, off64_t offset) {
    REAL(pread64);
    FAIL_IF(decide(READ, path_of(fd)));
    return real(fd, data, length, offset);
}

static size_t to_write(int decision, size_t length) {
    return decision == -1 && length > 1 ? length / 2 : length;
}

static ssize_t written(int fd, const void *data, ssize_t length, off64_t offset) {
    if (length > 0) record(R_WRITE, fd, offset, data, (size_t)length);
    return length;
}

#define DEFINE_PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t length, off64_t offset) { \
        REAL(name); \
        const char *path = path_of(fd); \
        if (!path) return real(fd, data, length, offset); \
        int decision = decide(WRITE, path); \
        FAIL_IF(decision); \
        return written(fd, data, real(fd, data, to_write(decision, length), offset), offset); \
    }
DEFINE_PWRITE(pwrite)
DEFINE_PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t length) {
    REAL(write);
    const char *path = path_of(fd);
    if (!path) return real(fd, data, length);
    int decision = decide(WRITE, path);
    FAIL_IF(decision);
    off64_t end = fcntl(fd, F_GETFL) & O_APPEND ? lseek64(fd, 0, SEEK_END) : lseek64(fd, 0, SEEK_CUR);
    return written(fd, data, real(fd, data, to_write(decision, length)), end);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!path_of(fd)) return real(fd, parts, count);
    return count ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0; /* callers go on from there */
}

/* Callers fall back to write, which is seen. */

ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
    REAL(sendfile64);
    FAIL_IF(path_of(out) ? EINVAL : 0);
    return real(out, in, offset, count);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    REAL(copy_file_range);
    FAIL_IF(path_of(out) ? EXDEV : 0);
    return real(in, from, out, to, count, flags);
}

#define DEFINE_FALLOCATE(name) \
    int name(int fd, off64_t offset, off64_t length) { \
        REAL(name); \
        int decision = decide(WRITE, path_of(fd)); \
        return decision > 0 ? decision : real(fd, offset, length); \
    }
DEFINE_FALLOCATE(posix_fallocate)
DEFINE_FALLOCATE(posix_fallocate64)

#define DEFINE_TRUNCATE(name) \
    int name(int fd, off64_t size) { \
        REAL(name); \
        FAIL_IF(decide(TRUNCATE, path_of(fd))); \
        int result = real(fd, size); \
        if (!result && path_of(fd)) record(R_TRUNCATE, fd, size, NULL, 0); \
        return result; \
    }
DEFINE_TRUNCATE(ftruncate)
DEFINE_TRUNCATE(ftruncate64)

#define DEFINE_SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        const char *path = path_of(fd); \
        if (!path) return real(fd); \
        int decision = decide(SYNC, path); \
        int result = decision > 0 ? -1 : no_sync ? 0 : real(fd); \
        int error = decision > 0 ? decision : errno; \
        record(R_SYNC, fd, result ? error : 0, NULL, 0); \
        if (result) errno = error; \
        return result; \
    }
DEFINE_SYNC(fsync)
DEFINE_SYNC(fdatasync)

/* Names. */

#define DEFINE_NAME(name, operation, what) \
    int name(const char *path) { \
        REAL(name); \
        if (!watched(path)) return real(path); \
        FAIL_IF(decide(operation, path)); \
        int result = real(path); \
        if (!result) record(what, -1, 0, path, strlen(path)); \
        return result; \
    }
DEFINE_NAME(unlink, UNLINK, R_UNLINK)
DEFINE_NAME(rmdir, UNLINK, R_RMDIR)

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!watched(path)) return real(path, mode);
    FAIL_IF(decide(MKDIR, path));
    int result = real(path, mode);
    if (!result) record(R_MKDIR, -1, 0, path, strlen(path));
    return result;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (!watched(from) && !watched(to)) return real(from, to);
    FAIL_IF(decide(RENAME, to));
    int result = real(from, to);
    if (!result && tracing) {
        size_t length = strlen(from) + strlen(to) + 1;
        char *both = malloc(length + 1);
        if (!both) abort();
        strcpy(both, from);
        strcpy(both + strlen(from) + 1, to);
        record(R_RENAME, -1, 0, both, length);
        free(both);
    }
    return result;
}

#define DEFINE_STATVFS(name, type) \
    int name(const char *path, struct type *found) { \
        REAL(name); \
        int decision = watched(path) ? decide(STATVFS, path) : 0; \
        FAIL_IF(decision); \
        int result = real(path, found); \
        if (decision == -1) found->f_bavail = 0; \
        return result; \
    }
DEFINE_STATVFS(statvfs, statvfs)
DEFINE_STATVFS(statvfs64, statvfs64)
