// SPDX-License-Identifier: Apache-2.0
// The linker sends every call of malloc to __wrap_malloc and every call of __real_malloc to the
// library's malloc (option --wrap); likewise the others.
#include "tests/robust/fault_alloc.h"

#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

enum { FRAMES = 12 };

static uint64_t left; // allocations up to the one that fails; 0 = none does
static bool stays;
static bool failed;
static bool paused;
static void *callers[FRAMES];
static int caller_count;

void fault_alloc_arm(uint64_t nth, bool for_ever)
{
    left = nth;
    stays = for_ever;
    failed = false;
    caller_count = 0;
}

void fault_alloc_disarm(void)
{
    left = 0;
}

bool fault_alloc_struck(void)
{
    return failed;
}

void fault_alloc_pause(void)
{
    paused = true;
}

void fault_alloc_resume(void)
{
    paused = false;
}

void fault_alloc_where(void)
{
    backtrace_symbols_fd(callers, caller_count, 2);
}

static bool refused(void)
{
    if (paused || left == 0 || --left > 0)
        return false;
    if (!failed)
        caller_count = backtrace(callers, FRAMES);
    failed = true;
    left = stays ? 1 : 0;
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
int __real_vasprintf(char **out, const char *format, va_list arguments);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_vasprintf(char **out, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size)
{
    return refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return refused() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refused() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    return refused() ? ENOMEM : __real_posix_memalign(out, alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return refused() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return refused() ? NULL : __real_strndup(text, size);
}

// A failed asprintf leaves *out undefined; the worst that can be is an address to nowhere.
int __wrap_vasprintf(char **out, const char *format, va_list arguments)
{
    if (!refused())
        return __real_vasprintf(out, format, arguments);
    *out = (char *)(uintptr_t)0x5a5a5a5a5a;
    return -1;
}

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = __wrap_vasprintf(out, format, arguments);
    va_end(arguments);
    return size;
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return refused() ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}
