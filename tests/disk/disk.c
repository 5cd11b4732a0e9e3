/* A disk that forgets, fails and remembers what was asked of it, for tests.
 *
 * Loaded with LD_PRELOAD into a process, it looks at every call that changes a
 * file below one folder:
 *
 *     process ── write, fsync, rename … ──> this library ──> the real folder
 *                                             │      ^
 *                              operation log <┘      └─ faults
 *
 * HERALD_DISK_ROOT    the folder, as an absolute path without links; nothing else is touched
 * HERALD_DISK_LOG     where the operation log goes (not below the folder); none: it is not kept
 * HERALD_DISK_FAULTS  a file that says what fails; it is read before each call that can fail,
 *                     and counting begins anew whenever its text changes. One fault a line:
 *                       fsync EIO 3       the third fsync or fdatasync of a file fails
 *                       dirsync EIO 1     the first fsync of a directory fails
 *                       write ENOSPC 0    every write fails (0: all of them)
 *                       write EIO 2       the second write fails
 *                       fsync slow 500    every fsync of a file takes half a second
 *                       space 100000      so many bytes can still be written, then ENOSPC, the
 *                                         last write cut short; statvfs says so too
 *
 * Nothing fails for what is in the folder itself, so that a test can keep notes there.
 *
 * Of an fsync of a file that fails, every other open description of that file hears as well,
 * once, with its next fsync or one that is under way: so it is in Linux since 4.13. By the same
 * description the next one goes well, and has written nothing of what was lost.
 *
 * The log is a sequence of records: `struct record`, then path, second path and
 * data. Paths are relative to the folder. A record is written before the call
 * that it describes returns to the process, and in the order in which the calls
 * took effect; an fsync says how many records had been written when it began.
 * tests/disk/log.rs reads it.
 *
 * Assumes one process that calls libc: what makes system calls by itself is not
 * seen (rustix does, unless it is built with its feature `use-libc`). A reader
 * notices by comparing the folder with what the log makes of it. What changes a
 * file in a way that this library does not know ends the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN = 1, CLOSE, WRITE, TRUNCATE, RENAME, UNLINK, RMDIR, MKDIR, SYNC, DUP, ALLOCATE };
enum { CREATED = 1, DIRECTORY = 2 };

struct record {
    uint8_t kind, flags;
    uint16_t path_length, path2_length, error;
    int32_t fd;
    uint32_t data_length;
    uint64_t number; /* offset, length, other descriptor, or records before an fsync began */
};

#define DESCRIPTORS 65536
static struct {
    bool watched, directory;
    char *path;
    dev_t device;
    ino_t inode;
    uint64_t description; /* of what was opened: the same for duplicates */
    int owed;             /* the error of another description's fsync that this one has not heard of */
} files[DESCRIPTORS];
static uint64_t descriptions;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static uint64_t records;
static char faults_path[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ({ static __typeof__(&name) real_; if (!real_) real_ = dlsym(RTLD_NEXT, #name); real_; })

static void die(const char *what) {
    fprintf(stderr, "tests/disk/disk.c: %s\n", what);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("HERALD_DISK_ROOT");
    if (!text) return;
    root_length = strlen(text);
    if (root_length >= PATH_MAX) die("the folder's path is too long");
    memcpy(root, text, root_length + 1);
    if ((text = getenv("HERALD_DISK_FAULTS"))) snprintf(faults_path, sizeof faults_path, "%s", text);
    if ((text = getenv("HERALD_DISK_LOG"))) {
        log_fd = REAL(open64)(text, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) die("the log cannot be written");
    }
}

/* ---- paths and descriptors ---- */

/* The path below the folder; false if it is not there. */
static bool below(int dir, const char *path, char out[PATH_MAX]) {
    if (!root_length || !path) return false;
    char full[2 * PATH_MAX];
    if (path[0] == '/') {
        snprintf(full, sizeof full, "%s", path);
    } else if (dir == AT_FDCWD) {
        char cwd[PATH_MAX];
        if (!getcwd(cwd, sizeof cwd)) return false;
        snprintf(full, sizeof full, "%s/%s", cwd, path);
    } else {
        if (dir < 0 || dir >= DESCRIPTORS || !files[dir].watched) return false;
        snprintf(full, sizeof full, "%s/%s%s%s", root, files[dir].path, *files[dir].path ? "/" : "", path);
    }
    if (strncmp(full, root, root_length) || (full[root_length] != '/' && full[root_length])) return false;
    const char *rest = full + root_length;
    while (*rest == '/') rest++;
    snprintf(out, PATH_MAX, "%s", rest);
    for (size_t n = strlen(out); n && out[n - 1] == '/'; n--) out[n - 1] = 0;
    return true;
}

static bool watched(int fd) { return root_length && fd >= 0 && fd < DESCRIPTORS && files[fd].watched; }

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length) {
        ssize_t n = REAL(write)(log_fd, at, length);
        if (n <= 0) die("the log cannot be written");
        at += n;
        length -= (size_t)n;
    }
}

/* With the lock held. */
static void note(struct record record, const char *path, const char *path2, const struct iovec *data, int count) {
    records++;
    if (log_fd < 0) return;
    record.path_length = path ? (uint16_t)strlen(path) : 0;
    record.path2_length = path2 ? (uint16_t)strlen(path2) : 0;
    uint64_t left = record.data_length;
    /* One write, where that is possible: the process may be killed at any moment. */
    char small[16384];
    size_t total = sizeof record + record.path_length + record.path2_length + left, at = 0;
    bool one = total <= sizeof small;
#define PART(bytes, length) do { if (one) memcpy(small + at, bytes, length); else put(bytes, length); at += length; } while (0)
    PART(&record, sizeof record);
    if (record.path_length) PART(path, record.path_length);
    if (record.path2_length) PART(path2, record.path2_length);
    for (int i = 0; i < count && left; i++) {
        size_t n = data[i].iov_len < left ? data[i].iov_len : left;
        if (n) PART(data[i].iov_base, n);
        left -= n;
    }
    if (one) put(small, total);
}

/* ---- faults ---- */

enum class { FSYNC, DIRSYNC, WRITING, CLASSES };
static const char *const names[CLASSES] = { "fsync", "dirsync", "write" };
static char told[4096];
static struct { long nth, seen; int error; long slow; bool set; } faults[CLASSES];
static long long space = -1;

/* With the lock held. */
static void read_faults(void) {
    if (!*faults_path) return;
    char text[sizeof told] = { 0 };
    int fd = REAL(open64)(faults_path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
        REAL(close)(fd);
    }
    if (!strcmp(text, told)) return;
    memcpy(told, text, sizeof told);
    memset(faults, 0, sizeof faults);
    space = -1;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char name[16], what[16];
        long n = 0;
        if (sscanf(line, "space %lld", &space) == 1) continue;
        if (sscanf(line, "%15s %15s %ld", name, what, &n) != 3) continue;
        for (int i = 0; i < CLASSES; i++) {
            if (strcmp(name, names[i])) continue;
            if (!strcmp(what, "slow")) { faults[i].slow = n; continue; }
            faults[i].set = true;
            faults[i].nth = n;
            faults[i].error = !strcmp(what, "ENOSPC") ? ENOSPC : EIO;
        }
    }
}

static bool can_fail(int fd) { return strchr(files[fd].path, '/') || files[fd].directory; }

/* With the lock held: the error that this call has to fail with, or 0. */
static int fault(int fd, enum class class, long *slow) {
    if (!can_fail(fd)) return 0;
    read_faults();
    if (slow) *slow = faults[class].slow;
    if (!faults[class].set) return 0;
    faults[class].seen++;
    return !faults[class].nth || faults[class].seen == faults[class].nth ? faults[class].error : 0;
}

/* ---- calls that name a file ---- */

static int opened(int dir, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    if (!below(dir, path, name)) return REAL(openat64)(dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    bool existed = !fstatat(dir, path, &before, 0);
    int fd = REAL(openat64)(dir, path, flags, mode);
    int error = errno;
    if (fd >= DESCRIPTORS) die("too many descriptors");
    struct stat now;
    if (fd >= 0 && !fstat(fd, &now)) {
        if ((flags & O_TMPFILE) == O_TMPFILE) die("O_TMPFILE is not known");
        files[fd].watched = true;
        files[fd].directory = S_ISDIR(now.st_mode);
        files[fd].device = now.st_dev;
        files[fd].inode = now.st_ino;
        files[fd].description = ++descriptions;
        files[fd].owed = 0;
        free(files[fd].path);
        files[fd].path = strdup(name);
        struct record record = { .kind = OPEN, .fd = fd };
        if (!existed) record.flags |= CREATED;
        if (files[fd].directory) record.flags |= DIRECTORY;
        note(record, name, NULL, NULL, 0);
        if (existed && (flags & O_TRUNC) && before.st_size)
            note((struct record){ .kind = TRUNCATE, .fd = fd }, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags) ({ mode_t mode_ = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list_; va_start(list_, flags); mode_ = va_arg(list_, mode_t); va_end(list_); } mode_; })

int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int dir, const char *path, int flags, ...) { return opened(dir, path, flags, MODE(flags)); }
int openat64(int dir, const char *path, int flags, ...) { return opened(dir, path, flags, MODE(flags)); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

#define NAMED(kind_, dir, path, call) do { \
    char name[PATH_MAX]; \
    if (!below(dir, path, name)) return call; \
    pthread_mutex_lock(&lock); \
    int result = call, error = errno; \
    if (!result) note((struct record){ .kind = kind_ }, name, NULL, NULL, 0); \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return result; } while (0)

int mkdir(const char *path, mode_t mode) { NAMED(MKDIR, AT_FDCWD, path, REAL(mkdir)(path, mode)); }
int mkdirat(int dir, const char *path, mode_t mode) { NAMED(MKDIR, dir, path, REAL(mkdirat)(dir, path, mode)); }
int rmdir(const char *path) { NAMED(RMDIR, AT_FDCWD, path, REAL(rmdir)(path)); }
int unlink(const char *path) { NAMED(UNLINK, AT_FDCWD, path, REAL(unlink)(path)); }
int unlinkat(int dir, const char *path, int flags) {
    NAMED((flags & AT_REMOVEDIR) ? RMDIR : UNLINK, dir, path, REAL(unlinkat)(dir, path, flags));
}

static int renamed(int from, const char *path, int to, const char *path2, unsigned flags) {
    char name[PATH_MAX], name2[PATH_MAX];
    bool here = below(from, path, name), there = below(to, path2, name2);
    if (!here && !there) return REAL(renameat2)(from, path, to, path2, flags);
    if (here != there || (flags & RENAME_EXCHANGE)) die("this rename is not known");
    pthread_mutex_lock(&lock);
    int result = REAL(renameat2)(from, path, to, path2, flags), error = errno;
    if (!result) note((struct record){ .kind = RENAME }, name, name2, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int rename(const char *path, const char *path2) { return renamed(AT_FDCWD, path, AT_FDCWD, path2, 0); }
int renameat(int from, const char *path, int to, const char *path2) { return renamed(from, path, to, path2, 0); }
int renameat2(int from, const char *path, int to, const char *path2, unsigned flags) {
    return renamed(from, path, to, path2, flags);
}

int link(const char *path, const char *path2) {
    char name[PATH_MAX];
    if (below(AT_FDCWD, path2, name)) die("link is not known");
    return REAL(link)(path, path2);
}
int linkat(int from, const char *path, int to, const char *path2, int flags) {
    char name[PATH_MAX];
    if (below(to, path2, name)) die("linkat is not known");
    return REAL(linkat)(from, path, to, path2, flags);
}
int truncate64(const char *path, off64_t length) {
    char name[PATH_MAX];
    if (below(AT_FDCWD, path, name)) die("truncate is not known");
    return REAL(truncate64)(path, length);
}
int truncate(const char *path, off_t length) { return truncate64(path, length); }

/* ---- calls on a descriptor ---- */

int close(int fd) {
    if (!watched(fd)) return REAL(close)(fd);
    pthread_mutex_lock(&lock);
    note((struct record){ .kind = CLOSE, .fd = fd }, NULL, NULL, NULL, 0);
    files[fd].watched = false;
    int result = REAL(close)(fd), error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static int duplicated(int fd, int other) {
    if (other >= DESCRIPTORS) die("too many descriptors");
    if (other >= 0 && watched(fd)) {
        pthread_mutex_lock(&lock);
        files[other].watched = true;
        free(files[other].path);
        files[other] = files[fd];
        files[other].path = strdup(files[fd].path);
        note((struct record){ .kind = DUP, .fd = fd, .number = (uint64_t)other }, NULL, NULL, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return other;
}
int dup(int fd) { return duplicated(fd, REAL(dup)(fd)); }
int dup2(int fd, int other) { return watched(other) ? (die("dup2 over a file is not known"), -1) : duplicated(fd, REAL(dup2)(fd, other)); }
int dup3(int fd, int other, int flags) { return watched(other) ? (die("dup3 over a file is not known"), -1) : duplicated(fd, REAL(dup3)(fd, other, flags)); }
static int controlled(int fd, int command, long argument) {
    int result = REAL(fcntl64)(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}
#define ARGUMENT(last) ({ va_list list_; va_start(list_, last); long argument_ = va_arg(list_, long); va_end(list_); argument_; })
int fcntl(int fd, int command, ...) { return controlled(fd, command, ARGUMENT(command)); }
int fcntl64(int fd, int command, ...) { return controlled(fd, command, ARGUMENT(command)); }

/* at < 0: where the descriptor is. */
static ssize_t written(int fd, const struct iovec *data, int count, off64_t at) {
    pthread_mutex_lock(&lock);
    size_t length = 0;
    for (int i = 0; i < count; i++) length += data[i].iov_len;
    int error = fault(fd, WRITING, NULL);
    struct iovec cut;
    if (!error && can_fail(fd) && space >= 0 && (long long)length > space) {
        /* As a disk does it: some of it, and the error with the next one. */
        if (!space) error = ENOSPC;
        else {
            cut = data[0];
            if ((long long)cut.iov_len > space) cut.iov_len = (size_t)space;
            data = &cut;
            count = 1;
        }
    }
    if (error) {
        pthread_mutex_unlock(&lock);
        errno = error;
        return -1;
    }
    off64_t offset = at;
    if (at < 0) {
        struct stat now;
        bool appends = REAL(fcntl64)(fd, F_GETFL) & O_APPEND;
        offset = appends ? (fstat(fd, &now) ? 0 : now.st_size) : lseek64(fd, 0, SEEK_CUR);
    }
    ssize_t n = at < 0 ? REAL(writev)(fd, data, count) : REAL(pwritev64)(fd, data, count, at);
    error = errno;
    if (n > 0) {
        if (can_fail(fd) && space >= 0) space -= n;
        struct record record = { .kind = WRITE, .fd = fd, .data_length = (uint32_t)n, .number = (uint64_t)offset };
        note(record, NULL, NULL, data, count);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return n;
}
#define ONE(bytes, length) (&(struct iovec){ (void *)(bytes), length }), 1
ssize_t write(int fd, const void *bytes, size_t length) {
    return watched(fd) ? written(fd, ONE(bytes, length), -1) : REAL(write)(fd, bytes, length);
}
ssize_t writev(int fd, const struct iovec *data, int count) {
    return watched(fd) ? written(fd, data, count, -1) : REAL(writev)(fd, data, count);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    return watched(fd) ? written(fd, ONE(bytes, length), at) : REAL(pwrite64)(fd, bytes, length, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }
ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t at) {
    return watched(fd) ? written(fd, data, count, at) : REAL(pwritev64)(fd, data, count, at);
}
ssize_t pwritev(int fd, const struct iovec *data, int count, off_t at) { return pwritev64(fd, data, count, at); }

int ftruncate64(int fd, off64_t length) {
    if (!watched(fd)) return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&lock);
    int result = REAL(ftruncate64)(fd, length), error = errno;
    if (!result) note((struct record){ .kind = TRUNCATE, .fd = fd, .number = (uint64_t)length }, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
int posix_fallocate64(int fd, off64_t at, off64_t length) {
    if (!watched(fd)) return REAL(posix_fallocate64)(fd, at, length);
    pthread_mutex_lock(&lock);
    int error = REAL(posix_fallocate64)(fd, at, length);
    if (!error) note((struct record){ .kind = ALLOCATE, .fd = fd, .number = (uint64_t)(at + length) }, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return error;
}
int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }

/* With the lock held: others that have the file open will hear of it. */
static void owe(int fd, int error) {
    for (int other = 0; other < DESCRIPTORS; other++) {
        bool same = files[other].device == files[fd].device && files[other].inode == files[fd].inode;
        if (files[other].watched && same && files[other].description != files[fd].description)
            files[other].owed = error;
    }
}

/* With the lock held: what is owed to a description, once. */
static int heard(int fd) {
    int owed = files[fd].owed;
    for (int other = 0; owed && other < DESCRIPTORS; other++)
        if (files[other].watched && files[other].description == files[fd].description) files[other].owed = 0;
    return owed;
}

static int synced(int fd, int (*real)(int)) {
    if (!watched(fd)) return real(fd);
    long slow = 0;
    pthread_mutex_lock(&lock);
    uint64_t began = records;
    int error = fault(fd, files[fd].directory ? DIRSYNC : FSYNC, &slow);
    if (error && !files[fd].directory) owe(fd, error);
    pthread_mutex_unlock(&lock);
    if (slow) nanosleep(&(struct timespec){ slow / 1000, slow % 1000 * 1000000 }, NULL);
    int result = error ? -1 : real(fd);
    if (!error && result) error = errno;
    pthread_mutex_lock(&lock);
    int owed = heard(fd);
    if (!error) error = owed;
    note((struct record){ .kind = SYNC, .fd = fd, .error = (uint16_t)error, .number = began }, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return error ? -1 : 0;
}
int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

/* Callers fall back to reading and writing. */
ssize_t copy_file_range(int in, off64_t *at_in, int out, off64_t *at_out, size_t length, unsigned flags) {
    if (!watched(out)) return REAL(copy_file_range)(in, at_in, out, at_out, length, flags);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t length) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "sendfile64");
    if (!watched(out)) return real(out, in, at, length);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *at, size_t length) { return sendfile64(out, in, at, length); }
ssize_t splice(int in, off64_t *at_in, int out, off64_t *at_out, size_t length, unsigned flags) {
    if (watched(out)) die("splice is not known");
    return REAL(splice)(in, at_in, out, at_out, length, flags);
}
int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    if (watched(fd)) die("fallocate is not known");
    return REAL(fallocate64)(fd, mode, at, length);
}
int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t at) {
    if ((protection & PROT_WRITE) && (flags & MAP_SHARED) && watched(fd)) die("a shared mapping is not known");
    return REAL(mmap64)(address, length, protection, flags, fd, at);
}

/* ---- what is free ---- */

static void claim(struct statvfs64 *out) {
    pthread_mutex_lock(&lock);
    read_faults();
    if (space >= 0) out->f_bavail = out->f_bfree = (fsblkcnt64_t)space / out->f_frsize;
    pthread_mutex_unlock(&lock);
}
int statvfs64(const char *path, struct statvfs64 *out) {
    char name[PATH_MAX];
    int result = REAL(statvfs64)(path, out);
    if (!result && below(AT_FDCWD, path, name)) claim(out);
    return result;
}
int fstatvfs64(int fd, struct statvfs64 *out) {
    int result = REAL(fstatvfs64)(fd, out);
    if (!result && watched(fd)) claim(out);
    return result;
}
