/*
 * System calls that fail by lot: loaded into a cache with LD_PRELOAD, driven through a file that tools/faults maps.
 *
 * The file is an array of slots. A slot says which call, how it fails (an errno; 0: it transfers fewer octets than it
 * could) and how often, in a million; and it counts. Calls on sockets fail for TCP only, so that manager and child
 * still understand each other; writing fails for regular files only. The clock of the wall is set by slot 0.
 *
 * VARNISHPY_FAULTS names the file. A process whose id stands in slot 0 is spared: the manager.
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
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { CLOCK, RECV, SEND, ACCEPT, CONNECT, SOCKET, THREAD, EVENTFD, EPOLL, WRITE, OPEN };

struct slot {
	int32_t call;
	int32_t error;
	uint32_t rate;		/* in a million */
	uint32_t spare;		/* slot 0: process that is spared */
	uint64_t count;		/* slot 0: seconds that the clock is ahead, signed */
};

#define SLOTS 128

static struct slot *slots;
static __thread uint64_t state;

static void *
next(const char *name)
{
	return (dlsym(RTLD_NEXT, name));
}

#define NEXT(type, name) \
	static __typeof__(type) real; \
	if (real == NULL) \
		real = (__typeof__(type))next(name)

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("VARNISHPY_FAULTS");
	int fd;

	if (path == NULL)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	slots = mmap(NULL, SLOTS * sizeof *slots, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (slots == MAP_FAILED)
		slots = NULL;
	(void)close(fd);
}

static uint32_t
draw(void)
{
	if (state == 0)
		state = (uintptr_t)&state ^ (uint64_t)getpid() << 32 ^ 0x9e3779b97f4a7c15ULL;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return ((uint32_t)(state >> 16));
}

static int
is_tcp(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;
	int before = errno, result;

	result = getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
	    (address.ss_family == AF_INET || address.ss_family == AF_INET6);
	errno = before;
	return (result);
}

static int
is_file(int fd)
{
	struct stat status;
	int before = errno, result;

	result = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
	errno = before;
	return (result);
}

/* What shall happen to a call: -1 nothing, 0 a short transfer, else an errno. */
static int
fate(enum call call, int fd)
{
	if (slots == NULL)
		return (-1);
	for (int i = 1; i < SLOTS; i++) {
		struct slot *s = &slots[i];

		if (s->rate == 0 || s->call != (int32_t)call || draw() % 1000000 >= s->rate)
			continue;
		if (slots[0].spare == (uint32_t)getpid())
			return (-1);
		if (call >= RECV && call <= CONNECT && call != ACCEPT && !is_tcp(fd))
			return (-1);
		if (call == WRITE && !is_file(fd))
			return (-1);
		__atomic_add_fetch(&s->count, 1, __ATOMIC_RELAXED);
		return (s->error);
	}
	return (-1);
}

static size_t
shorter(size_t length)
{
	return (length < 2 ? length : 1 + draw() % (length - 1));
}

#define FAIL(result) do { errno = what; return (result); } while (0)

ssize_t
recv(int fd, void *buffer, size_t length, int flags)
{
	NEXT(ssize_t (*)(int, void *, size_t, int), "recv");
	int what = fate(RECV, fd);

	if (what > 0)
		FAIL(-1);
	return (real(fd, buffer, what == 0 ? shorter(length) : length, flags));
}

ssize_t
send(int fd, const void *buffer, size_t length, int flags)
{
	NEXT(ssize_t (*)(int, const void *, size_t, int), "send");
	int what = fate(SEND, fd);

	if (what > 0)
		FAIL(-1);
	return (real(fd, buffer, what == 0 ? shorter(length) : length, flags));
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	NEXT(ssize_t (*)(int, const struct msghdr *, int), "sendmsg");
	int what = fate(SEND, fd);
	struct msghdr part;
	struct iovec piece;

	if (what > 0)
		FAIL(-1);
	if (what == 0 && message->msg_iovlen > 0 && message->msg_iov[0].iov_len > 0) {
		piece = message->msg_iov[0];
		piece.iov_len = shorter(piece.iov_len);
		part = *message;
		part.msg_iov = &piece;
		part.msg_iovlen = 1;
		return (real(fd, &part, flags));
	}
	return (real(fd, message, flags));
}

int
accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	NEXT(int (*)(int, struct sockaddr *, socklen_t *, int), "accept4");
	int what = fate(ACCEPT, fd);

	if (what > 0)
		FAIL(-1);
	return (real(fd, address, length, flags));
}

int
connect(int fd, const struct sockaddr *address, socklen_t length)
{
	NEXT(int (*)(int, const struct sockaddr *, socklen_t), "connect");
	int what = address->sa_family == AF_UNIX ? -1 : fate(CONNECT, fd);

	if (what > 0)
		FAIL(-1);
	return (real(fd, address, length));
}

int
socket(int family, int kind, int protocol)
{
	NEXT(int (*)(int, int, int), "socket");
	int what = family == AF_UNIX ? -1 : fate(SOCKET, -1);

	if (what > 0)
		FAIL(-1);
	return (real(family, kind, protocol));
}

int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
	NEXT(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *), "pthread_create");
	int what = fate(THREAD, -1);

	return (what > 0 ? what : real(thread, attributes, start, argument));
}

int
eventfd(unsigned int value, int flags)
{
	NEXT(int (*)(unsigned int, int), "eventfd");
	int what = fate(EVENTFD, -1);

	if (what > 0)
		FAIL(-1);
	return (real(value, flags));
}

int
epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	NEXT(int (*)(int, int, int, struct epoll_event *), "epoll_ctl");
	int what = operation == EPOLL_CTL_DEL ? -1 : fate(EPOLL, fd);

	if (what > 0)
		FAIL(-1);
	return (real(epoll, operation, fd, event));
}

ssize_t
write(int fd, const void *buffer, size_t length)
{
	NEXT(ssize_t (*)(int, const void *, size_t), "write");
	int what = fate(WRITE, fd);

	if (what > 0)
		FAIL(-1);
	return (real(fd, buffer, what == 0 ? shorter(length) : length));
}

static int
open_mode(const char *path, int flags, mode_t mode)
{
	NEXT(int (*)(const char *, int, ...), "open");
	int what = flags & (O_WRONLY | O_RDWR | O_CREAT) ? fate(OPEN, -1) : -1;

	if (what > 0)
		FAIL(-1);
	return (real(path, flags, mode));
}

#define OPENER(name) \
int \
name(const char *path, int flags, ...) \
{ \
	va_list arguments; \
	mode_t mode; \
\
	va_start(arguments, flags); \
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
	va_end(arguments); \
	return (open_mode(path, flags, mode)); \
}

OPENER(open)
OPENER(open64)

int
clock_gettime(clockid_t id, struct timespec *now)
{
	NEXT(int (*)(clockid_t, struct timespec *), "clock_gettime");
	int result = real(id, now);

	if (id == CLOCK_REALTIME && slots != NULL && slots[0].spare != (uint32_t)getpid())
		now->tv_sec += (time_t)slots[0].count;
	return (result);
}
