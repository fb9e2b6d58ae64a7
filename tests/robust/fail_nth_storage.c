// SPDX-License-Identifier: Apache-2.0
// Every allocation and every operation of the device fails, each in turn, until a run has no such
// one left: nothing crashes, nothing leaks, what was acknowledged is there, the error is a clear
// one, and the store works when the fault is gone.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/robust/fail_scene.h"
#include "tests/robust/fault_alloc.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

enum { RUNS_MAX = 20000, LEAKS_EVERY = 16 };

struct fault {
    bool memory; // else the device
    enum io_kind kind;
    int error;
    bool for_ever; // until the next life
};

static const struct fault *current;
static uint64_t nth_now;

// Whatever ends the run: which fault it was.
static void say_fault(int signal)
{
    (void)signal;
    fprintf(stderr, "fault: %s %d, error %d%s, the %lu. one\n",
            current->memory ? "memory" : "operation", current->kind, current->error,
            current->for_ever ? " and all later ones" : "", (unsigned long)nth_now);
    fault_alloc_where();
}

static void fail_now(const char *what, const char *step, int error)
{
    fprintf(stderr, "%s: step '%s', error %d (%s)\n", what, step, error, strerror(-error));
    abort();
}

// Which errors are clear ones.
static void check_error(struct scene *scene, const char *step, int error)
{
    if (scene->strict)
        fail_now("an error though the fault is gone", step, error);
    if (current->memory && error != -ENOMEM)
        fail_now("not the error for memory", step, error);
    if (current->error == -EMFILE && error == -ENOMEM)
        return; // of the process's limits, as memory is
    if (!current->memory && error != current->error && error != -EIO)
        fail_now("not the error of the device", step, error);
}

static void arm(struct scene *scene, const struct fault *fault, uint64_t nth)
{
    if (fault->memory)
        fault_alloc_arm(nth, fault->for_ever);
    else
        sim_fail(scene->sim, fault->kind, nth, fault->error, fault->for_ever);
}

static bool struck(const struct scene *scene, const struct fault *fault)
{
    return fault->memory ? fault_alloc_struck() : sim_has_failed(scene->sim, fault->kind);
}

static void disarm(struct scene *scene, const struct fault *fault)
{
    if (fault->memory)
        fault_alloc_disarm();
    else
        sim_fail(scene->sim, fault->kind, 0, 0, false);
}

static bool stopped(const struct scene *scene)
{
    for (int i = 0; i < SCENE_LOGS; i++) {
        if (scene->logs[i].log && log_offsets(scene->logs[i].log).error == -EIO)
            return true;
    }
    return false;
}

// A log stays closed for writing after its device failed; memory and space come back. So do
// descriptors, unless the one for a step that cannot be taken back was missing.
static bool passes(const struct scene *scene, const struct fault *fault)
{
    return fault->memory || fault->error == -ENOSPC || (fault->error == -EMFILE && !stopped(scene));
}

// Everything is as if there had been no fault.
static void expect_works(struct scene *scene)
{
    if (!scene_open(scene))
        scene_close(scene); // logs that are not open by then wait for the next start
    scene->strict = true;
    CHECK(scene_open(scene));
    scene_verify(scene);
    scene_append_one(scene);
    scene_verify(scene);
}

// Whether the fault has struck.
static bool run(const struct fault *fault, uint64_t nth)
{
    struct scene scene;
    bool over = false;
    nth_now = nth;
    scene_begin(&scene, nth, check_error);
    scene.sync = nth % 2 == 0 ? LOG_SYNC_FSYNC : LOG_SYNC_DSYNC;
    scene.direct = nth % 4 < 2; // else what a failed sync has lost is still read, until life 1 ends
    scene.forgives = !fault->memory && fault->kind == IO_READ;
    arm(&scene, fault, nth);
    for (int life = 0; life < 3; life++) {
        scene_open(&scene);
        scene_work(&scene);
        if (life == 0)
            scene_delete(&scene);
        if (!over && struck(&scene, fault)) {
            over = true;
            disarm(&scene, fault);
            if (passes(&scene, fault))
                expect_works(&scene);
        }
        bool clean = over && passes(&scene, fault);
        if (life == 1)
            scene_crash(&scene);
        else
            scene_close(&scene);
        scene.strict = clean;
    }
    over = over || struck(&scene, fault);
    disarm(&scene, fault);
    expect_works(&scene);
    scene_close(&scene);
    scene_end(&scene);
    return over;
}

static void run_each(const struct fault *fault, uint64_t nth)
{
    current = fault;
    while (run(fault, nth)) {
        if (nth % LEAKS_EVERY == 0 && __lsan_do_recoverable_leak_check())
            fail_now("a leak in one of the latest runs", "", 0);
        CHECK(++nth < RUNS_MAX);
    }
    printf("%s %d, error %d%s: %lu points\n", fault->memory ? "memory" : "operation", fault->kind,
           fault->error, fault->for_ever ? ", from there on" : "", (unsigned long)nth - 1);
    fflush(stdout);
}

// fail_nth_storage [FAULT [NTH]]: all, or one fault, from the first or from the Nth point on.
int main(int argc, char **argv)
{
    static const struct fault faults[] = {
        {.memory = true, .error = -ENOMEM},
        {.memory = true, .error = -ENOMEM, .for_ever = true},
        {.kind = IO_OPEN, .error = -EIO},
        {.kind = IO_OPEN, .error = -EMFILE},
        {.kind = IO_OPEN, .error = -EMFILE, .for_ever = true},
        {.kind = IO_CLOSE, .error = -EIO},
        {.kind = IO_READ, .error = -EIO},
        {.kind = IO_READ, .error = -EIO, .for_ever = true},
        {.kind = IO_WRITE, .error = -EIO},
        {.kind = IO_WRITE, .error = -EIO, .for_ever = true},
        {.kind = IO_WRITE, .error = -ENOSPC},
        {.kind = IO_WRITE, .error = -ENOSPC, .for_ever = true},
        {.kind = IO_SYNC, .error = -EIO},
        {.kind = IO_SYNC, .error = -EIO, .for_ever = true},
        {.kind = IO_ALLOCATE, .error = -EIO},
        {.kind = IO_ALLOCATE, .error = -ENOSPC},
        {.kind = IO_ALLOCATE, .error = -ENOSPC, .for_ever = true},
        {.kind = IO_TRUNCATE, .error = -EIO},
        {.kind = IO_RENAME, .error = -EIO},
        {.kind = IO_UNLINK, .error = -EIO},
        {.kind = IO_MKDIR, .error = -EIO},
        {.kind = IO_MKDIR, .error = -ENOSPC},
    };
    signal(SIGABRT, say_fault);
    size_t count = sizeof(faults) / sizeof(faults[0]);
    size_t only = argc > 1 ? strtoul(argv[1], NULL, 10) : count;
    for (size_t i = 0; i < count; i++) {
        if (only == count || only == i)
            run_each(&faults[i], argc > 2 ? strtoul(argv[2], NULL, 10) : 1);
    }
    return 0;
}
