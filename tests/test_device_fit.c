/*
 * What a rank will hold on a GPU is counted without one: the kernels' workspace array by array, from small and empty sizes to
 * 2^24 latents of 12288 columns; the whole rank with less on the device than in all; and of a memory that is too small, the largest
 * dictionary and batch that fit are named, one step more of which do not.  On a GPU the workspace takes what was counted.
 *
 * ranks: 1
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/kernels/cuda_layout.h"
#include "hpsae/model/device_fit.h"
#include "tap.h"

#include <string.h>

enum { D = 256 };

static const char text[] = "data: {store: [a.h5]}\n"
                           "model: {latents: 16384, k: 32}\n"
                           "train: {tokens: 1000000, batch: 4096, aux: {k: 64}}\n"
                           "output: out\n";

/* Sizes written out: B tokens, d columns and own rows rounded up as T, D, N; a list of L; S slots, n latents. */
static void count_workspace(void)
{
    static const struct {
        hps_workspace_size size;
        int64_t T, D, N, L, pairs, chunks;
    } cases[] = {
        {{.B = 4096, .d = 768, .k_max = 256, .own = 65536, .slots = 4096 * 256, .n = 65536},
         4096,
         768,
         65536,
         2048,
         4L * 4096 * 256,
         512},
        {{.B = 300, .d = 45, .k_max = 5, .own = 331, .slots = 1500, .n = 1000}, 384, 64, 512, 1024, 4L * 300 * 256, 1},
        {{.B = 1, .d = 1, .k_max = 1, .own = 0, .slots = 0, .n = 1}, 128, 64, 0, 1024, 4 * 256, 0},
        {{.B = 65536, .d = 12288, .k_max = 6144, .own = 1 << 24, .slots = 65536L * 6144, .n = 1 << 24},
         65536,
         12288,
         1 << 24,
         4096,
         4L * 65536 * 6144,
         196608},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const hps_workspace_size *s = &cases[i].size;
        const int64_t T = cases[i].T, N = cases[i].N, depth = cases[i].D;
        const int64_t slots = s->slots > 0 ? s->slots : 1, rows = N > 0 ? N : 1, words = N > 0 ? N * depth : 1;
        const int64_t counts = (cases[i].chunks + 1) * 256, temporary = counts > s->n ? counts : s->n;
        const int64_t always = 8 * (4 + s->d) + 8 * s->B * s->k_max + 16 * (s->B + 1) + 20 * slots + 4 * temporary;
        const int64_t screen = 2 * T * depth + 2 * words + 12 * T + 8 * rows + 4 * T * 4096 + 4 * T +
                               8 * T * cases[i].L + 4 * (T + 1) + 8 * cases[i].pairs;
        const hps_cuda_layout with = hps_cuda_layout_of(s, true), without = hps_cuda_layout_of(s, false);
        CHECK(hps_cuda_layout_bytes(&without) == always && hps_cuda_layout_bytes(&with) == always + screen);
        CHECK(with.depth == depth && with.tokens == T && with.rows == N && with.capacity == cases[i].L);
    }
    tap_case("the workspace, array by array");
}

static void plan_workspace(void)
{
    const hps_kernels *k = hps_kernels_planned();
    hps_workspace_size size = {.B = 65536, .d = 4096, .k_max = 64, .own = 1 << 24, .slots = 1 << 22, .n = 1 << 24};
    const hps_cuda_layout layout = hps_cuda_layout_of(&size, true);
    const int64_t before = hps_memory_live();
    hps_workspace *ws;

    hps_memory_rehearse(true);
    CHECK(k->workspace_create(&size, &ws) == HPS_OK);
    const int64_t more = hps_memory_live() - before - hps_cuda_layout_bytes(&layout);
    CHECK(more > 0 && more <= 128 * (HPS_CUDA_ARRAYS + 5));
    k->workspace_destroy(&ws);
    size.k_max = HPS_CUDA_SLOTS_MOST + 1;
    CHECK(k->workspace_create(&size, &ws) == HPS_ECONFIG && ws == NULL);
    hps_memory_rehearse(false);
    CHECK(hps_memory_live() == before);
    tap_case("is planned as it is counted");
}

/* Of a run that must fit into a share of what it takes. */
static void search(const hps_rank_question *q, const hps_cost_case *size)
{
    static const double shares[] = {0.95, 0.6, 0.3, 0.05, 0};
    hps_memory_plan all, plan;

    CHECK(hps_rank_memory(q, size, &all) == HPS_OK);
    CHECK(all.device > all.state && all.device < all.state + all.buffers + all.starting);
    CHECK(hps_rank_bytes((void *)q, size) == all.device);
    hps_device_fit fit = hps_device_largest(q, size, all.device);
    CHECK(fit.latents == 0 && fit.batch == 0);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        const int64_t bytes = (int64_t)(shares[i] * (double)all.device),
                      unit = size->R > 64 ? size->R : 64 / size->R * size->R;
        hps_cost_case fits = *size, over = *size;
        fit = hps_device_largest(q, size, bytes);
        CHECK(fit.latents < size->n && fit.batch < size->B && (i > 0 || (fit.latents > 0 && fit.batch > 0)));
        fits.n = fit.latents;
        over.n = fit.latents + HPS_BLOCK;
        CHECK(fit.latents == 0 || (hps_rank_memory(q, &fits, &plan) == HPS_OK && plan.device <= bytes));
        CHECK(fit.latents == 0 || (hps_rank_memory(q, &over, &plan) == HPS_OK && plan.device > bytes));
        fits = over = *size;
        fits.B = fit.batch;
        over.B = fit.batch + unit;
        CHECK(fit.batch == 0 || (hps_rank_memory(q, &fits, &plan) == HPS_OK && plan.device <= bytes));
        CHECK(fit.batch == 0 || (hps_rank_memory(q, &over, &plan) == HPS_OK && plan.device > bytes));
    }
    CHECK(fit.latents == 0 && fit.batch == 0);
}

static void advise(const hps_rank_question *q, const hps_cost_case *size)
{
    hps_memory_plan all;
    char latents[64], batch[64];

    CHECK(hps_rank_memory(q, size, &all) == HPS_OK);
    const int64_t bytes = all.device * 9 / 10;
    const hps_device_fit fit = hps_device_largest(q, size, bytes);
    snprintf(latents, sizeof(latents), "model.latents %lld (16384 now)", (long long)fit.latents);
    snprintf(batch, sizeof(batch), " or train.batch %lld (4096 now) would fit", (long long)fit.batch);
    CHECK(hps_fail(HPS_ENOMEM, "moment2: no memory") == HPS_ENOMEM);
    CHECK(hps_device_advise(q, size, bytes) == HPS_ENOMEM);
    CHECK(strncmp(hps_status_message(), "moment2: no memory; of ", 23) == 0);
    CHECK(strstr(hps_status_message(), latents) != NULL && strstr(hps_status_message(), batch) != NULL);
    CHECK(hps_fail(HPS_ENOMEM, "moment2: no memory") == HPS_ENOMEM);
    CHECK(hps_device_advise(q, size, all.device) == HPS_ENOMEM);
    CHECK(strcmp(hps_status_message(), "moment2: no memory") == 0);
    tap_case("and the message names them");
}

static void ask(void)
{
    const hps_store_info info = {.d = D, .rows = 1000000, .dtype = HPS_F16};
    hps_config *config = NULL;
    static char hook[] = "hook";

    CHECK(hps_config_read_text("c.yaml", text, &config) == HPS_OK);
    CHECK(config != NULL && hps_config_resolve(config, D, hook) == HPS_OK);
    if (config == NULL) {
        return;
    }
    const hps_rank_question question = {.config = config, .kernels = hps_kernels_planned(), .data = &info};
    hps_cost_case size = hps_cost_case_of(config, D, 2, 0);
    search(&question, &size);
    size.P = 3;
    search(&question, &size);
    size.R = 4;
    search(&question, &size);
    tap_case("the largest dictionary and batch that fit");
    size.R = size.P = 1;
    advise(&question, &size);
    hps_config_destroy(&config);
}

/* The device gives memory in pieces of 2 MiB. */
static void measure(const hps_kernels *k)
{
    enum { PIECE = 2 << 20 };
    const hps_workspace_size size = {.B = 8192, .d = 768, .k_max = 64, .own = 65536, .slots = 8192 * 64, .n = 65536};
    const hps_cuda_layout layout = hps_cuda_layout_of(&size, true);
    hps_workspace *ws;

    CHECK(k->bind(0, 1) == HPS_OK);
    const int64_t left = k->memory_left();
    CHECK(k->workspace_create(&size, &ws) == HPS_OK);
    const int64_t taken = left - k->memory_left(), planned = hps_cuda_layout_bytes(&layout);
    CHECK(taken >= planned - PIECE && taken <= planned + (HPS_CUDA_ARRAYS + 16) * (int64_t)PIECE);
    k->workspace_destroy(&ws);
    tap_case("and the GPU gives so much");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    count_workspace();
    plan_workspace();
    ask();
    if (hps_kernels_device() != NULL) {
        measure(hps_kernels_device());
    }
    CHECK(hps_memory_arrays() == 0);
    tap_case("all memory was given back");
    tap_done();
    MPI_Finalize();
    return 0;
}
