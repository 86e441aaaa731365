/* Preloaded into a program: its wall clock is ahead by the seconds in the file named after its pid, else in the file `all`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char folder[1000];

/* Read once, for programs that write their titles over their environment. */
__attribute__((constructor)) static void remember(void) {
    const char *given = getenv("CLOCK_FOLDER");
    snprintf(folder, sizeof folder, "%s", given ? given : "/nowhere");
}

static long seconds_ahead(void) {
    int before = errno;
    char path[1100], text[32] = "";
    snprintf(path, sizeof path, "%s/%d", folder, getpid());
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        snprintf(path, sizeof path, "%s/all", folder);
        file = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
        close(file);
    }
    errno = before;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += seconds_ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
