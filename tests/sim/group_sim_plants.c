// SPDX-License-Identifier: Apache-2.0
// Whether the simulation finds what it is there to find: histories with each of the faults of
// broker/groups/plant.h, in a child process, until one fails.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/groups/plant.h"
#include "tests/sim/group_sim.h"

#ifdef WEIR_GROUP_PLANTS
enum group_plant group_plant_active = GROUP_PLANT_NONE;

static const char *const names[GROUP_PLANT_COUNT] = {
    [GROUP_PLANT_NONE] = "none",
    [GROUP_PLANT_SAME_GENERATION] = "same-generation",
    [GROUP_PLANT_FORGET_JOIN] = "forget-join",
    [GROUP_PLANT_FORGET_TARGETS] = "forget-targets",
    [GROUP_PLANT_ANYBODY_ASSIGNS] = "anybody-assigns",
    [GROUP_PLANT_STALE_SYNC] = "stale-sync",
    [GROUP_PLANT_DROP_ASK] = "drop-ask",
    [GROUP_PLANT_COMMIT_ANY] = "commit-any",
    [GROUP_PLANT_RELEASE_EARLY] = "release-early",
    [GROUP_PLANT_TAKE_HELD] = "take-held",
    [GROUP_PLANT_FORGET_CURRENT] = "forget-current",
    [GROUP_PLANT_FORGET_EPOCH] = "forget-epoch",
    [GROUP_PLANT_IGNORE_TOPICS] = "ignore-topics",
    [GROUP_PLANT_COMMIT_ANY_EPOCH] = "commit-any-epoch",
    [GROUP_PLANT_SAY_NOTHING] = "say-nothing",
    [GROUP_PLANT_HEAR_NOTHING] = "hear-nothing",
    [GROUP_PLANT_UPGRADE_EMPTY] = "upgrade-empty",
    [GROUP_PLANT_UPGRADE_RELEASED] = "upgrade-released",
    [GROUP_PLANT_UPGRADE_UNSTORED] = "upgrade-unstored",
    [GROUP_PLANT_DOWNGRADE_EMPTY] = "downgrade-empty",
    [GROUP_PLANT_DOWNGRADE_CURRENT] = "downgrade-current",
};

// What goes on until a history fails, and ends the process then.
static _Noreturn void run_child(uint64_t first, uint64_t seeds, uint64_t *seed)
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0)
        dup2(nowhere, STDERR_FILENO);
    for (uint64_t i = 0; i < seeds; i++) {
        *seed = first + i;
        sim_history(first + i);
    }
    _Exit(0);
}

// The first seed that fails; 0: none does.
static uint64_t run_plant(uint64_t first, uint64_t seeds)
{
    uint64_t *seed =
        mmap(NULL, sizeof(*seed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(seed != MAP_FAILED);
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        run_child(first, seeds, seed);
    CHECK(waitpid(child, &status, 0) == child);
    uint64_t found = status == 0 ? 0 : *seed;
    munmap(seed, sizeof(*seed));
    return found;
}

int sim_run_plants(uint64_t first, uint64_t seeds)
{
    int missed = 0;
    for (int i = 1; i < GROUP_PLANT_COUNT; i++) {
        group_plant_active = (enum group_plant)i;
        uint64_t found = run_plant(first, seeds);
        if (found)
            printf("%-20s found by seed %" PRIu64 "\n", names[i], found);
        else
            printf("%-20s NOT FOUND within %" PRIu64 " seeds\n", names[i], seeds);
        missed += found == 0;
    }
    group_plant_active = GROUP_PLANT_NONE;
    uint64_t wrong = run_plant(first, seeds / 4 + 1);
    if (wrong)
        printf("without a fault, seed %" PRIu64 " fails\n", wrong);
    printf("%d of %d missed\n", missed, GROUP_PLANT_COUNT - 1);
    return missed || wrong;
}
#else
int sim_run_plants(uint64_t first, uint64_t seeds)
{
    (void)first;
    (void)seeds;
    fputs("this program is built without planted faults\n", stderr);
    return 2;
}
#endif
