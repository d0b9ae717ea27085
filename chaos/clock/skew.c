/*
 * A clock that is wrong, preloaded into a broker: what it is told of the time of day is off by what stands in the file CHAOS_CLOCK.
 *
 * The file: nanoseconds to add, then how often the time was asked while they were not 0. Clocks that count from the start of the
 * machine stay right: no operator and no NTP sets those.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct shared {
    _Atomic int64_t off;
    _Atomic uint64_t asked;
};

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static struct shared *shared;

__attribute__((constructor)) static void start(void)
{
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *map = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED)
        shared = map;
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    /* Asked before this library has started. */
    if (!real_clock_gettime)
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real_clock_gettime(clock, at);
    int64_t off = shared ? shared->off : 0;
    if (answer != 0 || off == 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return answer;
    shared->asked++;
    int64_t now = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + off;
    at->tv_sec = now / 1000000000;
    at->tv_nsec = now % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t)-1;
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}
