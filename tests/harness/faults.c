/* A disk that fails and stalls on demand, for a server that is started with this as LD_PRELOAD.
 *
 * $TANDEM_FAULTS names a file with a `struct control`, mapped by the server and by whoever orders faults. They concern
 * calls on files below a folder named appendonlydir alone: the log of the server, and renames into it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, RENAMES = 4 };

struct control {
    uint32_t calls;    /* which calls are concerned: bits as above */
    uint32_t error;    /* what they fail with; 0: they do not */
    uint32_t delay_ms; /* how long they take before that */
    uint32_t one_in;   /* every so many of them; 0: none */
    uint32_t begun;    /* calls that a fault has met */
    uint32_t ended;    /* and those of them that are over */
    uint32_t seen;
};

static struct control *control(void) {
    static struct control *mapped;
    if (!mapped) {
        const char *path = getenv("TANDEM_FAULTS");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) abort();
        close(fd);
        mapped = at;
    }
    return mapped;
}

static int concerns(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "appendonlydir") != NULL;
}

/* Whether the call is to fail, with errno set. */
static int fails(uint32_t call) {
    struct control *c = control();
    uint32_t one_in = c->one_in;
    if (!(c->calls & call) || one_in == 0 || __atomic_add_fetch(&c->seen, 1, __ATOMIC_SEQ_CST) % one_in) return 0;
    __atomic_add_fetch(&c->begun, 1, __ATOMIC_SEQ_CST);
    struct timespec delay = {c->delay_ms / 1000, c->delay_ms % 1000 * 1000000L};
    nanosleep(&delay, NULL);
    __atomic_add_fetch(&c->ended, 1, __ATOMIC_SEQ_CST);
    errno = (int)c->error;
    return c->error != 0;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (control()->calls & WRITES && concerns(fd) && fails(WRITES)) {
        int error = errno;
        /* A full disk takes a part first. */
        if (length > 1 && error == ENOSPC && control()->seen % 2) return real(fd, bytes, length / 2);
        errno = error;
        return -1;
    }
    return real(fd, bytes, length);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return control()->calls & SYNCS && concerns(fd) && fails(SYNCS) ? -1 : real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return control()->calls & SYNCS && concerns(fd) && fails(SYNCS) ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "rename");
    return control()->calls & RENAMES && strstr(to, "appendonlydir") && fails(RENAMES) ? -1 : real(from, to);
}
