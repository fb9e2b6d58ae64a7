// SPDX-License-Identifier: Apache-2.0
// What files a data directory has, and which log they belong to. Names only: no file of a log is
// opened here.
#include "storage/inspect_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ID_TEXT = 22, BASE_DIGITS = 20 };

void inspect_names_free(struct inspect_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct inspect_names){0};
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int name_add(struct inspect_names *names, const char *name)
{
    if ((names->count & (names->count + 1)) == 0) {
        size_t capacity = names->count * 2 + 2;
        char **items = reallocarray(names->items, capacity, sizeof(*items));
        if (!items)
            return -ENOMEM;
        names->items = items;
    }
    names->items[names->count] = strdup(name);
    return names->items[names->count] ? (names->count++, 0) : -ENOMEM;
}

int inspect_names_read(struct inspect_names *names, const char *root, const char *below)
{
    *names = (struct inspect_names){0};
    char *path = NULL;
    if (asprintf(&path, "%s/%s", root, below) < 0)
        return -ENOMEM;
    DIR *entries = opendir(path);
    int error = entries ? 0 : -errno;
    free(path);
    if (error)
        return error == -ENOENT ? 0 : error;
    struct dirent *entry;
    while (!error && (entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error = name_add(names, entry->d_name);
    }
    closedir(entries);
    if (names->count > 0)
        qsort(names->items, names->count, sizeof(*names->items), name_compare);
    return error;
}

// --- names

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool id_read(const char *text, struct kp_uuid *out)
{
    uint32_t bits = 0;
    size_t used = 0;
    for (size_t i = 0; i < ID_TEXT; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0 && used < sizeof(out->bytes))
            out->bytes[used++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return text[ID_TEXT] == '\0';
}

// "<partition>-<topic id>"
static bool log_name_read(const char *name, int32_t *partition, struct kp_uuid *id)
{
    char *end;
    errno = 0;
    long number = strtol(name, &end, 10);
    if (errno || end == name || *end != '-' || number < 0 || number > INT32_MAX || name[0] < '0' ||
        name[0] > '9')
        return false;
    *partition = (int32_t)number;
    return id_read(end + 1, id);
}

bool inspect_base_read(const char *name, const char *suffix, int64_t *base)
{
    uint64_t value = 0;
    for (int i = 0; i < BASE_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(name[i] - '0');
    }
    *base = (int64_t)value;
    return *base >= 0 && strcmp(name + BASE_DIGITS, suffix) == 0;
}

// --- the files of one log

static struct inspect_segment *segment_at(struct inspect_log *log, int64_t base)
{
    struct inspect_segment *last =
        log->segment_count > 0 ? &log->segments[log->segment_count - 1] : NULL;
    if (last && last->base == base)
        return last;
    struct inspect_segment *segments =
        reallocarray(log->segments, log->segment_count + 1, sizeof(*segments));
    if (!segments)
        return NULL;
    log->segments = segments;
    segments[log->segment_count] = (struct inspect_segment){.base = base, .limit = INT64_MAX};
    return &segments[log->segment_count++];
}

static void stranger_note(struct inspect_findings *findings, const struct inspect_log *log,
                          const char *parent, const char *name, enum inspect_kind kind,
                          const char *what)
{
    char *file = NULL;
    if (asprintf(&file, "%s/%s", parent, name) < 0)
        file = NULL;
    inspect_note(findings,
                 (struct inspect_finding){.kind = kind,
                                          .file = file,
                                          .topic = log ? log->topic : NULL,
                                          .partition = log ? log->partition : -1},
                 "%s", what);
    free(file);
}

void inspect_stranger(struct inspect_findings *findings, const char *parent, const char *name)
{
    stranger_note(findings, NULL, parent, name, INSPECT_STRANGER, "a file that no broker made");
}

static int log_file_add(struct inspect_directory *directory, struct inspect_log *log,
                        const char *name)
{
    int64_t base;
    struct inspect_segment *segment = NULL;
    bool data = inspect_base_read(name, ".log", &base);
    if (data || inspect_base_read(name, ".index", &base)) {
        segment = segment_at(log, base);
        if (!segment)
            return -ENOMEM;
        segment->has_data = segment->has_data || data;
        segment->has_index = segment->has_index || !data;
        return 0;
    }
    if (inspect_base_read(name, ".log.cleaning", &base))
        stranger_note(&directory->findings, log, log->name, name, INSPECT_LEFTOVER,
                      "a compaction that did not come to its end");
    else if (inspect_base_read(name, ".index.new", &base))
        stranger_note(&directory->findings, log, log->name, name, INSPECT_LEFTOVER,
                      "an index that was being written");
    else
        stranger_note(&directory->findings, log, log->name, name, INSPECT_STRANGER,
                      "a file that no broker made");
    return 0;
}

static int log_files_read(struct inspect_directory *directory, struct inspect_log *log)
{
    struct inspect_names names;
    int error = inspect_names_read(&names, directory->path, log->name);
    for (size_t i = 0; !error && i < names.count; i++)
        error = log_file_add(directory, log, names.items[i]);
    inspect_names_free(&names);
    for (size_t i = 0; !error && i < log->segment_count; i++) {
        struct inspect_segment *segment = &log->segments[i];
        char *path = NULL;
        struct stat stat;
        if (asprintf(&path, "%s/%s/%020" PRId64 ".log", directory->path, log->name, segment->base) <
            0)
            return -ENOMEM;
        if (segment->has_data && lstat(path, &stat) == 0)
            segment->file_size = (uint64_t)stat.st_size;
        free(path);
    }
    return error;
}

// --- topics

static int log_add(struct inspect_directory *directory, const char *topic, const char *name,
                   int32_t partition, struct kp_uuid id)
{
    struct inspect_log *logs = directory->logs;
    if ((directory->log_count & (directory->log_count + 1)) == 0) {
        logs = reallocarray(logs, directory->log_count * 2 + 2, sizeof(*logs));
        if (!logs)
            return -ENOMEM;
        directory->logs = logs;
    }
    struct inspect_log *log = &logs[directory->log_count++];
    *log = (struct inspect_log){.partition = partition, .topic_id = id, .root = directory->path};
    log->topic = strdup(topic);
    if (!log->topic || asprintf(&log->name, "topics/%s/%s", topic, name) < 0)
        return -ENOMEM;
    return log_files_read(directory, log);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name);
    size_t end = strlen(suffix);
    return length > end && strcmp(name + length - end, suffix) == 0;
}

static int topic_read(struct inspect_directory *directory, const char *topic,
                      const struct inspect_filter *filter)
{
    char *below = NULL;
    struct inspect_names names;
    if (asprintf(&below, "topics/%s", topic) < 0)
        return -ENOMEM;
    int error = inspect_names_read(&names, directory->path, below);
    if (error == -ENOTDIR) {
        error = 0;
        stranger_note(&directory->findings, NULL, "topics", topic, INSPECT_STRANGER,
                      "a file that no broker made");
    }
    for (size_t i = 0; !error && i < names.count; i++) {
        int32_t partition;
        struct kp_uuid id;
        const char *name = names.items[i];
        if (!log_name_read(name, &partition, &id))
            stranger_note(&directory->findings, NULL, below, name,
                          ends_with(name, ".deleted") ? INSPECT_LEFTOVER : INSPECT_STRANGER,
                          ends_with(name, ".deleted") ? "a log whose deletion was interrupted"
                                                      : "a file that no broker made");
        else if (filter->partition < 0 || filter->partition == partition)
            error = log_add(directory, topic, name, partition, id);
    }
    inspect_names_free(&names);
    free(below);
    return error;
}

static int log_compare(const void *a, const void *b)
{
    const struct inspect_log *one = a;
    const struct inspect_log *other = b;
    int order = strcmp(one->topic, other->topic);
    return order ? order
                 : (one->partition > other->partition) - (one->partition < other->partition);
}

static void logs_arrange(struct inspect_directory *directory)
{
    if (directory->log_count > 0)
        qsort(directory->logs, directory->log_count, sizeof(*directory->logs), log_compare);
    for (size_t i = 0; i < directory->log_count; i++) {
        struct inspect_log *log = &directory->logs[i];
        for (size_t j = 0; j < log->segment_count; j++)
            log->segments[j].log = log;
    }
    // The findings so far name topics by pointers into logs, which stay: only the logs moved.
}

// --- the directory's own files

static void format_check(struct inspect_directory *directory)
{
    static const char prefix[] = "weir data format ";
    char text[64] = "";
    char *path = NULL;
    if (asprintf(&path, "%s/format", directory->path) < 0)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    free(path);
    size_t length = sizeof(prefix) - 1;
    bool sound = size > (ssize_t)length && strncmp(text, prefix, length) == 0 &&
                 text[size - 1] == '\n' && strspn(text + length, "0123456789") > 0;
    if (!sound)
        inspect_note(&directory->findings,
                     (struct inspect_finding){.kind = INSPECT_BAD_DIRECTORY, .file = "format"},
                     size < 0 ? "the file that names the format is missing"
                              : "the file that names the format is damaged");
}

static void lock_look(struct inspect_directory *directory)
{
    char *path = NULL;
    if (asprintf(&path, "%s/lock", directory->path) < 0)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return;
    directory->in_use = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
}

bool inspect_is_data_directory(const char *path)
{
    char *topics = NULL;
    struct stat stat_buffer;
    if (asprintf(&topics, "%s/topics", path) < 0)
        return false;
    bool found = stat(topics, &stat_buffer) == 0 && S_ISDIR(stat_buffer.st_mode);
    free(topics);
    return found;
}

int inspect_directory_open(struct inspect_directory *directory, const char *path,
                           const struct inspect_filter *filter)
{
    *directory = (struct inspect_directory){.path = strdup(path)};
    struct inspect_names topics = {0};
    struct stat stat;
    int error = directory->path ? 0 : -ENOMEM;
    if (!error && lstat(path, &stat) != 0)
        error = -errno;
    if (!error)
        error = inspect_names_read(&topics, path, "topics");
    for (size_t i = 0; !error && i < topics.count; i++) {
        if (!filter->topic || strcmp(filter->topic, topics.items[i]) == 0)
            error = topic_read(directory, topics.items[i], filter);
    }
    inspect_names_free(&topics);
    if (error) {
        inspect_directory_close(directory);
        return error;
    }
    logs_arrange(directory);
    format_check(directory);
    lock_look(directory);
    return 0;
}

void inspect_log_free(struct inspect_log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        free(log->segments[i].gaps);
        inspect_findings_free(&log->segments[i].findings);
    }
    inspect_findings_free(&log->findings);
    free(log->segments);
    free(log->topic);
    free(log->name);
}

void inspect_directory_close(struct inspect_directory *directory)
{
    for (size_t i = 0; i < directory->log_count; i++)
        inspect_log_free(&directory->logs[i]);
    inspect_findings_free(&directory->findings);
    free(directory->logs);
    free(directory->path);
    *directory = (struct inspect_directory){0};
}
