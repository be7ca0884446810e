/* Stands between a process and the C library: counts the calls on the files
 * below DISK_PREFIX, and lets them fail as a bad disk does.
 *
 * From call FAULT_AT on (counting from 0), FAULT_COUNT of them fail with
 * FAULT_ERRNO. FAULT_READS=1 counts and fails reads too. The file DISK_COUNTS
 * holds three numbers of eight bytes, over all processes: calls counted, files
 * opened for reading, and bytes read.
 *
 *   cc -shared -fPIC -O1 -o disk_shim.so disk_shim.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_char ours[FILES];
/* calls, opened, bytes */
static atomic_long *counts;
static const char *prefix;
static long first, count, fails_with;
static int reads;

__attribute__((constructor)) static void begin(void) {
  first = getenv("FAULT_AT") ? atol(getenv("FAULT_AT")) : LONG_MAX;
  count = getenv("FAULT_COUNT") ? atol(getenv("FAULT_COUNT")) : LONG_MAX / 2;
  fails_with = getenv("FAULT_ERRNO") ? atol(getenv("FAULT_ERRNO")) : EIO;
  reads = getenv("FAULT_READS") != NULL;
  const char *name = getenv("DISK_COUNTS");
  int file = name ? open(name, O_RDWR) : -1;
  counts = mmap(NULL, 3 * sizeof *counts, PROT_READ | PROT_WRITE,
               file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, file, 0);
  prefix = getenv("DISK_PREFIX");  /* Last: nothing is counted before. */
}

/* Counts a call on one of our files; returns whether it fails. */
static int failing(void) {
  long number = atomic_fetch_add(counts, 1);
  if (number < first || number - first >= count) return 0;
  errno = (int)fails_with;
  return 1;
}

static int path_is_ours(int directory, const char *path) {
  char whole[PATH_MAX];
  if (!prefix || !path) return 0;
  if (path[0] == '/') return !strncmp(path, prefix, strlen(prefix));
  if (directory >= 0 && directory < FILES)
    return atomic_load(&ours[directory]);
  return getcwd(whole, sizeof whole) &&
         !strncmp(whole, prefix, strlen(prefix));
}

static int file_is_ours(int fd) {
  return fd >= 0 && fd < FILES && atomic_load(&ours[fd]);
}

static int changes(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

static int opened(int fd, int mine, int flags) {
  if (fd < 0 || fd >= FILES) return fd;
  atomic_store(&ours[fd], (char)mine);
  if (mine && !changes(flags) && !(flags & O_DIRECTORY))
    atomic_fetch_add(counts + 1, 1);
  return fd;
}

/* An opening of a file: its parameters before the flags, and the real call. */
#define OPEN(name, directory, call, ...)                           \
  int name(__VA_ARGS__, int flags, ...) {                          \
    va_list more;                                                  \
    va_start(more, flags);                                         \
    mode_t mode = va_arg(more, mode_t);                            \
    va_end(more);                                                  \
    int mine = path_is_ours(directory, path);                      \
    if (mine && (reads || changes(flags)) && failing()) return -1; \
    return opened(REAL(name) call, mine, flags);                   \
  }

OPEN(open, AT_FDCWD, (path, flags, mode), const char *path)
OPEN(open64, AT_FDCWD, (path, flags, mode), const char *path)
OPEN(openat, at, (at, path, flags, mode), int at, const char *path)
OPEN(openat64, at, (at, path, flags, mode), int at, const char *path)

int close(int fd) {
  if (fd >= 0 && fd < FILES) atomic_store(&ours[fd], 0);
  return REAL(close)(fd);
}

/* Whether a call on an open file fails; `reading` says which kind it is. */
static int fd_fails(int fd, int reading) {
  return file_is_ours(fd) && (reads || !reading) && failing();
}

static int path_fails(int directory, const char *path) {
  return path_is_ours(directory, path) && failing();
}

ssize_t write(int fd, const void *data, size_t size) {
  return fd_fails(fd, 0) ? -1 : REAL(write)(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  return fd_fails(fd, 0) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  return fd_fails(fd, 0) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  return fd_fails(fd, 0) ? -1 : REAL(writev)(fd, parts, number);
}
static ssize_t got(int fd, ssize_t size) {
  if (size > 0 && file_is_ours(fd)) atomic_fetch_add(counts + 2, size);
  return size;
}
ssize_t read(int fd, void *data, size_t size) {
  return fd_fails(fd, 1) ? -1 : got(fd, REAL(read)(fd, data, size));
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
  return fd_fails(fd, 1) ? -1 : got(fd, REAL(pread)(fd, data, size, at));
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
  return fd_fails(fd, 1) ? -1 : got(fd, REAL(pread64)(fd, data, size, at));
}
int fsync(int fd) { return fd_fails(fd, 0) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fd_fails(fd, 0) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) {
  return fd_fails(fd, 0) ? -1 : REAL(ftruncate)(fd, size);
}
int ftruncate64(int fd, off64_t size) {
  return fd_fails(fd, 0) ? -1 : REAL(ftruncate64)(fd, size);
}
int rename(const char *from, const char *to) {
  return path_fails(AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  return path_fails(b, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int link(const char *from, const char *to) {
  return path_fails(AT_FDCWD, to) ? -1 : REAL(link)(from, to);
}
int mkdir(const char *path, mode_t mode) {
  return path_fails(AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode);
}
int mkdirat(int directory, const char *path, mode_t mode) {
  return path_fails(directory, path) ? -1 : REAL(mkdirat)(directory, path, mode);
}
/* A full disk lets files go; others do not. */
int unlink(const char *path) {
  return fails_with != ENOSPC && path_fails(AT_FDCWD, path)
             ? -1 : REAL(unlink)(path);
}
int unlinkat(int directory, const char *path, int flags) {
  return fails_with != ENOSPC && path_fails(directory, path)
             ? -1 : REAL(unlinkat)(directory, path, flags);
}
int rmdir(const char *path) {
  return fails_with != ENOSPC && path_fails(AT_FDCWD, path)
             ? -1 : REAL(rmdir)(path);
}
