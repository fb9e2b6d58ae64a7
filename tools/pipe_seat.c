// SPDX-License-Identifier: Apache-2.0
// Workers and their runs.
//
// Line by line, a command is kept: the first answer is the first record's that has none yet.
// In batches, each run is a process of its own: its input ends behind the records, and its answers
// count once it has ended with exit code 0 - all of them or none.
//
// Invariants:
//  1. A seat with an input works on that lane's run; one without has a command that owes nothing.
//  2. A command that has failed, is too late or breaks the contract is killed: what it might still
//     say belongs to no record. The next run has a new one.
//  3. Records refused before they reached a command (skipped) are concluded when their turn comes.
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

#include "base/check.h"
#include "tools/pipe_stage.h"

enum { WAIT_MS = 200, BATCH_OUTPUT_MAX = 64 << 20, CLOSE_MS = 2000, ANSWER_SLACK = 64 * 1024 };

static bool in_batches(const struct pipe_stage *stage)
{
    return stage->options->batch > 0;
}

static void conclude_skipped(struct pipe_input *input)
{
    struct pipe_entry *entry;

    while ((entry = pipe_run_first(&input->lane)) != NULL && pipe_record_of(entry)->skipped)
        pipe_entry_conclude(entry);
}

static void free_seat(struct pipe_seat *seat)
{
    seat->input->seat = NULL;
    seat->input = NULL;
    seat->cut = (struct pipe_cut){0};
}

void pipe_seat_abandon(struct pipe_stage *stage, struct pipe_input *input)
{
    struct pipe_seat *seat = input->seat;

    (void)stage;
    if (seat == NULL)
        return;
    pipe_worker_kill(&seat->worker);
    free_seat(seat);
}

// So many records in a row, and none that worked: it is the command that is broken.
static void count_rejection(struct pipe_stage *stage, const char *reason)
{
    int64_t limit = stage->options->give_up;

    if (limit > 0 && ++stage->unlucky >= limit)
        pipe_stage_fail(stage, EXIT_FAILED,
                        "the command has failed for %" PRId64 " records in a row, the last time "
                        "because it %s; --give-up says after how many to stop",
                        stage->unlucky, reason);
}

static void run_failed(struct pipe_stage *stage, struct pipe_seat *seat, const char *reason)
{
    struct pipe_refusal why = {0};
    struct pipe_input *input = seat->input;

    stage->counts.failures++;
    pipe_worker_kill(&seat->worker);
    free_seat(seat);
    struct pipe_entry *entry = pipe_run_failed(&input->lane, stage->now_ms);
    if (entry == NULL)
        return;
    snprintf(why.reason, sizeof(why.reason), "the command %s", reason);
    pipe_output_reject(stage, pipe_record_of(entry), &why);
    count_rejection(stage, reason);
}

// ------------------------------------------------------------------------------------ beginning

static bool start_worker(struct pipe_stage *stage, struct pipe_seat *seat)
{
    bool found;

    if (pipe_worker_has_died(&seat->worker))
        pipe_worker_kill(&seat->worker);
    if (pipe_worker_runs(&seat->worker))
        return true;
    int rc = pipe_worker_start(&seat->worker, stage->command, &found);
    if (rc == 0) {
        stage->counts.started++;
        return true;
    }
    if (!found)
        pipe_stage_fail(stage, EXIT_USAGE, "cannot run '%s': %s", stage->command[0], strerror(-rc));
    return false;
}

// Records go on as they are.
static void pass_on(struct pipe_stage *stage, struct pipe_input *input)
{
    struct pipe_entry *entry;

    conclude_skipped(input);
    while (stage->code == 0 && (entry = pipe_run_first(&input->lane)) != NULL) {
        struct pipe_record *record = pipe_record_of(entry);
        struct weir_message message = {
            .key = record->key,
            .value = record->value,
            .headers = record->headers,
            .header_count = record->header_count,
            .timestamp = record->timestamp > 0 ? record->timestamp : 0,
        };
        if (pipe_output_send(stage, record, &message) != 0)
            return;
        pipe_entry_conclude(entry);
        conclude_skipped(input);
    }
}

static int write_run(struct pipe_stage *stage, struct pipe_seat *seat)
{
    struct pipe_entry *entry = pipe_run_first(&seat->input->lane);
    int rc = 0;

    for (; entry != NULL && rc == 0; entry = pipe_run_next(entry)) {
        if (!pipe_record_of(entry)->skipped)
            rc = pipe_format_write(&stage->format, pipe_record_of(entry), &seat->worker.to);
    }
    seat->worker.last = in_batches(stage);
    return rc;
}

static void begin(struct pipe_stage *stage, struct pipe_seat *seat, struct pipe_input *input)
{
    conclude_skipped(input);
    if (pipe_run_first(&input->lane) == NULL)
        return;
    if (!start_worker(stage, seat)) {
        pipe_run_undone(&input->lane, stage->now_ms);
        return;
    }
    seat->input = input;
    input->seat = seat;
    seat->deadline_ms = stage->now_ms + stage->options->answer_timeout_ms;
    if (write_run(stage, seat) != 0)
        pipe_stage_fail(stage, EXIT_FAILED, "out of memory");
}

void pipe_seats_begin(struct pipe_stage *stage)
{
    for (size_t i = 0; i < stage->seat_count && stage->code == 0; i++) {
        struct pipe_seat *seat = &stage->seats[i];
        if (seat->input != NULL)
            continue;
        struct pipe_lane *lane = pipe_run_begin(&stage->engine, stage->now_ms);
        if (lane == NULL)
            return;
        struct pipe_input *input = list_entry(lane, struct pipe_input, lane);
        if (stage->command == NULL)
            pass_on(stage, input);
        else
            begin(stage, seat, input);
    }
}

// -------------------------------------------------------------------------------------- answers

struct emission {
    struct pipe_stage *stage;
    struct pipe_record *record;
    int64_t count;
};

static int emit(void *context, const struct weir_message *message)
{
    struct emission *emission = context;

    emission->count++;
    return pipe_output_send(emission->stage, emission->record, message);
}

// Refuses what the producer would refuse, before anything of the run has been sent.
static int emit_nothing(void *context, const struct weir_message *message)
{
    const struct emission *emission = context;
    size_t max = (size_t)emission->stage->options->max_bytes;

    return message->key.size + message->value.size > max ? -EMSGSIZE : 0;
}

// What is wrong with an answer, as the end of a sentence that begins with "the command".
static void answer_text(char *text, size_t size, int rc, const struct pipe_refusal *why)
{
    static const char prefix[] = "the command's answer ";
    bool known = strncmp(why->reason, prefix, sizeof(prefix) - 1) == 0;

    if (rc == -EMSGSIZE)
        snprintf(text, size, "has written an output beyond --max-bytes");
    else
        snprintf(text, size, "gave an answer that %.*s", PIPE_REASON_MAX / 2,
                 known ? why->reason + sizeof(prefix) - 1 : why->reason);
}

static void fail_answer(struct pipe_stage *stage, struct pipe_seat *seat, int rc,
                        const struct pipe_refusal *why)
{
    char text[PIPE_REASON_MAX];

    if (rc == -ENOMEM)
        pipe_stage_fail(stage, EXIT_FAILED, "out of memory");
    if (stage->code != 0)
        return;
    answer_text(text, sizeof(text), rc, why);
    run_failed(stage, seat, text);
}

static void succeed(struct pipe_stage *stage, struct pipe_seat *seat)
{
    stage->unlucky = 0;
    stage->answered = true;
    seat->deadline_ms = stage->now_ms + stage->options->answer_timeout_ms;
}

// One line, one record. False: the run is over, one way or another.
static bool take_answer(struct pipe_stage *stage, struct pipe_seat *seat, const char *answer,
                        size_t size)
{
    struct pipe_refusal why = {0};
    struct pipe_entry *entry = pipe_run_first(&seat->input->lane);
    struct emission emission = {.stage = stage, .record = pipe_record_of(entry)};
    int rc = pipe_format_read(&stage->format, emission.record, answer, size, emit_nothing,
                              &emission, &why);

    if (rc == 0)
        rc = pipe_format_read(&stage->format, emission.record, answer, size, emit, &emission, &why);
    if (rc != 0) {
        fail_answer(stage, seat, rc, &why);
        return false;
    }
    stage->counts.dropped += emission.count == 0;
    succeed(stage, seat);
    pipe_entry_conclude(entry);
    conclude_skipped(seat->input);
    return pipe_run_first(&seat->input->lane) != NULL;
}

static void fail_contract(struct pipe_stage *stage)
{
    pipe_stage_fail(stage, EXIT_FAILED,
                    "the command has written more than one line per record, so that nobody knows "
                    "which record a line belongs to; --batch N takes any number of lines");
}

// Takes all whole answers that have arrived.
static void take_answers(struct pipe_stage *stage, struct pipe_seat *seat)
{
    struct pipe_bytes *from = &seat->worker.from;
    size_t answer;
    size_t total;
    int rc;

    while (stage->code == 0 && seat->input != NULL &&
           (rc = pipe_format_cut(&stage->format, &seat->cut, pipe_bytes_front(from),
                                 pipe_bytes_left(from), false, &answer, &total)) != 0) {
        if (rc < 0) {
            run_failed(stage, seat, "has written what is not msgpack");
            return;
        }
        bool more = take_answer(stage, seat, pipe_bytes_front(from), answer);
        if (seat->input == NULL)
            return;
        pipe_bytes_use(from, total);
        seat->cut = (struct pipe_cut){0};
        if (!more && stage->code == 0)
            free_seat(seat);
    }
    if (stage->code == 0 && seat->input == NULL && pipe_bytes_left(from) > 0)
        fail_contract(stage);
    else if (seat->input != NULL &&
             pipe_bytes_left(from) > 2 * (size_t)stage->options->max_bytes + ANSWER_SLACK)
        run_failed(stage, seat, "has written an answer beyond --max-bytes");
}

// Reads all answers of a batch. 0 or what is wrong.
static int read_batch(struct pipe_stage *stage, struct pipe_seat *seat, pipe_emit_function *to,
                      struct emission *emission, struct pipe_refusal *why)
{
    const struct pipe_record *record = emission->record->batched ? NULL : emission->record;
    const char *data = pipe_bytes_front(&seat->worker.from);
    size_t size = pipe_bytes_left(&seat->worker.from);

    while (size > 0) {
        struct pipe_cut cut = {0};
        size_t answer;
        size_t total;
        if (pipe_format_cut(&stage->format, &cut, data, size, true, &answer, &total) != 1) {
            snprintf(why->reason, sizeof(why->reason), "the command's answer is not msgpack");
            return -EBADMSG;
        }
        int rc = pipe_format_read(&stage->format, record, data, answer, to, emission, why);
        if (rc != 0)
            return rc;
        data += total;
        size -= total;
    }
    return 0;
}

static void take_batch(struct pipe_stage *stage, struct pipe_seat *seat)
{
    struct pipe_entry *entry = pipe_run_first(&seat->input->lane);
    struct emission emission = {.stage = stage, .record = pipe_record_of(entry)};
    struct pipe_refusal why = {0};

    emission.record->batched = pipe_run_next(entry) != NULL;
    int rc = read_batch(stage, seat, emit_nothing, &emission, &why);
    if (rc == 0)
        rc = read_batch(stage, seat, emit, &emission, &why);
    if (rc != 0) {
        fail_answer(stage, seat, rc, &why);
        return;
    }
    succeed(stage, seat);
    while ((entry = pipe_run_first(&seat->input->lane)) != NULL)
        pipe_entry_conclude(entry);
    pipe_worker_forget(&seat->worker);
    free_seat(seat);
}

// ------------------------------------------------------------------------------------ the turn

// A command that gathers its output, or leaves lines out, fails by time-outs alone: many of them
// pass, each as long as --timeout, before the record to blame is found.
static void hint_at_silence(struct pipe_stage *stage)
{
    if (in_batches(stage) || stage->answered || stage->counts.timeouts != 1)
        return;
    progress_end(&stage->progress);
    fprintf(stage->app->err,
            "weir pipe: no answer for %" PRId64 " ms, and none before. The command has to answer "
            "every line with a line, and at once (sed -u, jq --unbuffered); one that leaves lines "
            "out, like grep, needs --batch\n",
            stage->options->answer_timeout_ms);
}

static void look_at(struct pipe_stage *stage, struct pipe_seat *seat)
{
    struct pipe_worker *worker = &seat->worker;
    char text[PIPE_REASON_MAX];

    if (!in_batches(stage))
        take_answers(stage, seat);
    else if (pipe_bytes_left(&worker->from) > BATCH_OUTPUT_MAX)
        run_failed(stage, seat, "has written more than 64 MiB for one batch");
    if (stage->code != 0)
        return;
    if (seat->input == NULL) {
        if (worker->ended)
            pipe_worker_forget(worker);
        return;
    }
    if (worker->ended && in_batches(stage) && WIFEXITED(worker->status) &&
        WEXITSTATUS(worker->status) == 0) {
        take_batch(stage, seat);
    } else if (worker->ended) {
        pipe_worker_end_text(worker, text, sizeof(text));
        run_failed(stage, seat, text);
    } else if (stage->now_ms >= seat->deadline_ms) {
        stage->counts.timeouts++;
        hint_at_silence(stage);
        snprintf(text, sizeof(text), "gave no answer for %" PRId64 " ms",
                 stage->options->answer_timeout_ms);
        run_failed(stage, seat, text);
    }
}

static int wait_ms(const struct pipe_stage *stage)
{
    int64_t due_ms = pipe_engine_due_ms(&stage->engine);
    int64_t wait_ms = WAIT_MS;
    int library_ms = weir_timeout_ms(stage->client);
    bool idle = false;

    if (stage->more || (stage->full != NULL && !pipe_lane_full(&stage->full->lane)))
        return 0;
    for (size_t i = 0; i < stage->seat_count; i++) {
        const struct pipe_seat *seat = &stage->seats[i];
        idle |= seat->input == NULL;
        if (seat->input != NULL && seat->deadline_ms - stage->now_ms < wait_ms)
            wait_ms = seat->deadline_ms - stage->now_ms;
    }
    if (idle && due_ms != INT64_MAX && due_ms - stage->now_ms < wait_ms)
        wait_ms = due_ms - stage->now_ms;
    if (library_ms >= 0 && library_ms < wait_ms)
        wait_ms = library_ms;
    return wait_ms > 0 ? (int)wait_ms : 0;
}

void pipe_seats_turn(struct pipe_stage *stage)
{
    struct pollfd fds[1 + PIPE_WORKERS_MAX * PIPE_WORKER_FDS];
    size_t counts[PIPE_WORKERS_MAX] = {0};
    size_t count = 1;

    fds[0] = (struct pollfd){.fd = weir_fd(stage->client), .events = POLLIN};
    for (size_t i = 0; i < stage->seat_count; i++) {
        counts[i] = pipe_worker_wants(&stage->seats[i].worker, fds + count, true);
        count += counts[i];
    }
    int ready = poll(fds, count, wait_ms(stage));
    stage->now_ms = pipe_stage_clock_ms();
    const struct pollfd *at = fds + 1;
    for (size_t i = 0; i < stage->seat_count && stage->code == 0; i++) {
        struct pipe_seat *seat = &stage->seats[i];
        if (ready > 0 && pipe_worker_turn(&seat->worker, at, counts[i], stage->app->err) != 0)
            pipe_stage_fail(stage, EXIT_FAILED, "out of memory");
        if (stage->code == 0)
            look_at(stage, seat);
        at += counts[i];
    }
}

bool pipe_seats_idle(const struct pipe_stage *stage)
{
    for (size_t i = 0; i < stage->seat_count; i++) {
        if (stage->seats[i].input != NULL)
            return false;
    }
    return true;
}

// Lines that come only now belong to no record: somebody who buffers what it writes would lose
// some, were this not said.
void pipe_seats_close(struct pipe_stage *stage)
{
    int64_t end_ms = pipe_stage_clock_ms() + CLOSE_MS;
    bool running = true;

    while (running && stage->code == 0 && pipe_stage_clock_ms() < end_ms) {
        running = false;
        for (size_t i = 0; i < stage->seat_count && stage->code == 0; i++) {
            struct pipe_worker *worker = &stage->seats[i].worker;
            struct pollfd fds[PIPE_WORKER_FDS];
            worker->last = true;
            size_t count = pipe_worker_wants(worker, fds, true);
            if (count > 0 && poll(fds, count, 10) > 0)
                pipe_worker_turn(worker, fds, count, stage->app->err);
            if (pipe_worker_runs(worker) && pipe_bytes_left(&worker->from) > 0)
                fail_contract(stage);
            running |= pipe_worker_runs(worker) && !worker->ended;
        }
    }
    for (size_t i = 0; i < stage->seat_count; i++)
        pipe_worker_free(&stage->seats[i].worker);
}
