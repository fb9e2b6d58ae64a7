// SPDX-License-Identifier: Apache-2.0
// A running stage: reads the partitions that its group gives it, has commands work on the records,
// stores what they answer, and commits what is done. One thread, one loop (pipe_stage.c); its
// parts:
//
//   pipe_input.c    partitions: taking records, rebalances, commits, ends
//   pipe_seat.c     workers: runs, answers, failures, time-outs
//   pipe_output.c   outputs and dead letters, and what becomes of them
//   pipe_summary.c  what is shown
//
// Callbacks of the library only note what has happened; the loop acts on it.
#pragma once

#include "tools/app.h"
#include "tools/group_ends.h"
#include "tools/histogram.h"
#include "tools/pipe_engine.h"
#include "tools/pipe_format.h"
#include "tools/pipe_record.h"
#include "tools/pipe_worker.h"
#include "tools/progress.h"

enum { PIPE_WORKERS_MAX = 64 };

// What the command line says. `command` NULL: records go on as they are.
struct pipe_options {
    const char *from;
    const char *to;
    const char *group;
    const char *dead_letter;
    const char *delimiter;
    const char *check;
    int64_t workers;
    int64_t batch; // 0: lines are answered by lines
    int64_t linger_ms;
    int64_t retries;
    int64_t pause_ms;
    int64_t answer_timeout_ms;
    int64_t grace_ms;
    int64_t give_up;
    int64_t max_bytes;
    int64_t memory_bytes;
    int format; // enum pipe_format_kind
    int codec;
    bool envelope;
    bool until_end;
};

struct pipe_counts {
    int64_t read;
    int64_t written; // acknowledged, as are those rejected
    int64_t dropped; // records whose answer was that there is no output
    int64_t rejected;
    int64_t failures; // of runs
    int64_t timeouts; // among them
    int64_t started;  // processes
    int64_t read_bytes;
};

// The rate that is shown.
struct pipe_pace {
    uint64_t since_ns; // 0: the stage's start
    int64_t read;      // records by then
    double rate;
};

struct pipe_stage;
struct pipe_seat;

// One partition of ours. A partition that comes back after it was lost is a new one.
struct pipe_input {
    struct pipe_lane lane;
    struct list node; // in stage->inputs
    struct pipe_seat *seat;
    int32_t partition;
    int64_t stop;        // with --until-end: records from here on are not for us
    int64_t beyond;      // the first of these that was handed out; -1: none
    int64_t committed;   // asked to be
    int64_t deadline_ms; // once it is to be given up: what runs by then is abandoned
    bool paused;
    bool at_stop;
    bool revoked; // to be given up, in good order
    bool lost;    // somebody else's
};

// A worker and the run it is at.
struct pipe_seat {
    struct pipe_worker worker;
    struct pipe_input *input; // NULL: idle
    struct pipe_cut cut;
    int64_t deadline_ms; // for the next answer, or for the batch
};

struct pipe_stage {
    struct app *app;
    const struct pipe_options *options;
    char *const *command;
    struct pipe_format format;
    struct pipe_check *check;
    struct weir_client *client;
    struct weir_producer *producer;
    struct weir_consumer *consumer;
    struct pipe_engine engine;
    struct list inputs;
    struct list refused;     // records with an output that the broker refused for good
    struct pipe_input *full; // reading waits for it
    int64_t full_ms;         // since when
    bool more;               // there are records to take at once
    struct pipe_seat *seats;
    size_t seat_count;
    struct group_ends ends; // with --until-end
    struct pipe_counts counts;
    struct progress progress;
    struct pipe_pace pace;
    uint64_t start_ns;
    int64_t now_ms; // of this turn
    int64_t commit_ms;
    int64_t unlucky;                  // rejections since the command last succeeded
    int64_t stop_by_ms;               // once stopping
    char run_reason[PIPE_REASON_MAX]; // the last failure of a run
    bool answered;                    // a command has, at least once
    bool joined;                      // the group has given us partitions, or none
    bool held;                        // a rebalance waits for us
    bool committing;
    bool stopping;
    bool finished; // every record that --until-end asks for is done with
    int code;      // not 0: the stage fails with it
};

// Runs a stage to its end and prints the summary. Returns the exit code.
int pipe_stage_run(struct app *app, const struct pipe_options *options, char *const *command,
                   struct pipe_check *check);

// Fails the stage: the first sentence is printed and the stage stops.
void pipe_stage_fail(struct pipe_stage *stage, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void pipe_stage_fail_client(struct pipe_stage *stage, int error);

int64_t pipe_stage_clock_ms(void);

// -------------------------------------------------------------------------------- partitions

// Finds out where the topic ends, and joins the group. False: the stage has failed.
bool pipe_inputs_open(struct pipe_stage *stage);

// Takes what has been fetched, as far as there is room.
void pipe_inputs_take(struct pipe_stage *stage);

// After runs have begun: if workers are idle because one partition's records are in the way of the
// others', pauses it; resumes those that have room again.
void pipe_inputs_balance(struct pipe_stage *stage);

// Frees what is done, gives up what is to be given up, and commits.
void pipe_inputs_settle(struct pipe_stage *stage);

// Whether every record asked for is done with and committed.
bool pipe_inputs_finished(struct pipe_stage *stage);

// Commits for the last time, and leaves the group. Waits.
void pipe_inputs_close(struct pipe_stage *stage);

// Records behind those that are done with, in all partitions of ours.
int64_t pipe_inputs_lag(const struct pipe_stage *stage);

// ----------------------------------------------------------------------------------- workers

// Gives idle workers what there is to do.
void pipe_seats_begin(struct pipe_stage *stage);

// Waits until something happens, on the network or with a command, and has it done.
void pipe_seats_turn(struct pipe_stage *stage);

// Stops the run of a partition, if there is one; nobody is blamed.
void pipe_seat_abandon(struct pipe_stage *stage, struct pipe_input *input);

bool pipe_seats_idle(const struct pipe_stage *stage);

// The input of the commands ends; those that do not end by themselves soon are killed.
void pipe_seats_close(struct pipe_stage *stage);

// ----------------------------------------------------------------------------------- outputs

// A delivery report of the producer.
void pipe_output_delivered(void *context, const struct weir_delivery *delivery);

// Sends an output of the record, or of the run that begins with it. Waits while the producer is
// full. 0, or -ECANCELED: the stage has failed.
int pipe_output_send(struct pipe_stage *stage, struct pipe_record *record,
                     const struct weir_message *message);

// Sends the record to the dead letters. Without such a topic the stage fails.
void pipe_output_reject(struct pipe_stage *stage, struct pipe_record *record,
                        const struct pipe_refusal *why);

// Rejects the records whose outputs the broker has refused for good.
void pipe_output_settle(struct pipe_stage *stage);

// The record has left its lane.
void pipe_output_release(struct pipe_record *record);

// ----------------------------------------------------------------------------------- showing

void pipe_summary_update(struct pipe_stage *stage);
void pipe_summary_print(const struct pipe_stage *stage);

static inline struct pipe_record *pipe_record_of(struct pipe_entry *entry)
{
    return list_entry(entry, struct pipe_record, entry);
}
