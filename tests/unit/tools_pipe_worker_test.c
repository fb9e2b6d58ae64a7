// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/pipe_worker.h"

enum { PATIENCE_MS = 30 * 1000 };

static void start(struct pipe_worker *worker, const char *script)
{
    char shell[] = "sh";
    char option[] = "-c";
    char text[256];
    char *command[] = {shell, option, text, NULL};
    bool found;

    snprintf(text, sizeof(text), "%s", script);
    cr_assert_eq(pipe_worker_start(worker, command, &found), 0);
    cr_assert(found);
}

static void turn(struct pipe_worker *worker, FILE *words)
{
    struct pollfd fds[PIPE_WORKER_FDS];
    size_t count = pipe_worker_wants(worker, fds, true);

    cr_assert_gt(poll(fds, count, PATIENCE_MS), 0, "nothing happens");
    cr_assert_eq(pipe_worker_turn(worker, fds, count, words), 0);
}

static void run_to_end(struct pipe_worker *worker, FILE *words)
{
    while (!worker->ended)
        turn(worker, words);
}

Test(tools, pipe_worker_moves_bytes_both_ways_without_getting_stuck)
{
    enum { SIZE = 4 << 20 };
    struct pipe_worker worker;

    pipe_worker_init(&worker);
    start(&worker, "cat");
    char *room = pipe_bytes_room(&worker.to, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        room[i] = (char)(i * 7);
    worker.to.end += SIZE;
    worker.last = true;
    run_to_end(&worker, stderr);
    cr_assert_eq(pipe_bytes_left(&worker.from), SIZE);
    for (size_t i = 0; i < SIZE; i++)
        cr_assert_eq(pipe_bytes_front(&worker.from)[i], (char)(i * 7));
    cr_assert(WIFEXITED(worker.status) && WEXITSTATUS(worker.status) == 0);
    pipe_worker_free(&worker);
}

Test(tools, pipe_worker_tells_how_a_command_ended)
{
    struct pipe_worker worker;
    char words[64];
    char text[256];
    FILE *out = fmemopen(words, sizeof(words), "w");

    pipe_worker_init(&worker);
    start(&worker, "echo first >&2; echo last words >&2; exit 3");
    run_to_end(&worker, out);
    pipe_worker_end_text(&worker, text, sizeof(text));
    cr_assert_str_eq(text, "ended with exit code 3: last words");
    fclose(out);
    cr_assert_str_eq(words, "first\nlast words\n", "and they are passed on");
    pipe_worker_forget(&worker);
    start(&worker, "kill -9 $$");
    run_to_end(&worker, stderr);
    pipe_worker_end_text(&worker, text, sizeof(text));
    cr_assert_str_eq(text, "was ended by signal 9");
    pipe_worker_free(&worker);
}

Test(tools, pipe_worker_knows_a_command_that_does_not_exist)
{
    struct pipe_worker worker;
    char name[] = "/nowhere/command";
    char *command[] = {name, NULL};
    bool found = true;

    pipe_worker_init(&worker);
    cr_assert_eq(pipe_worker_start(&worker, command, &found), -ENOENT);
    cr_assert(!found);
    cr_assert(!pipe_worker_runs(&worker));
    pipe_worker_free(&worker);
}

Test(tools, pipe_worker_is_killed_with_all_it_has_started)
{
    struct pipe_worker worker;

    pipe_worker_init(&worker);
    start(&worker, "sleep 1000 & echo $!; wait");
    while (pipe_bytes_left(&worker.from) == 0)
        turn(&worker, stderr);
    pid_t child = 0;
    cr_assert_eq(sscanf(pipe_bytes_front(&worker.from), "%d", &child), 1);
    cr_assert_eq(kill(child, 0), 0);
    pid_t group = worker.pid;
    pipe_worker_kill(&worker);
    cr_assert(!pipe_worker_runs(&worker));
    // Whoever inherits the child takes a moment to collect it; until then it is a zombie.
    for (int i = 0; i < 1000 && kill(-group, 0) == 0; i++)
        usleep(10000);
    cr_assert(kill(-group, 0) != 0 && errno == ESRCH);
    pipe_worker_free(&worker);
}

Test(tools, pipe_worker_does_not_mind_a_command_that_reads_nothing)
{
    struct pipe_worker worker;

    pipe_worker_init(&worker);
    signal(SIGPIPE, SIG_IGN);
    start(&worker, "exec <&-; echo done");
    char *room = pipe_bytes_room(&worker.to, 1 << 20);
    memset(room, 'x', 1 << 20);
    worker.to.end += 1 << 20;
    run_to_end(&worker, stderr);
    cr_assert_eq(pipe_bytes_left(&worker.from), 5);
    cr_assert_eq(pipe_bytes_left(&worker.to), 0);
    pipe_worker_free(&worker);
}

Test(tools, pipe_bytes_grow_and_are_used_up)
{
    struct pipe_bytes bytes = {0};
    size_t out = 0;
    size_t in = 0;

    for (int i = 0; i < 10000; i++) {
        char pair[2] = {(char)in, (char)(in + 1)};
        cr_assert_eq(pipe_bytes_add(&bytes, pair, 2), 0);
        in += 2;
        if (i % 3 == 0)
            continue;
        cr_assert_eq(pipe_bytes_front(&bytes)[0], (char)out);
        pipe_bytes_use(&bytes, 1);
        out++;
    }
    cr_assert_eq(pipe_bytes_left(&bytes), in - out);
    pipe_bytes_free(&bytes);
}
