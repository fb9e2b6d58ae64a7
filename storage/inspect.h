// SPDX-License-Identifier: Apache-2.0
// Looking into a data directory without a broker: reads segments, indexes and journal files, says
// what is wrong with them and what a broker makes of it. A second reading of the rules in
// docs/disk-format.md, which shares the layout (format.h) with the broker and nothing else: not
// scan.c, not recover.c. The two check each other.
//
// Everything here waits. Different segments may be surveyed and walked by different threads at the
// same time; the rest is for one thread. Nothing is written but by the calls of inspect_repair.h.
// Errors are negative errnos. Damage is not an error: it is what is looked for.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "base/span.h"
#include "storage/format.h"
#include "storage/journal_format.h"

// --- findings

enum inspect_kind {
    // What a crash leaves, and the broker puts in order by itself.
    INSPECT_TORN_END,     // the rest of a commit that nobody was told of
    INSPECT_UNFINISHED,   // a segment file whose creation a crash ended
    INSPECT_LEFTOVER,     // of a compaction, an index, a deletion
    INSPECT_NO_INDEX,     // of a sealed segment
    INSPECT_BAD_INDEX,    // damaged, or of another file: indexes are never synced
    INSPECT_STRANGER,     // a file that no broker made
    INSPECT_JOURNAL_TORN, // the commit under way when the end came
    // Wrong.
    INSPECT_DAMAGED_RANGE, // frames that fail their checksums
    INSPECT_DAMAGED_FILE,  // a segment's header: nothing in it can be checked
    INSPECT_WRONG_FILE,    // a sound segment of another place
    INSPECT_MISSING_FILE,  // offsets between two segments
    INSPECT_LOST_END,      // nobody can know where the log ended
    INSPECT_OTHER_VERSION, // of the format
    INSPECT_BAD_BATCH,     // inside a sound frame
    INSPECT_WRONG_INDEX,   // sound, and says what the data does not
    INSPECT_UNREADABLE,    // the device or the file system refuses
    INSPECT_BAD_DIRECTORY, // the data directory's own files
    INSPECT_JOURNAL_DAMAGED,
    INSPECT_JOURNAL_MISSING,
    INSPECT_JOURNAL_GAP,      // journalled offsets that do not continue their log
    INSPECT_JOURNAL_CONFLICT, // a journalled batch differs from the one in the segment
    INSPECT_UNCERTAIN_END,    // the journal lost something that may have been of this log
    INSPECT_KINDS,
};

struct inspect_rule {
    const char *name;
    bool harmless;      // no reason to call the directory unsound
    const char *broker; // what the broker does
    const char *repair; // the option of `weir log repair`, or NULL
};
extern const struct inspect_rule inspect_rules[INSPECT_KINDS];

struct inspect_finding {
    enum inspect_kind kind;
    char *file;        // below the data directory
    const char *topic; // NULL: concerns no single log
    int32_t partition;
    uint64_t from; // bytes of the file; from == to: none in particular
    uint64_t to;
    int64_t first; // offsets; first == next: none
    int64_t next;  // INT64_MAX: all from `first` on
    char *what;    // a clause for people
};

struct inspect_findings {
    struct inspect_finding *items;
    size_t count;
    size_t capacity;
    bool short_of_memory; // some are missing
};

// Copies `file`; `topic` and the rest are taken from `finding` as they are.
void inspect_note(struct inspect_findings *findings, struct inspect_finding finding,
                  const char *what, ...) __attribute__((format(printf, 3, 4)));
// Moves all of `from` behind those of `to`.
void inspect_move(struct inspect_findings *to, struct inspect_findings *from);
void inspect_findings_free(struct inspect_findings *findings);

// --- files

// A file read from its beginning to its end, in large pieces past the page cache where that works.
struct inspect_file {
    int fd;
    uint64_t size;
    uint8_t *window;
    size_t capacity;
    uint64_t start; // of what the window holds
    size_t have;
    uint64_t unreadable_from; // pieces that the device refused, which read as zeros; from == to:
    uint64_t unreadable_to;   // none
    int error;                // -ENOMEM
    atomic_uint_fast64_t *progress; // gets the bytes read, NULL = not wanted
};

int inspect_file_open(struct inspect_file *file, const char *path);
void inspect_file_close(struct inspect_file *file);

// `size` bytes at `position`, valid until the next call; NULL when the file ends before.
const uint8_t *inspect_file_at(struct inspect_file *file, uint64_t position, uint64_t size);

// The first byte at or behind `position` that may be other than zero, as far as the file system
// knows without reading; the file's size when there is none.
uint64_t inspect_file_data(const struct inspect_file *file, uint64_t position);

// --- segments

enum inspect_state {
    INSPECT_UNSEEN,
    INSPECT_SOUND,
    INSPECT_ABSENT,
    INSPECT_EMPTY,   // no bytes, or zeros where the header belongs
    INSPECT_GARBLED, // fails its checksum, or is too short
    INSPECT_FOREIGN, // sound, of another place
    INSPECT_VERSION, // sound, of another format version
    INSPECT_REFUSED, // cannot be opened or read
};

// Bytes between two sound frames, or inside of one, that hold nothing sound.
struct inspect_gap {
    uint64_t from;
    uint64_t to;
    int64_t first; // the offsets that are missing with them
    int64_t next;
    const char *why;
};

// Of a frame that is damaged inside: batches that are sound, or bytes that are not.
struct inspect_part {
    bool sound;
    uint64_t position; // in the file
    struct span bytes;
    int64_t first; // the offsets that are there, or missing
    int64_t next;
};

struct inspect_log;

struct inspect_segment {
    const struct inspect_log *log;
    int64_t base;  // as the names say
    bool has_data; // there is a .log file
    bool has_index;
    bool superseded; // its content is in a file before it
    uint64_t file_size;
    // What a survey finds.
    enum inspect_state state;
    int refused; // errno of INSPECT_REFUSED
    struct segment_header header;
    uint32_t version;
    bool goes_beyond; // the base of the segment behind, whose creation failed
    int64_t limit;    // base of the segment behind; INT64_MAX for the last one
    bool has_content; // anything but zeros behind the header
    struct inspect_gap *gaps;
    size_t gap_count;
    uint64_t frames;
    uint64_t batches;
    uint64_t records; // as the batches' headers say
    uint64_t payload_bytes;
    uint64_t control_frames;
    uint64_t end; // of the last sound frame, or of damage that an index proves
    int64_t next_offset;
    uint64_t next_sequence;
    uint64_t last_frame;
    int64_t max_timestamp;
    int64_t log_start;    // the highest that header, index or control frames name
    uint64_t content_end; // behind it there are only zeros
    uint64_t torn_size; // of the frame at `end` whose header is sound and payload is not; 0 = none
    int64_t torn_next;  // its next offset
    const char *torn_why;
    enum inspect_state index_state;
    struct index_header index;
    struct inspect_findings findings; // about batches and the index
};

struct inspect_log {
    char *topic;
    int32_t partition;
    struct kp_uuid topic_id;
    char *name;         // of the directory, below the data directory
    const char *root;   // the data directory
    const char *single; // not NULL: one file, wherever it lies, of whatever log it says
    struct inspect_segment *segments; // by base offset; those of which only an index is left, too
    size_t segment_count;
    // What judging finds.
    int64_t start;
    int64_t end;           // of what the segments hold
    bool end_is_lost;      // so the log accepts nothing
    int64_t journal_first; // offset of the first record that only the journal holds; -1 = none
    int64_t journal_next;  // one past the last such
    struct inspect_findings findings;
};

// What somebody wants to see of a segment besides. Any of the calls may be NULL; a result other
// than 0 ends the walk and is its result.
struct inspect_visitor {
    void *context;
    int (*header)(void *context, const struct inspect_segment *segment);
    int (*frame)(void *context, uint64_t position, const struct frame_header *frame,
                 struct span payload);
    int (*gap)(void *context, const struct inspect_gap *gap);
    // A frame that is damaged inside and was durable. Without this call: `gap` for what is bad.
    int (*broken)(void *context, uint64_t position, const struct frame_header *frame,
                  const struct inspect_part *parts, size_t count);
};

// Goes through one segment and fills in what a survey finds. 0, -ENOMEM, or the visitor's result.
int inspect_segment_walk(struct inspect_segment *segment, const struct inspect_visitor *visitor,
                         atomic_uint_fast64_t *progress);

// The path of one of its files, from malloc; NULL without memory.
char *inspect_segment_path(const struct inspect_segment *segment, const char *suffix, bool rooted);

// --- indexes

struct inspect_index {
    struct index_header header;
    uint8_t *bytes; // the file
    size_t size;
    uint32_t count;
    struct span producers;
    int error;
};

// Takes an index file apart. FOREIGN: sound, of another life or file than `salt` (0 = any) and
// `base` (-1 = any) say. To be freed in every case.
enum inspect_state inspect_index_read(struct inspect_index *index, const char *path, uint64_t salt,
                                      int64_t base, atomic_uint_fast64_t *progress);
void inspect_index_free(struct inspect_index *index);
struct index_entry inspect_index_entry(const struct inspect_index *index, uint32_t number);

// --- journals

struct inspect_directory;

struct inspect_journal_file {
    char *name;     // below the data directory
    uint32_t shard; // as the name says
    uint32_t slot;
    bool set_aside; // by a start that found it damaged
    bool unsettled; // set aside by one that did not come to its end: it still counts
    enum inspect_state state;
    uint32_t version;
    struct journal_header header;
    uint8_t *image;
    uint64_t size; // whole blocks
};

struct inspect_journal_state {
    char *name;
    uint32_t shard; // as the name says
    uint32_t shard_count;
    enum inspect_state state;
    struct journal_state_header header;
    struct journal_uncertain *uncertain;
};

struct inspect_commit {
    const struct inspect_journal_file *file;
    uint64_t position;
    struct journal_commit header;
    bool table_sound;
    bool payload_sound;
};

// A batch, or the payload of a control frame, that a journal holds.
struct inspect_journalled {
    uint32_t kind;
    int64_t base;
    int64_t next;
    struct span bytes;
    uint64_t sequence; // of its commit
    const struct inspect_journal_file *file;
    uint64_t position; // of its commit
};

struct inspect_journal_log {
    uint8_t key[20];
    struct kp_uuid topic_id;
    int32_t partition;
    struct inspect_journalled *items; // in the order of the journal
    size_t count;
    size_t capacity;
    uint64_t last_sequence;
    uint64_t lost_sequence;
    bool uncertain;
};

// The files of one shard's journal, of a run with so many shards.
struct inspect_journal_group {
    uint32_t shard;
    uint32_t shard_count;
    uint64_t identity;
    const struct inspect_journal_state *state; // NULL = none that is sound
    bool in_use;                               // so its files matter
    bool damaged;                              // and some of them are, or are missing
    uint64_t lost;     // the last commit that any log may have lost something in; 0 = none
    uint64_t life;     // the highest of a file
    uint64_t sequence; // the highest of a commit
    int64_t created_ms;
};

struct inspect_journal {
    struct inspect_journal_file *files;
    size_t file_count;
    struct inspect_journal_state *states;
    size_t state_count;
    struct map logs;                      // key -> struct inspect_journal_log
    struct inspect_journal_group *groups; // the one that was used last comes last
    size_t group_count;
    bool in_doubt; // a broker is writing: nothing is said about what is missing
    struct inspect_findings findings;
};

// Reads the journal of a data directory and notes what is wrong with it. 0 or a negative errno.
int inspect_journal_open(struct inspect_journal *journal, const struct inspect_directory *directory,
                         atomic_uint_fast64_t *progress);
void inspect_journal_close(struct inspect_journal *journal);

// What is journalled of a log; NULL when nothing is.
const struct inspect_journal_log *inspect_journal_log(const struct inspect_journal *journal,
                                                      struct kp_uuid topic_id, int32_t partition);

// Whether the file is one of the group's.
bool inspect_journal_has(const struct inspect_journal_group *group,
                         const struct inspect_journal_file *file);

// Whether the log may have had something in the journal that cannot be read.
bool inspect_journal_doubts(const struct inspect_journal *journal, struct kp_uuid topic_id,
                            int32_t partition);

// One file by itself. 0, or what the system says about opening it.
int inspect_journal_file_open(struct inspect_journal_file *file, const char *path,
                              atomic_uint_fast64_t *progress);
void inspect_journal_file_close(struct inspect_journal_file *file);

// Goes through the commits of the file's present life, from *at = 0. False at the end.
bool inspect_commit_next(const struct inspect_journal_file *file, uint64_t *at,
                         struct inspect_commit *out);

// Goes through a commit's entries, whose table must be sound, from *number = 0. `payload` is empty
// and *sound false when the entry cannot be there.
bool inspect_entry_next(const struct inspect_commit *commit, uint32_t *number, uint64_t *at,
                        struct journal_entry *out, struct span *payload, bool *sound);

// --- verification

struct inspect_options {
    bool records;                          // look into the batches as well
    atomic_uint_fast64_t *progress;        // bytes read
    const struct inspect_journal *journal; // compared with the segments; NULL = not wanted
};

// Walks the segment and notes what is wrong inside frames and with the index. 0 or -ENOMEM.
int inspect_segment_survey(struct inspect_segment *segment, const struct inspect_options *options);

// Judges a log whose segments are all surveyed: the findings of all of them, in order.
void inspect_log_judge(struct inspect_log *log, const struct inspect_journal *journal);

// --- data directories

struct inspect_filter {
    const char *topic; // NULL = all
    int32_t partition; // -1 = all
};

struct inspect_directory {
    char *path;
    struct inspect_log *logs; // by topic and partition
    size_t log_count;
    bool in_use;                      // a broker holds it
    struct inspect_findings findings; // about the directory itself, and leftovers
};

// Whether there is a directory of topics in it.
bool inspect_is_data_directory(const char *path);

// Lists what is there, reads nothing yet. 0, -ENOENT, -ENOTDIR, -ENOMEM, ...
int inspect_directory_open(struct inspect_directory *directory, const char *path,
                           const struct inspect_filter *filter);
void inspect_directory_close(struct inspect_directory *directory);
