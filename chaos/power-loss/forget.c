/*
 * Forgets writes that were not flushed, as a power cut would: preloaded into every process of a Postgres.
 *
 * Before a write to a file below CHAOS_UNDO_OF, what the file holds there goes into an undo log of that file, in CHAOS_UNDO.
 * fsync and fdatasync empty the undo log: from then on the file's content survives. After everything was killed, the chaos
 * runner plays the undo logs back, newest first. Names, links and removals count as durable at once; that is kinder than a
 * disk, and enough to lose what was not flushed.
 *
 * A record: offset, length of the old bytes, length of the file before the write, the old bytes, then the length of the whole
 * record, so that the log can be read from its end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static const char *undo_dir;
static const char *undo_of;

__attribute__((constructor)) static void start(void)
{
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    /* Copies: Postgres shows what it does where its environment was. */
    undo_dir = getenv("CHAOS_UNDO") ? strdup(getenv("CHAOS_UNDO")) : NULL;
    undo_of = getenv("CHAOS_UNDO_OF") ? strdup(getenv("CHAOS_UNDO_OF")) : NULL;
}

/* The locked undo log of a file that is ours to forget, or -1. */
static int undo_log(int fd)
{
    char link[64], path[PATH_MAX], log[PATH_MAX];
    struct stat at;
    int saved = errno;
    if (!undo_dir || !undo_of || fstat(fd, &at) != 0 || !S_ISREG(at.st_mode)) {
        errno = saved;
        return -1;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) {
        errno = saved;
        return -1;
    }
    path[length] = 0;
    if (!strstr(path, undo_of)) {
        errno = saved;
        return -1;
    }
    for (char *at_slash = path; *at_slash; at_slash++)
        if (*at_slash == '/')
            *at_slash = '%';
    if (snprintf(log, sizeof log, "%s/%s", undo_dir, path) >= (int)sizeof log) {
        errno = saved;
        return -1;
    }
    int undo = open(log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (undo >= 0)
        flock(undo, LOCK_EX);
    errno = saved;
    return undo;
}

/* Keeps what a write of `length` bytes at `offset` is about to replace. */
static void keep(int undo, int fd, off_t offset, size_t length)
{
    struct stat at;
    int saved = errno;
    if (fstat(fd, &at) != 0)
        return;
    size_t old = 0;
    if (offset < at.st_size)
        old = (size_t)(at.st_size - offset) < length ? (size_t)(at.st_size - offset) : length;
    uint64_t head[3] = {(uint64_t)offset, old, (uint64_t)at.st_size};
    size_t total = sizeof head + old + sizeof(uint64_t);
    char *record = malloc(total);
    if (record) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        memcpy(record, head, sizeof head);
        int reading = old ? open(name, O_RDONLY | O_CLOEXEC) : -1;
        if (!old || (reading >= 0 && pread(reading, record + sizeof head, old, offset) == (ssize_t)old)) {
            uint64_t whole = total;
            memcpy(record + sizeof head + old, &whole, sizeof whole);
            if (real_write(undo, record, total) != (ssize_t)total)
                abort();
        }
        if (reading >= 0)
            close(reading);
        free(record);
    }
    errno = saved;
}

static void done(int undo)
{
    int saved = errno;
    close(undo);
    errno = saved;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    int undo = undo_log(fd);
    if (undo >= 0)
        keep(undo, fd, offset, length);
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    if (undo >= 0)
        done(undo);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
    return pwrite(fd, bytes, length, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    int undo = undo_log(fd);
    if (undo >= 0) {
        size_t length = 0;
        for (int part = 0; part < count; part++)
            length += parts[part].iov_len;
        keep(undo, fd, offset, length);
    }
    ssize_t written = real_pwritev(fd, parts, count, offset);
    if (undo >= 0)
        done(undo);
    return written;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    int undo = undo_log(fd);
    if (undo >= 0) {
        off_t offset = lseek(fd, 0, SEEK_CUR);
        if (offset >= 0)
            keep(undo, fd, offset, length);
    }
    ssize_t written = real_write(fd, bytes, length);
    if (undo >= 0)
        done(undo);
    return written;
}

/* Empties the undo log when the flush has succeeded: nothing can be written in between, the log is locked. */
static int flush(int fd, int (*real)(int))
{
    int undo = undo_log(fd);
    int flushed = real(fd);
    if (undo >= 0) {
        int saved = errno;
        if (flushed == 0 && ftruncate(undo, 0) != 0)
            abort();
        close(undo);
        errno = saved;
    }
    return flushed;
}

int fsync(int fd)
{
    return flush(fd, real_fsync);
}

int fdatasync(int fd)
{
    return flush(fd, real_fdatasync);
}
