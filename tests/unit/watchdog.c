// SPDX-License-Identifier: Apache-2.0
// Ends a unit test that goes on for too long, and says where it was. Criterion's own .timeout does
// not do that: it kills the test, and then waits for it for ever.
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LIMIT_S = 240, // for one test; ctest waits for 900 s for all of an executable
    FRAMES = 64,
    ADDRESS_SIZE = 24,
};

// addr2line turns addresses of this executable into names and lines; others it leaves as they are.
static void frames_print(void *const *frames, int count)
{
    extern const char __executable_start;
    char name[] = "addr2line", options[] = "-fpe", executable[32];
    char addresses[FRAMES][ADDRESS_SIZE];
    snprintf(executable, sizeof(executable), "/proc/%d/exe", (int)getpid());
    char *arguments[FRAMES + 4] = {name, options, executable};
    for (int i = 0; i < count; i++) {
        snprintf(addresses[i], ADDRESS_SIZE, "%#zx",
                 (size_t)((const char *)frames[i] - &__executable_start));
        arguments[3 + i] = addresses[i];
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(name, arguments);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        backtrace_symbols_fd(frames, count, STDERR_FILENO);
}

static void too_long(int signal_number)
{
    (void)signal_number;
    signal(SIGALRM, SIG_DFL); // should even this hang
    alarm(30);
    void *frames[FRAMES];
    int count = backtrace(frames, FRAMES);
    fprintf(stderr, "watchdog: a test is not over after %d s, and is here:\n", LIMIT_S);
    frames_print(frames, count);
    exit(EXIT_FAILURE);
}

// Criterion runs each test in a process of its own, which has this variable.
__attribute__((constructor)) static void watchdog_start(void)
{
    if (!getenv("BXFI_MAP"))
        return;
    void *frame[1];
    backtrace(frame, 1); // loads what it needs now
    signal(SIGALRM, too_long);
    alarm(LIMIT_S);
}
