/* Another wall clock for a whole tree of processes: LD_PRELOAD it, with CLOCK_OFFSET_S seconds to be added.

   Python, the daemon and mongod then agree on a time that is not now. The monotonic clock stays, so waits last as long
   as ever. (libfaketime 0.9.10 does not do here: with the monotonic clock left alone, Python's time.sleep fails in its
   clock_nanosleep; with it shifted too, waits for a lock never end.)  Built and used by `make test-clock`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define YEAR_2000 946684800 /* an absolute time before it is one of the monotonic clock */

static time_t offset(void) {
    static time_t seconds;
    static int known;
    if (!known) {
        const char *given = getenv("CLOCK_OFFSET_S");
        seconds = given ? atoll(given) : 0;
        known = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    clock_gettime(CLOCK_REALTIME, now);
    return base;
}

/* Waits until a wall time: the kernel knows only the real one. */

static struct timespec real(const struct timespec *until) {
    struct timespec found = *until;
    if (found.tv_sec > YEAR_2000) found.tv_sec -= offset();
    return found;
}

static void *next(const char *name, const char *version) {
    void *found = dlvsym(RTLD_NEXT, name, version);
    return found ? found : dlsym(RTLD_NEXT, name);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*libc)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!libc) libc = next("pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec then = real(until);
    return libc(cond, mutex, &then);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    static int (*libc)(sem_t *, const struct timespec *);
    if (!libc) libc = next("sem_timedwait", "GLIBC_2.34");
    struct timespec then = real(until);
    return libc(semaphore, &then);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    static int (*libc)(pthread_mutex_t *, const struct timespec *);
    if (!libc) libc = next("pthread_mutex_timedlock", "GLIBC_2.34");
    struct timespec then = real(until);
    return libc(mutex, &then);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    struct timespec then = clock == CLOCK_REALTIME && flags & TIMER_ABSTIME ? real(until) : *until;
    return syscall(SYS_clock_nanosleep, clock, flags, &then, left) ? errno : 0;
}
