// A disk with a write cache, for a guest of User Mode Linux: preloaded into the guest's process by scripts/test-power-cut.
//
// CACHE is the file that the guest has as its disk, DISK what survives when the power is cut. A write goes to CACHE. Each of its
// sectors goes to DISK at once or not, by chance, as a drive writes back in any order; a flush brings DISK the rest. When there is a
// file CUT, the power is cut in the midst of one of the next writes or flushes: the process group is killed.
// The guest's thread has one page of stack, and no allocator of its own: what is large is static.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECTOR = 512, MOST = 1 << 14 };

static struct { off_t at; size_t length; } waiting[MOST];
static size_t count;
static struct stat cache;
static const char *cut;
static int disk = -1;
static uint64_t chance;
static char buffer[1 << 16];

__attribute__((constructor)) static void begin(void) {
    const char *of_guest = getenv("CACHE"), *that_survives = getenv("DISK");
    cut = getenv("CUT");
    if (!of_guest || !that_survives || !cut || stat(of_guest, &cache)) _exit(70);
    disk = open(that_survives, O_RDWR | O_CLOEXEC);
    if (disk < 0 || getrandom(&chance, sizeof chance, 0) != sizeof chance) _exit(70);
    chance |= 1;
}

static int is_disk(int file) {
    struct stat its;
    return fstat(file, &its) == 0 && its.st_ino == cache.st_ino && its.st_dev == cache.st_dev;
}

// xorshift
static int heads(void) {
    chance ^= chance << 13; chance ^= chance >> 7; chance ^= chance << 17;
    return chance >> 63;
}

static void power_cut(void) {
    if (heads() && heads() && heads() && access(cut, F_OK) == 0) kill(0, SIGKILL);
}

static int write_back(int file) {
    for (size_t i = 0; i < count; i++) {
        power_cut();
        off_t at = waiting[i].at;
        for (size_t left = waiting[i].length; left > 0;) {
            long part = syscall(SYS_pread64, file, buffer, left < sizeof buffer ? left : sizeof buffer, at);
            if (part <= 0 || syscall(SYS_pwrite64, disk, buffer, part, at) != part) { errno = EIO; return -1; }
            at += part; left -= part;
        }
    }
    count = 0;
    return 0;
}

// It is written back at the next flush, or when the cache is full.
static int remember(int file, off_t at, size_t length) {
    if (count == MOST && write_back(file)) return -1;
    waiting[count].at = at;
    waiting[count++].length = length;
    return 0;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t at) {
    ssize_t written = syscall(SYS_pwrite64, file, bytes, length, at);
    if (written <= 0 || !is_disk(file)) return written;
    for (ssize_t i = 0; i < written; i += SECTOR) {
        size_t part = written - i < SECTOR ? written - i : SECTOR;
        power_cut();
        if (heads() && syscall(SYS_pwrite64, disk, (const char *)bytes + i, part, at + i) < 0) return -1;
    }
    return remember(file, at, written) ? -1 : written;
}

int fallocate64(int file, int mode, off_t at, off_t length) {
    int done = syscall(SYS_fallocate, file, mode, at, length);
    return done == 0 && is_disk(file) ? remember(file, at, length) : done;
}

int fdatasync(int file) {
    return is_disk(file) ? write_back(file) : (int)syscall(SYS_fdatasync, file);
}

int fsync(int file) {
    return is_disk(file) ? write_back(file) : (int)syscall(SYS_fsync, file);
}
