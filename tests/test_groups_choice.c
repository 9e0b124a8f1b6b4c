/*
 * The number of data groups for given ranks: what hps_grid_choose names for them, whatever the sizes, the machine and the
 * memory; with what it was held against in words; when nothing fits, the fewest groups; where nothing can be made, one line.
 * ranks: 1
 */
#include "scratch.h"
#include "tap.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/groups_choice.h"

#include <math.h>
#include <string.h>

enum { CASES = 300 };

static int64_t draw(int64_t which, int64_t index, int64_t low, int64_t high)
{
    const double u = hps_random_uniform(11, HPS_DRAW_TEST, (uint64_t)which, (uint64_t)index);

    return low + (int64_t)(u * (double)(high - low + 1));
}

/* A machine whose costs are the assumed ones times factors from 1/30 to 30, so that every number of groups wins somewhere. */
static void some_machine(int64_t i, hps_calibration *c)
{
    hps_calibration_builtin(c);
    for (int p = 0; p < HPS_PHASES; p++) {
        for (int f = 0; f < HPS_COST_FEATURES; f++) {
            const double u = hps_random_uniform(12 + (uint64_t)i, HPS_DRAW_TEST, (uint64_t)p, (uint64_t)f);
            c->coefficient[p][f] *= pow(30, 2 * u - 1);
        }
    }
}

static hps_cost_case some_case(int64_t i)
{
    return (hps_cost_case){.n = 1 << draw(0, i, 9, 17),
                           .d = draw(1, i, 16, 2400),
                           .B = 144 * draw(2, i, 1, 60),
                           .k = 4 << draw(3, i, 0, 5),
                           .word_bytes = 2};
}

/* Memory as it falls with the ranks of a group: the whole model is 1. */
static int64_t share(void *context, const hps_cost_case *size)
{
    (void)context;
    return 1000000 / size->P;
}

static void equals_grid_choose(void)
{
    int seen[64] = {0}, different = 0;

    for (int64_t i = 0; i < CASES; i++) {
        hps_calibration machine;
        const hps_cost_case size = some_case(i);
        const int per_node = (int)draw(4, i, 1, 12), threads = (int)draw(5, i, 1, 4);
        const hps_grid_space space = {.nodes = (int)draw(6, i, 1, 4),
                                      .cores = per_node * threads,
                                      .ranks_per_node = per_node,
                                      .node_bytes = i % 2 == 0 ? 0 : 1e6 * (double)draw(7, i, 1, per_node),
                                      .rank_bytes = share};
        hps_groups_choice choice;
        hps_grid_point best;
        char reason[HPS_REASON], words[HPS_CHOICE_WORDS];

        some_machine(i, &machine);
        CHECK(hps_groups_choose(&machine, &size, &space, &choice) == HPS_OK);
        const bool found = hps_grid_choose(&machine, &size, &space, &best, reason);
        const hps_grid_point *chosen = &choice.point[choice.chosen];
        CHECK(found == !choice.none_fits);
        CHECK(!found ||
              (chosen->size.R == best.size.R && chosen->size.P == best.size.P && chosen->seconds == best.seconds));
        CHECK(chosen->size.R * chosen->size.P == space.nodes * per_node && chosen->size.threads == threads);
        CHECK(found ? choice.fits[choice.chosen] : chosen->size.R == 1);
        for (int c = 1; c < choice.count; c++) {
            CHECK(choice.point[c].size.R > choice.point[c - 1].size.R);
        }
        CHECK(strstr(hps_groups_words(&choice, words), "a step") != NULL);
        different += chosen->size.R < 64 && seen[chosen->size.R]++ == 0;
    }
    CHECK(different >= 6); /* else nothing was compared */
    tap_case("the choice is that of hps_grid_choose");
}

/* Costs of which one phase of one count is all there is. */
static void only(hps_calibration *c, hps_phase phase, const char *feature, double seconds)
{
    hps_calibration_builtin(c);
    memset(c->coefficient, 0, sizeof(c->coefficient));
    for (int f = 0; hps_cost_feature_name(phase, f) != NULL; f++) {
        c->coefficient[phase][f] = strcmp(hps_cost_feature_name(phase, f), feature) == 0 ? seconds : 0;
    }
}

static void words_and_memory(void)
{
    const hps_cost_case size = {.n = 4096, .d = 64, .B = 1200, .k = 10, .word_bytes = 2};
    hps_grid_space space = {.nodes = 1, .cores = 8, .ranks_per_node = 8, .rank_bytes = share};
    hps_groups_choice choice;
    hps_calibration machine;
    char words[HPS_CHOICE_WORDS];

    only(&machine, HPS_PHASE_UPDATE, "slots", 1e-4); /* shared by groups alone */
    CHECK(hps_groups_choose(&machine, &size, &space, &choice) == HPS_OK);
    hps_groups_words(&choice, words);
    CHECK(strcmp(words, "1 group of 8 ranks 1.2 s a step, 2 of 4 0.6 s, 4 of 2 0.3 s, 8 of 1 0.15 s") == 0);
    CHECK(choice.point[choice.chosen].size.R == 8);

    space.node_bytes = 8 * 250000; /* four ranks must share the model */
    CHECK(hps_groups_choose(&machine, &size, &space, &choice) == HPS_OK);
    hps_groups_words(&choice, words);
    CHECK(choice.point[choice.chosen].size.R == 2 && !choice.none_fits);
    CHECK(strstr(words, "2 of 4 0.6 s, 4 of 2 0.3 s (does not fit into memory), 8 of 1") != NULL);

    space.node_bytes = 8;
    CHECK(hps_groups_choose(&machine, &size, &space, &choice) == HPS_OK);
    CHECK(choice.none_fits && choice.point[choice.chosen].size.R == 1);
    tap_case("what was compared is said, and memory rules out");

    space = (hps_grid_space){.nodes = 315, .cores = 16, .ranks_per_node = 16, .node_bytes = 1600, .rank_bytes = share};
    const hps_cost_case many = {.n = 1 << 20, .d = 64, .B = 5040, .k = 10, .word_bytes = 2};
    CHECK(hps_groups_choose(&machine, &many, &space, &choice) == HPS_OK);
    CHECK(choice.all == 60 && choice.count == HPS_CHOICES && choice.none_fits);
    CHECK(choice.chosen == 0 && choice.point[0].size.R == 1); /* the slowest, and shown all the same */
    hps_groups_words(&choice, words);
    CHECK(strlen(words) < HPS_CHOICE_WORDS - 1 && strstr(words, ", and 52 others") != NULL);
    tap_case("of many only the fastest and the chosen are shown");

    const hps_cost_case few = {.n = 8, .d = 64, .B = 7, .k = 2, .word_bytes = 2};
    space = (hps_grid_space){.nodes = 1, .cores = 9, .ranks_per_node = 9, .rank_bytes = share};
    CHECK(hps_groups_choose(&machine, &few, &space, &choice) == HPS_ECONFIG);
    CHECK(strstr(hps_status_message(), "train.groups: auto: 9 ranks for 8 latents") != NULL);
    tap_case("where no number will do, one line says so");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    equals_grid_choose();
    words_and_memory();
    CHECK(hps_memory_of_node() > 1 << 20);
    tap_case("the node's memory is known");
    CHECK(hps_memory_arrays() == 0);
    tap_case("every array is given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
