/*
 * A model whose every number is a function of (role, tensor, row, column), so that any rank can say what any number of
 * any layout must be.
 */
#ifndef MODEL_FIXTURE_H
#define MODEL_FIXTURE_H

#include "hpsae/base/rng.h"
#include "hpsae/model/model.h"

#include <math.h>
#include <string.h>

enum { ALL_ROLES = (1u << HPS_ROLES) - 1 };

static inline float fixture_value(uint64_t seed, int role, int tensor, int64_t row, int64_t column)
{
    const uint64_t index =
        (((uint64_t)role * HPS_TENSORS + (uint64_t)tensor) << 56) + ((uint64_t)row << 24) + (uint64_t)column;

    return (float)(hps_random_uniform(seed, HPS_DRAW_TEST, 0, index) - 0.5);
}

static inline int64_t fixture_fired(uint64_t seed, int64_t latent)
{
    return (int64_t)(hps_random_u64(seed, HPS_DRAW_TEST, 1, (uint64_t)latent) >> 8);
}

/* Padding becomes NaN: nobody may read it. */
static inline void fixture_fill(hps_model *model, uint64_t seed)
{
    for (int r = 0; r < HPS_ROLES; r++) {
        for (int t = 0; t < HPS_TENSORS && model->role[r].slab != NULL; t++) {
            const hps_tensor_layout layout = hps_model_layout(model, (hps_tensor)t);
            float *values = hps_model_tensor(model, (hps_role)r, (hps_tensor)t);
            for (int64_t q = 0; q < layout.local_rows; q++) {
                for (int64_t c = 0; c < layout.ld; c++) {
                    values[q * layout.ld + c] =
                        c < layout.width ? fixture_value(seed, r, t, hps_model_row(model, &layout, q), layout.c0 + c)
                                         : NAN;
                }
            }
        }
    }
    for (int64_t i = 0; model->fired != NULL && i < model->shard.n; i++) {
        model->fired[i] = fixture_fired(seed, i);
    }
    model->tokens = 123456789;
    model->step = 4321;
    model->hook = strdup("blocks.3.hook_resid_post");
    model->model_name = strdup("fixture");
}

/* Whether every number of a role is bit for bit the fixture's. */
static inline bool fixture_holds(const hps_model *model, uint64_t seed, int role, int as_role)
{
    int64_t wrong = 0;

    for (int t = 0; t < HPS_TENSORS; t++) {
        const hps_tensor_layout layout = hps_model_layout(model, (hps_tensor)t);
        const float *values = hps_model_tensor(model, (hps_role)role, (hps_tensor)t);
        for (int64_t q = 0; q < layout.local_rows; q++) {
            for (int64_t c = 0; c < layout.width; c++) {
                const float want = fixture_value(seed, as_role, t, hps_model_row(model, &layout, q), layout.c0 + c);
                wrong += memcmp(&values[q * layout.ld + c], &want, sizeof(want)) != 0;
            }
        }
    }
    return wrong == 0;
}

#endif
