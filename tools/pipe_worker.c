// SPDX-License-Identifier: Apache-2.0
// One process with three pipes, and a handle that becomes readable when it ends.
//
// Invariants:
//  1. Every descriptor of ours is closed in the commands, so that the end of one's input is seen.
//  2. A worker has `ended` when its process is gone and its output has ended: nothing more comes.
//  3. Commands form process groups, so that one that has to be stopped is stopped with all that it
//     has started.
//  4. SIGPIPE and the signals' handlers are as usual in commands, whatever they are here.
#include "tools/pipe_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024, EXEC_FAILED = 127 };

// Pipes of one start: ours and the command's end of each, and the one that tells of execvp.
struct pipes {
    int fds[4][2];
};

enum { TO_COMMAND, FROM_COMMAND, FROM_WORDS, FROM_EXEC };

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void pipe_worker_init(struct pipe_worker *worker)
{
    *worker = (struct pipe_worker){.input = -1, .output = -1, .words = -1, .handle = -1};
}

static void close_pipes(struct pipes *pipes)
{
    for (int i = 0; i < 4; i++) {
        close_fd(&pipes->fds[i][0]);
        close_fd(&pipes->fds[i][1]);
    }
}

static int open_pipes(struct pipes *pipes)
{
    memset(pipes, -1, sizeof(*pipes));
    for (int i = 0; i < 4; i++) {
        if (pipe2(pipes->fds[i], O_CLOEXEC) != 0) {
            int error = errno;
            close_pipes(pipes);
            return -error;
        }
    }
    return 0;
}

// In the child. Does not return.
static void become(char *const *command, struct pipes *pipes, pid_t parent)
{
    sigset_t none;
    int error = 0;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Should the parent have died before that, its pipes are closed, and so ends a sound command.
    if (getppid() != parent)
        _exit(EXEC_FAILED);
    if (dup2(pipes->fds[TO_COMMAND][0], STDIN_FILENO) < 0 ||
        dup2(pipes->fds[FROM_COMMAND][1], STDOUT_FILENO) < 0 ||
        dup2(pipes->fds[FROM_WORDS][1], STDERR_FILENO) < 0)
        error = errno;
    if (error == 0) {
        execvp(command[0], command);
        error = errno;
    }
    ssize_t told = write(pipes->fds[FROM_EXEC][1], &error, sizeof(error));
    (void)told;
    _exit(EXEC_FAILED);
}

static void set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int keep(int *from)
{
    int fd = *from;

    *from = -1;
    set_nonblocking(fd);
    return fd;
}

// What execvp said: 0 when it has become the command.
static int exec_error(struct pipes *pipes)
{
    int error = 0;
    ssize_t got;

    close_fd(&pipes->fds[FROM_EXEC][1]);
    do
        got = read(pipes->fds[FROM_EXEC][0], &error, sizeof(error));
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(error) ? error : 0;
}

int pipe_worker_start(struct pipe_worker *worker, char *const *command, bool *found)
{
    struct pipes pipes;
    pid_t parent = getpid();
    int rc = open_pipes(&pipes);

    *found = true;
    if (rc != 0)
        return rc;
    pid_t pid = fork();
    if (pid < 0) {
        rc = -errno;
        close_pipes(&pipes);
        return rc;
    }
    if (pid == 0)
        become(command, &pipes, parent);
    setpgid(pid, pid);
    int error = exec_error(&pipes);
    int handle = error == 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (handle < 0) {
        rc = error != 0 ? -error : -errno;
        *found = error == 0;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close_pipes(&pipes);
        return rc;
    }
    worker->pid = pid;
    worker->handle = handle;
    worker->input = keep(&pipes.fds[TO_COMMAND][1]);
    worker->output = keep(&pipes.fds[FROM_COMMAND][0]);
    worker->words = keep(&pipes.fds[FROM_WORDS][0]);
    worker->last = worker->ended = worker->line_over = false;
    worker->last_size = 0;
    close_pipes(&pipes);
    return 0;
}

// Ends what is left of its group, too.
static void reap(struct pipe_worker *worker)
{
    kill(-worker->pid, SIGKILL);
    while (waitpid(worker->pid, &worker->status, 0) < 0 && errno == EINTR)
        ;
    close_fd(&worker->handle);
    close_fd(&worker->input);
}

static bool handle_says_ended(const struct pipe_worker *worker)
{
    struct pollfd state = {.fd = worker->handle, .events = POLLIN};

    return worker->handle < 0 || poll(&state, 1, 0) == 1;
}

bool pipe_worker_has_died(struct pipe_worker *worker)
{
    return pipe_worker_runs(worker) && handle_says_ended(worker);
}

size_t pipe_worker_wants(const struct pipe_worker *worker, struct pollfd *fds, bool reading)
{
    size_t count = 0;

    if (!pipe_worker_runs(worker))
        return 0;
    if (worker->input >= 0 && (pipe_bytes_left(&worker->to) > 0 || worker->last))
        fds[count++] = (struct pollfd){.fd = worker->input, .events = POLLOUT};
    if (worker->output >= 0 && reading)
        fds[count++] = (struct pollfd){.fd = worker->output, .events = POLLIN};
    if (worker->words >= 0)
        fds[count++] = (struct pollfd){.fd = worker->words, .events = POLLIN};
    if (worker->handle >= 0)
        fds[count++] = (struct pollfd){.fd = worker->handle, .events = POLLIN};
    return count;
}

// A command need not read all it is given: that it does not is seen in what it answers.
static void write_some(struct pipe_worker *worker)
{
    size_t left = pipe_bytes_left(&worker->to);

    if (left > 0) {
        ssize_t done = write(worker->input, pipe_bytes_front(&worker->to), left);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        pipe_bytes_use(&worker->to, done < 0 ? left : (size_t)done);
        if (done < 0)
            close_fd(&worker->input);
    }
    if (worker->last && pipe_bytes_left(&worker->to) == 0)
        close_fd(&worker->input);
}

static int read_some(struct pipe_worker *worker)
{
    char *room = pipe_bytes_room(&worker->from, READ_SIZE);

    if (room == NULL)
        return -ENOMEM;
    ssize_t got = read(worker->output, room, READ_SIZE);
    if (got > 0)
        worker->from.end += (size_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&worker->output);
    return 0;
}

static void remember_words(struct pipe_worker *worker, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n') {
            worker->line_over = worker->last_size > 0;
            continue;
        }
        if (worker->line_over)
            worker->last_size = 0;
        worker->line_over = false;
        if (worker->last_size + 1 < sizeof(worker->last_words))
            worker->last_words[worker->last_size++] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    }
}

static void read_words(struct pipe_worker *worker, FILE *words)
{
    char text[4096];
    ssize_t got = read(worker->words, text, sizeof(text));

    if (got > 0) {
        remember_words(worker, text, (size_t)got);
        fwrite(text, 1, (size_t)got, words);
        fflush(words);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_fd(&worker->words);
    }
}

int pipe_worker_turn(struct pipe_worker *worker, const struct pollfd *fds, size_t count,
                     FILE *words)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        if (fds[i].revents == 0)
            continue;
        if (fds[i].fd == worker->input)
            write_some(worker);
        else if (fds[i].fd == worker->output)
            rc = read_some(worker);
        else if (fds[i].fd == worker->words)
            read_words(worker, words);
        else if (fds[i].fd == worker->handle)
            reap(worker);
    }
    worker->ended =
        pipe_worker_runs(worker) && worker->handle < 0 && worker->output < 0 && worker->words < 0;
    return rc;
}

void pipe_worker_forget(struct pipe_worker *worker)
{
    close_fd(&worker->input);
    close_fd(&worker->output);
    close_fd(&worker->words);
    close_fd(&worker->handle);
    pipe_bytes_clear(&worker->to);
    pipe_bytes_clear(&worker->from);
    worker->pid = 0;
    worker->ended = false;
}

void pipe_worker_kill(struct pipe_worker *worker)
{
    if (pipe_worker_runs(worker) && worker->handle >= 0)
        reap(worker);
    pipe_worker_forget(worker);
}

void pipe_worker_end_text(const struct pipe_worker *worker, char *text, size_t size)
{
    bool said = worker->last_size > 0;
    int words_size = (int)worker->last_size;

    if (WIFSIGNALED(worker->status))
        snprintf(text, size, "was ended by signal %d%s%.*s", WTERMSIG(worker->status),
                 said ? ": " : "", words_size, worker->last_words);
    else
        snprintf(text, size, "ended with exit code %d%s%.*s", WEXITSTATUS(worker->status),
                 said ? ": " : "", words_size, worker->last_words);
}

void pipe_worker_free(struct pipe_worker *worker)
{
    pipe_worker_kill(worker);
    pipe_bytes_free(&worker->to);
    pipe_bytes_free(&worker->from);
}
