#include <libpq-fe.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

/* In glibc, but declared only for programs that ask for GNU extensions, which Swift's module of it does not. */
extern int ppoll(struct pollfd *descriptors, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
