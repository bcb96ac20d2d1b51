/* Stands between a process and its disk (LD_PRELOAD). It writes a journal of everything that changes files below one
 * folder, so that a test can compute what a power cut at any moment would have left; and it can make one of these
 * operations fail, or all flushes slow.
 *
 * SHIM_DIR       only files below this folder are looked at
 * SHIM_JOURNAL   where the journal goes; none without
 * SHIM_FAIL      flush:N, write:N or meta:N: the N-th one from now on fails (EIO, ENOSPC, EIO)
 * SHIM_SLOW_MS   every flush takes this long
 * SHIM_ARM       failing and slowness begin when this file exists
 *
 * Journal, little-endian: u32 kind, u32 file, u64 offset, u32 length, bytes. The offset of a flush is the number of
 * records before it began: what was written while it ran may not be covered by it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, SYNCED_WRITE, TRUNCATE, FLUSH, RENAME, UNLINK, SAID, FOLDER };

#define MAX_FD 4096
static struct { uint32_t file; int synced, folder; char path[PATH_MAX]; } fds[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -2;
static uint32_t next_file = 1;
static uint64_t records;
static const char *dir;
static size_t dir_length;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);

static void start(void) {
  if (journal != -2) return;
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
  real_open = dlsym(RTLD_NEXT, "open64");
  real_openat = dlsym(RTLD_NEXT, "openat64");
  real_close = dlsym(RTLD_NEXT, "close");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_rename = dlsym(RTLD_NEXT, "rename");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  dir = getenv("SHIM_DIR");
  dir_length = dir ? strlen(dir) : 0;
  const char *path = getenv("SHIM_JOURNAL");
  journal = path ? real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
}

static int below(const char *path) {
  return dir && strncmp(path, dir, dir_length) == 0 && (path[dir_length] == '/' || path[dir_length] == 0);
}
static int tracked(int fd) { return fd >= 0 && fd < MAX_FD && fds[fd].file != 0; }

static void record(uint32_t kind, uint32_t file, uint64_t offset, const struct iovec *pieces, int count) {
  if (journal < 0) return;
  records++;
  uint32_t length = 0;
  for (int i = 0; i < count; i++) length += pieces[i].iov_len;
  char header[20];
  memcpy(header, &kind, 4);
  memcpy(header + 4, &file, 4);
  memcpy(header + 8, &offset, 8);
  memcpy(header + 16, &length, 4);
  real_write(journal, header, 20);
  for (int i = 0; i < count; i++) real_write(journal, pieces[i].iov_base, pieces[i].iov_len);
}

static void record_text(uint32_t kind, uint32_t file, const char *text) {
  struct iovec piece = {(void *)text, strlen(text)};
  record(kind, file, 0, &piece, 1);
}

static int armed(void) {
  const char *arm = getenv("SHIM_ARM");
  return !arm || access(arm, F_OK) == 0;
}

/* The n-th operation of this kind since the arming file appeared fails. */
static int fails(const char *kind) {
  static int left = -1;
  const char *plan = getenv("SHIM_FAIL");
  if (!plan || strncmp(plan, kind, strlen(kind)) != 0 || !armed()) return 0;
  if (left < 0) left = atoi(strchr(plan, ':') + 1);
  return left > 0 && --left == 0;
}

static void slow_down(void) {
  const char *ms = getenv("SHIM_SLOW_MS");
  if (!ms || !armed()) return;
  struct timespec time = {atol(ms) / 1000, (atol(ms) % 1000) * 1000000};
  nanosleep(&time, NULL);
}

static int opened(int fd, const char *path, int flags) {
  if (fd < 0 || fd >= MAX_FD || !below(path)) return fd;
  pthread_mutex_lock(&lock);
  struct stat status;
  fstat(fd, &status);
  fds[fd].file = next_file++;
  fds[fd].synced = (flags & O_DSYNC) != 0;
  fds[fd].folder = S_ISDIR(status.st_mode);
  snprintf(fds[fd].path, PATH_MAX, "%s", path);
  record_text(fds[fd].folder ? FOLDER : OPEN, fds[fd].file, path);
  if (flags & O_TRUNC) record(TRUNCATE, fds[fd].file, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return fd;
}

int open64(const char *path, int flags, ...) {
  start();
  va_list args;
  va_start(args, flags);
  int mode = va_arg(args, int);
  va_end(args);
  return opened(real_open(path, flags, mode), path, flags);
}

int open(const char *path, int flags, ...) {
  start();
  va_list args;
  va_start(args, flags);
  int mode = va_arg(args, int);
  va_end(args);
  return opened(real_open(path, flags, mode), path, flags);
}

int openat64(int at, const char *path, int flags, ...) {
  start();
  va_list args;
  va_start(args, flags);
  int mode = va_arg(args, int);
  va_end(args);
  return opened(real_openat(at, path, flags, mode), path, flags);
}

int close(int fd) {
  start();
  if (tracked(fd)) fds[fd].file = 0;
  return real_close(fd);
}

/* libuv closes files past close(). */
long syscall(long number, ...) {
  static long (*real)(long, ...);
  start();
  if (!real) real = dlsym(RTLD_NEXT, "syscall");
  va_list args;
  va_start(args, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
  va_end(args);
  if (number == SYS_close && tracked(a[0])) fds[a[0]].file = 0;
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static ssize_t write_at(int fd, const struct iovec *pieces, int count, off_t offset, int has_offset) {
  start();
  int ours = tracked(fd);
  if (ours) {
    /* lmdb writes its meta pages through a descriptor of their own, which flushes by itself. */
    if (fds[fd].synced ? fails("meta") : fails("write")) {
      errno = fds[fd].synced ? EIO : ENOSPC;
      return -1;
    }
    if (!has_offset) offset = lseek(fd, 0, SEEK_CUR);
    pthread_mutex_lock(&lock);
  }
  ssize_t done = has_offset ? real_pwritev(fd, pieces, count, offset) : real_writev(fd, pieces, count);
  if (ours) {
    if (done >= 0) {
      struct iovec written[IOV_MAX];
      size_t left = done;
      int used = 0;
      for (; used < count && left > 0; used++) {
        written[used] = pieces[used];
        if (written[used].iov_len > left) written[used].iov_len = left;
        left -= written[used].iov_len;
      }
      record(fds[fd].synced ? SYNCED_WRITE : WRITE, fds[fd].file, offset, written, used);
    }
    pthread_mutex_unlock(&lock);
  }
  return done;
}

ssize_t write(int fd, const void *data, size_t length) {
  start();
  struct iovec piece = {(void *)data, length};
  if (tracked(fd)) return write_at(fd, &piece, 1, 0, 0);
  if (fd == 1) {
    pthread_mutex_lock(&lock);
    record(SAID, 0, 0, &piece, 1);
    pthread_mutex_unlock(&lock);
  }
  return real_write(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) { return write_at(fd, pieces, count, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) { return write_at(fd, pieces, count, offset, 1); }
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset) { return write_at(fd, pieces, count, offset, 1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  struct iovec piece = {(void *)data, length};
  return write_at(fd, &piece, 1, offset, 1);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

static int flush(int fd, int (*real)(int)) {
  if (!tracked(fd)) return real(fd);
  slow_down();
  if (fails("flush")) {
    errno = EIO;
    return -1;
  }
  pthread_mutex_lock(&lock);
  uint64_t covered = records;
  pthread_mutex_unlock(&lock);
  int result = real(fd);
  pthread_mutex_lock(&lock);
  if (result == 0) record(FLUSH, fds[fd].file, covered, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int fsync(int fd) { start(); return flush(fd, real_fsync); }
int fdatasync(int fd) { start(); return flush(fd, real_fdatasync); }

int ftruncate64(int fd, off_t length) {
  start();
  pthread_mutex_lock(&lock);
  int result = real_ftruncate(fd, length);
  if (result == 0 && tracked(fd)) record(TRUNCATE, fds[fd].file, length, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int rename(const char *from, const char *to) {
  start();
  pthread_mutex_lock(&lock);
  int result = real_rename(from, to);
  if (result == 0 && below(to)) {
    struct iovec pieces[3] = {{(void *)from, strlen(from)}, {"\n", 1}, {(void *)to, strlen(to)}};
    record(RENAME, 0, 0, pieces, 3);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

int unlink(const char *path) {
  start();
  pthread_mutex_lock(&lock);
  int result = real_unlink(path);
  if (result == 0 && below(path)) record_text(UNLINK, 0, path);
  pthread_mutex_unlock(&lock);
  return result;
}
