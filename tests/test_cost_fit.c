/*
 * The cost model: coefficients that were planted are found again from seconds made with them, also when the assumed limits
 * are several times off and the seconds are noisy; a count that no measurement varies keeps its assumed cost; a
 * calibration survives its file; bad files are refused with their place.
 * ranks: 1
 */
#include "scratch.h"
#include "tap.h"

#include "hpsae/base/memory.h"
#include "hpsae/base/rng.h"
#include "hpsae/model/cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 60 };

static int64_t draw(int64_t which, int64_t index, int64_t low, int64_t high)
{
    const double u = hps_random_uniform(7, HPS_DRAW_TEST, (uint64_t)which, (uint64_t)index);

    return low + (int64_t)(u * (double)(high - low + 1));
}

static hps_cost_case some_case(int64_t i)
{
    hps_cost_case c = {.n = 1 << draw(0, i, 9, 17),
                       .d = draw(1, i, 16, 2400),
                       .B = 256 << draw(2, i, 0, 6),
                       .k = 4 << draw(3, i, 0, 5),
                       .aux_k = draw(4, i, 0, 1) * 256,
                       .select = (hps_select)draw(5, i, 0, 2),
                       .nested = draw(6, i, 0, 2) * 3,
                       .clip = draw(7, i, 0, 1) != 0,
                       .average = draw(8, i, 0, 1) != 0,
                       .word_bytes = 2 << draw(9, i, 0, 1),
                       .R = 1 << draw(10, i, 0, 2),
                       .P = 1 << draw(11, i, 0, 4),
                       .threads = 4,
                       .nodes = 1};
    c.dead = c.n / 8 * draw(12, i, 0, 4);
    return c;
}

/* Assumed costs times factors between 1/4 and 4, and the seconds that they give, off by up to `noise`. */
static void plant(hps_calibration *truth, hps_calibration *fitted, double noise)
{
    double x[HPS_COST_FEATURES];

    hps_calibration_builtin(truth);
    for (int p = 0; p < HPS_PHASES; p++) {
        for (int f = 0; f < HPS_COST_FEATURES; f++) {
            const double u = hps_random_uniform(8, HPS_DRAW_TEST, (uint64_t)p, (uint64_t)f);
            truth->coefficient[p][f] *= pow(4, 2 * u - 1);
        }
    }
    hps_calibration_builtin(fitted);
    fitted->count = CASES;
    CHECK(HPS_ALLOC(&fitted->measured, CASES, "cases") == HPS_OK);
    for (int64_t m = 0; m < CASES; m++) {
        hps_cost_measurement *one = &fitted->measured[m];
        one->size = some_case(m);
        for (int p = 0; p < HPS_PHASES; p++) {
            const double u = hps_random_uniform(9, HPS_DRAW_TEST, (uint64_t)m, (uint64_t)p);
            hps_cost_features(&one->size, (hps_phase)p, x);
            one->seconds[p] = 0;
            for (int f = 0; f < HPS_COST_FEATURES; f++) {
                one->seconds[p] += truth->coefficient[p][f] * x[f];
            }
            one->seconds[p] *= 1 + noise * (2 * u - 1);
        }
    }
}

/* The largest relative error of the step's seconds over cases that were not measured. */
static double worst_error(const hps_calibration *truth, const hps_calibration *fitted)
{
    double seconds[HPS_PHASES], worst = 0;

    for (int64_t i = 1000; i < 1000 + CASES; i++) {
        const hps_cost_case c = some_case(i);
        const double right = hps_cost_predict(truth, &c, seconds), got = hps_cost_predict(fitted, &c, seconds);
        worst = fmax(worst, fabs(got / right - 1));
    }
    return worst;
}

static void planted(double noise, double allowed)
{
    hps_calibration truth, fitted;

    plant(&truth, &fitted, noise);
    CHECK(worst_error(&truth, &fitted) > 0.2); /* the assumed costs alone would not do */
    CHECK(hps_cost_fit(&fitted) == HPS_OK);
    CHECK(worst_error(&truth, &fitted) < allowed);
    for (int p = 0; p < HPS_PHASES; p++) {
        for (int f = 0; f < HPS_COST_FEATURES; f++) {
            CHECK(fitted.coefficient[p][f] >= 0);
        }
    }
    hps_calibration_release(&fitted);
}

/* One case measured once: each cost moves by what explains it, and none is lost. */
static void one_case(void)
{
    hps_calibration truth, fitted;

    plant(&truth, &fitted, 0);
    fitted.count = 1;
    CHECK(hps_cost_fit(&fitted) == HPS_OK);
    for (int p = 0; p < HPS_PHASES; p++) {
        double x[HPS_COST_FEATURES], seconds = 0;
        hps_cost_features(&fitted.measured[0].size, (hps_phase)p, x);
        for (int f = 0; f < HPS_COST_FEATURES; f++) {
            seconds += fitted.coefficient[p][f] * x[f];
            CHECK(x[f] > 0 || fitted.coefficient[p][f] / truth.coefficient[p][f] > 0.2499 ||
                  truth.coefficient[p][f] == 0);
        }
        CHECK(fabs(seconds - fitted.measured[0].seconds[p]) <= 0.01 * seconds);
    }
    hps_calibration_release(&fitted);
    CHECK(hps_cost_fit(&fitted) == HPS_EARG);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    CHECK(file != NULL);
    if (file != NULL) {
        fputs(text, file);
        fclose(file);
    }
}

static void through_file(const char *directory)
{
    hps_calibration truth, fitted, back;
    const char *path = scratch_path(directory, "bench.json");

    plant(&truth, &fitted, 0);
    fitted.network_assumed = false;
    fitted.network.latency = 2.5e-6;
    json_t *root = hps_calibration_json(&fitted);
    json_object_set_new(root, "more", json_string("of the writer's own"));
    CHECK(json_dump_file(root, path, JSON_INDENT(1)) == 0);
    json_decref(root);
    CHECK(hps_calibration_read(path, &back) == HPS_OK);
    CHECK(!back.assumed && !back.network_assumed && back.network.latency == 2.5e-6);
    CHECK(memcmp(back.coefficient, fitted.coefficient, sizeof(back.coefficient)) == 0);
    CHECK(back.count == CASES && back.libraries == fitted.libraries);
    for (int64_t m = 0; m < CASES && back.count == CASES; m++) {
        double a[HPS_COST_FEATURES], b[HPS_COST_FEATURES];
        for (int p = 0; p < HPS_PHASES; p++) {
            hps_cost_features(&back.measured[m].size, (hps_phase)p, a);
            hps_cost_features(&fitted.measured[m].size, (hps_phase)p, b);
            CHECK(memcmp(a, b, sizeof(a)) == 0 && back.measured[m].seconds[p] == fitted.measured[m].seconds[p]);
        }
    }
    hps_calibration_release(&back);
    hps_calibration_release(&fitted);
}

static void bad_file(const char *directory, const char *text, hps_status status, const char *words)
{
    hps_calibration c;
    const char *path = scratch_path(directory, "bad.json");

    remove(path);
    if (text != NULL) {
        write_text(path, text);
    }
    CHECK(hps_calibration_read(path, &c) == status);
    CHECK(strstr(hps_status_message(), words) != NULL && strstr(hps_status_message(), "bad.json") != NULL);
}

static void bad_files(const char *directory)
{
    const char *head = "{\"format\": \"hpsae bench 1\", \"ranks\": 1, \"ranks_per_node\": 1, \"threads\": ";
    char text[512];

    bad_file(directory, NULL, HPS_EIO, "bad.json");
    bad_file(directory, "{", HPS_EFORMAT, "bad.json:1:");
    bad_file(directory, "[1]", HPS_EFORMAT, "format");
    bad_file(directory, "{\"format\": \"hpsae bench 9\"}", HPS_EFORMAT, "hpsae bench 1");
    snprintf(text, sizeof(text), "%s0}", head);
    bad_file(directory, text, HPS_EFORMAT, "threads: a whole number");
    snprintf(text, sizeof(text), "%s2, \"limits\": {\"screen_flops\": -1}}", head);
    bad_file(directory, text, HPS_EFORMAT, "limits.screen_flops: a number of at least 0");
    snprintf(text, sizeof(text), "%s2}", head);
    bad_file(directory, text, HPS_EFORMAT, "limits.screen_flops");
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH];

    MPI_Init(&argc, &argv);
    scratch_make(directory);
    planted(0, 0.02);
    tap_case("planted costs are found");
    planted(0.05, 0.1);
    tap_case("planted costs are found within the noise");
    one_case();
    tap_case("one measured case moves the assumed costs and loses none");
    through_file(directory);
    tap_case("a calibration survives its file");
    bad_files(directory);
    tap_case("bad files are refused with their place");
    CHECK(hps_memory_arrays() == 0);
    tap_case("every array is given back");
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
