/*
 * The reference backend: the definition of every kernel, in the shortest loops over canonical arithmetic.  Compiled for
 * the base instruction set and, so that fma is one instruction, for AVX2; written without either in mind.
 */
#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"
#include "hpsae/kernels/kernels.h"

#include <omp.h>
#include <string.h>

#ifndef HPS_ISA
#define HPS_ISA portable
#endif
#define GLUE(a, b) a##b
#define NAME(a, b) GLUE(a, b)
#define TEXT_(x)   #x
#define TEXT(x)    TEXT_(x)

struct hps_workspace {
    hps_workspace_size size;
    float *row; /* [threads, ld] a gradient row a thread */
    int64_t ld;
};

static int64_t padded(int64_t d)
{
    return (d + HPS_LANES - 1) / HPS_LANES * HPS_LANES;
}

static void workspace_destroy(hps_workspace **workspace)
{
    if (*workspace != NULL) {
        HPS_FREE(&(*workspace)->row);
        HPS_FREE(workspace);
    }
}

static hps_status workspace_create(const hps_workspace_size *size, hps_workspace **workspace)
{
    HPS_TRY(HPS_ALLOC(workspace, 1, "kernel workspace"));
    (*workspace)->size = *size;
    (*workspace)->ld = padded(size->d);
    const hps_status status = HPS_ALLOC(&(*workspace)->row, size->threads * (*workspace)->ld, "gradient rows");
    if (status != HPS_OK) {
        workspace_destroy(workspace);
    }
    return status;
}

/* The rows are used as they are. */
static void prepare(hps_workspace *ws, const hps_encoder *enc)
{
    (void)ws;
    (void)enc;
}

static void insert(hps_candidate *top, int64_t k, hps_candidate c)
{
    int64_t s = k - 1;

    if (!hps_before(c, top[s])) {
        return;
    }
    for (; s > 0 && hps_before(c, top[s - 1]); s--) {
        top[s] = top[s - 1];
    }
    top[s] = c;
}

static void encode(hps_workspace *ws, const hps_encoder *enc, int64_t count, const int32_t *rows, int64_t B,
                   int64_t ldy, const float *y, int64_t k, hps_candidate *top)
{
    const int64_t m = rows != NULL ? count : enc->own;
#pragma omp parallel for schedule(dynamic, 8) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        for (int64_t s = 0; s < k; s++) {
            top[t * k + s] = HPS_NO_CANDIDATE;
        }
        for (int64_t q = 0; q < m; q++) {
            const int64_t l = rows != NULL ? rows[q] : q;
            const float p = hps_dot(enc->d, enc->W_enc + l * enc->lde, y + t * ldy) + enc->b_enc[l];
            insert(top + t * k, k, (hps_candidate){p, enc->latent[l]});
        }
    }
}

static void decode(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                   int64_t first_slots, float sign, int64_t lds, const float *start, const double *scale, bool dz,
                   float *R)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        const int64_t begin = slots->first[t], all = slots->first[t + 1];
        const int64_t end = first_slots >= 0 && begin + first_slots < all ? begin + first_slots : all;
        float *r = R + t * ldd;

        for (int64_t j = 0; j < w; j++) {
            r[j] = sign * start[t * lds + j];
        }
        for (int64_t s = begin; s < end; s++) {
            const float *w_i = W_dec + slots->slot[s].latent * ldd;
            for (int64_t j = 0; j < w; j++) {
                r[j] = fmaf(slots->slot[s].value, w_i[j], r[j]);
            }
        }
        for (int64_t s = begin; dz && s < end; s++) {
            slots->dz_fixed[s] = hps_dot_fixed(w, r, W_dec + slots->slot[s].latent * ldd, scale[t]);
        }
    }
}

/* The k-th largest of the token's pre-activations, by counting those above each. */
static float kth_value(const hps_encoder *enc, const float *y, int64_t k)
{
    float largest = INFINITY;

    for (int64_t seen = 0; seen < k;) {
        float next = -INFINITY;
        int64_t equal = 0;
        for (int64_t l = 0; l < enc->own; l++) {
            const float p = hps_dot(enc->d, enc->W_enc + l * enc->lde, y) + enc->b_enc[l];
            if (p < largest && p >= next) {
                equal = p > next ? 1 : equal + 1;
                next = p;
            }
        }
        if (equal == 0) {
            return -INFINITY;
        }
        seen += equal;
        largest = next;
    }
    return largest;
}

static int64_t encode_above(hps_workspace *ws, const hps_encoder *enc, int64_t B, int64_t ldy, const float *y,
                            int64_t k, const float *ratio, float *floor, int64_t capacity, hps_hit *hit)
{
    int64_t count = 0;

#pragma omp parallel for schedule(dynamic, 8) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        if (k > 0) {
            floor[t] = fmaxf(floor[t], ratio[t] * kth_value(enc, y + t * ldy, k));
        }
        for (int64_t l = 0; l < enc->own; l++) {
            const float p = hps_dot(enc->d, enc->W_enc + l * enc->lde, y + t * ldy) + enc->b_enc[l];
            int64_t place;
            if (!(p >= floor[t])) {
                continue;
            }
#pragma omp atomic capture
            place = count++;
            if (place < capacity) {
                hit[place] = (hps_hit){(int32_t)t, {p, enc->latent[l]}};
            }
        }
    }
    return count;
}

static void slot_dots(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                      int64_t ldg, const float *G, const double *scale)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        for (int64_t s = slots->first[t]; s < slots->first[t + 1]; s++) {
            slots->dz_fixed[s] = hps_dot_fixed(w, G + t * ldg, W_dec + slots->slot[s].latent * ldd, scale[t]);
        }
    }
}

/* r, the residual after the token's first_slots first slots, takes in the others. */
static void add_rest(int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots, int64_t t, int64_t first_slots,
                     float *r)
{
    for (int64_t s = slots->first[t] + first_slots; first_slots >= 0 && s < slots->first[t + 1]; s++) {
        for (int64_t j = 0; j < w; j++) {
            r[j] = fmaf(slots->slot[s].value, W_dec[slots->slot[s].latent * ldd + j], r[j]);
        }
    }
}

/* Where the way back has come to the slots that R holds, the residual is R again. */
static void meet(int64_t w, int64_t ldd, const hps_slots *slots, int64_t t, int64_t s, int64_t first_slots,
                 const float *R, float *r)
{
    if (s - slots->first[t] == first_slots - 1) {
        memcpy(r, R + t * ldd, (size_t)w * sizeof(*r));
    }
}

static void nested(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec, const hps_slots *slots,
                   const hps_nesting *nesting, int64_t first_slots, int64_t lds, const float *start,
                   const double *scale, const float *R, float *S)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        float *r = ws->row + omp_get_thread_num() * ws->ld, *sum = S + t * ldd;

        memcpy(r, R + t * ldd, (size_t)w * sizeof(*r));
        memset(sum, 0, (size_t)w * sizeof(*sum));
        add_rest(w, ldd, W_dec, slots, t, first_slots, r);
        for (int64_t s = slots->first[t + 1] - 1; s >= slots->first[t]; s--) {
            const float *w_i = W_dec + slots->slot[s].latent * ldd;
            meet(w, ldd, slots, t, s, first_slots, R, r);
            for (int64_t j = 0; nesting->weight[s] != 0 && j < w; j++) {
                sum[j] = fmaf(nesting->weight[s], r[j], sum[j]);
            }
            slots->dz_fixed[s] = hps_dot_fixed(w, sum, w_i, scale[t]);
            for (int64_t j = 0; j < w; j++) {
                r[j] = fmaf(-slots->slot[s].value, w_i[j], r[j]);
            }
        }
        for (int64_t j = 0; j < w; j++) {
            sum[j] = fmaf(nesting->bias_weight[t], -start[t * lds + j], sum[j]);
        }
    }
}

static void suffix_rows(hps_workspace *ws, int64_t B, int64_t w, int64_t ldd, const float *W_dec,
                        const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                        int64_t lds, float *suffix)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t t = 0; t < B; t++) {
        float *r = ws->row + omp_get_thread_num() * ws->ld;
        const float *before = suffix;
        bool first = true;

        memcpy(r, R + t * ldd, (size_t)w * sizeof(*r));
        add_rest(w, ldd, W_dec, slots, t, first_slots, r);
        for (int64_t s = slots->first[t + 1] - 1; s >= slots->first[t]; s--) {
            const float *w_i = W_dec + slots->slot[s].latent * ldd;
            meet(w, ldd, slots, t, s, first_slots, R, r);
            float *sum = suffix + nesting->row[s] * lds;
            for (int64_t j = 0; nesting->weight[s] != 0 && j < w; j++) {
                sum[j] = fmaf(nesting->weight[s], r[j], first ? 0 : before[j]);
            }
            before = sum;
            first = false;
            for (int64_t j = 0; j < w; j++) {
                r[j] = fmaf(-slots->slot[s].value, w_i[j], r[j]);
            }
        }
    }
}

static void nested_sums(hps_workspace *ws, int64_t B, int64_t n, int64_t w, int64_t ldd, const float *W_dec,
                        const hps_slots *slots, const hps_nesting *nesting, int64_t first_slots, const float *R,
                        int64_t ldg, float *G)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t j = 0; j < w; j++) {
        for (int64_t i = 0; i < n; i++) {
            G[i * ldg + j] = 0;
        }
        for (int64_t t = 0; t < B; t++) {
            float r = R[t * ldd + j], sum = 0;
            add_rest(1, ldd, W_dec + j, slots, t, first_slots, &r);
            for (int64_t s = slots->first[t + 1] - 1; s >= slots->first[t]; s--) {
                const hps_candidate *slot = slots->slot + s;
                float *g = G + slot->latent * ldg + j;
                meet(1, ldd, slots, t, s, first_slots, R + j, &r);
                sum = nesting->weight[s] != 0 ? fmaf(nesting->weight[s], r, sum) : sum;
                *g = fmaf(slot->value, sum, *g);
                r = fmaf(-slot->value, W_dec[slot->latent * ldd + j], r);
            }
        }
    }
}

static void column_sums(hps_workspace *ws, int64_t B, int64_t w, int64_t ldr, const float *R, int64_t ldq,
                        const float *Q, double *sum, double *product)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t j = 0; j < w; j++) {
        sum[j] = product[j] = 0;
        for (int64_t t = 0; t < B; t++) {
            sum[j] += (double)R[t * ldr + j];
            product[j] += (double)R[t * ldr + j] * (double)Q[t * ldq + j];
        }
    }
}

/* g = sum over families of c * (sum over the latent's slots of dz y, or without y, of z times the slot's row). */
static void gradient_row(const hps_update *u, int64_t latent, int64_t m, int64_t ld, const float *y, float *g)
{
    for (int64_t j = 0; j < m; j++) {
        float total = 0;
        for (int f = 0; f < u->families; f++) {
            const hps_family *family = &u->family[f];
            const bool summed = y == NULL && family->sums != NULL;
            float part = summed ? family->sums[latent * family->ld + j] : 0;
            for (int64_t e = family->bucket->first[latent]; !summed && e < family->bucket->first[latent + 1]; e++) {
                const int64_t s = family->bucket->entry[e].slot, t = family->bucket->entry[e].token;
                const int64_t row = y == NULL && family->row != NULL ? family->row[s] : t;
                part = y != NULL ? fmaf(family->slots->dz[s], y[t * ld + j], part)
                                 : fmaf(family->slots->slot[s].value, family->rows[row * family->ld + j], part);
            }
            total = fmaf(family->c, part, total);
        }
        g[j] = total;
    }
}

/* The same, or what stands for row `row`. */
static void take_gradient(const hps_update *u, int64_t row, int64_t latent, int64_t m, int64_t ld, const float *y,
                          float *g)
{
    if (u->gradient == NULL) {
        gradient_row(u, latent, m, ld, y, g);
    } else {
        memcpy(g, u->gradient + row * u->ldg, (size_t)m * sizeof(*g));
    }
}

static void gradients(hps_workspace *ws, const hps_update *u, int64_t first, int64_t count, const int32_t *latent,
                      int64_t m, int64_t ldy, const float *y, int64_t ldg, float *G)
{
#pragma omp parallel for schedule(dynamic, 64) num_threads(ws->size.threads)
    for (int64_t i = 0; i < count; i++) {
        gradient_row(u, y != NULL ? latent[first + i] : first + i, m, ldy, y, G + i * ldg);
    }
}

static void adam(const hps_adam *a, int64_t m, const float *g, float *value, float *moment1, float *moment2)
{
    for (int64_t j = 0; j < m; j++) {
        moment1[j] = fmaf(a->beta1, moment1[j], (1 - a->beta1) * g[j]);
        moment2[j] = fmaf(a->beta2, moment2[j], (1 - a->beta2) * (g[j] * g[j]));
        value[j] -= a->lr * (moment1[j] * a->c1) / (sqrtf(moment2[j] * a->c2) + a->epsilon);
    }
}

static void update_decoder(hps_workspace *ws, const hps_update *u, int64_t n, int64_t w, int64_t ldd,
                           const float *parallel, const hps_state *W_dec, int64_t *square, int64_t *norm)
{
    int64_t squares = 0;

#pragma omp parallel for schedule(dynamic, 64) num_threads(ws->size.threads) reduction(+ : squares)
    for (int64_t i = 0; i < n; i++) {
        float *g = ws->row + omp_get_thread_num() * ws->ld, *w_i = W_dec->value + i * ldd;

        take_gradient(u, i, i, w, 0, NULL, g);
        for (int64_t j = 0; j < w; j++) {
            g[j] = fmaf(-parallel[i], w_i[j], g[j]) * u->adam.factor;
        }
        squares += hps_dot_fixed(w, g, g, u->square_scale);
        if (u->apply) {
            adam(&u->adam, w, g, w_i, W_dec->moment1 + i * ldd, W_dec->moment2 + i * ldd);
            norm[i] += hps_dot_fixed(w, w_i, w_i, u->norm_scale);
        }
    }
    *square += squares;
}

/* column += sum over the block's latents of gradient of b_enc times encoder row, in fixed point. */
static void bias_block(const hps_encoder *enc, int64_t l0, int64_t l1, const float *bias_gradient, double scale,
                       int64_t *column)
{
    for (int64_t j = 0; j < enc->d; j++) {
        float sum = 0;
        for (int64_t l = l0; l < l1; l++) {
            sum = fmaf(bias_gradient[enc->latent[l]], enc->W_enc[l * enc->lde + j], sum);
        }
        const int64_t fixed = hps_to_fixed((double)sum, scale);
#pragma omp atomic
        column[j] += fixed;
    }
}

static void update_encoder(hps_workspace *ws, const hps_update *u, const hps_encoder *enc, int64_t ldy, const float *y,
                           const float *bias_gradient, const hps_state *W_enc, const hps_state *b_enc, int64_t *square,
                           int64_t *column, float *row_norm)
{
    int64_t squares = 0;
    float largest_square = 0;

#pragma omp parallel for schedule(dynamic, 1) num_threads(ws->size.threads) \
    reduction(+ : squares) reduction(max : largest_square)
    for (int64_t l0 = 0; l0 < enc->own; l0 += HPS_BLOCK) {
        const int64_t l1 = l0 + HPS_BLOCK < enc->own ? l0 + HPS_BLOCK : enc->own;
        float *g = ws->row + omp_get_thread_num() * ws->ld;

        bias_block(enc, l0, l1, bias_gradient, u->bias_scale, column);
        for (int64_t l = l0; l < l1; l++) {
            float *e = W_enc->value + l * enc->lde, gb = bias_gradient[enc->latent[l]] * u->adam.factor;

            take_gradient(u, l, enc->latent[l], enc->d, ldy, y, g);
            for (int64_t j = 0; j < enc->d; j++) {
                g[j] *= u->adam.factor;
            }
            squares += hps_dot_fixed(enc->d, g, g, u->square_scale) + hps_dot_fixed(1, &gb, &gb, u->square_scale);
            if (u->apply) {
                adam(&u->adam, enc->d, g, e, W_enc->moment1 + l * enc->lde, W_enc->moment2 + l * enc->lde);
                adam(&u->adam, 1, &gb, b_enc->value + l, b_enc->moment1 + l, b_enc->moment2 + l);
            }
            const float row_square = hps_dot(enc->d, e, e);
            largest_square = fmaxf(largest_square, isfinite(row_square) ? row_square : INFINITY);
        }
    }
    *square += squares;
    *row_norm = sqrtf(largest_square) * 1.00001f;
}

static void normalise(hps_workspace *ws, int64_t n, int64_t w, int64_t ldd, const int64_t *norm, double norm_scale,
                      float *W_dec)
{
#pragma omp parallel for schedule(static) num_threads(ws->size.threads)
    for (int64_t i = 0; i < n; i++) {
        const float factor = norm[i] > 0 ? 1 / sqrtf((float)hps_from_fixed(norm[i], norm_scale)) : 1;

        for (int64_t j = 0; j < w; j++) {
            W_dec[i * ldd + j] *= factor;
        }
    }
}

static double peak(int64_t rounds)
{
    float s[HPS_LANES] = {0}, x = 0;

    for (int64_t i = 0; i < rounds; i++) {
        __asm__ volatile("" : "+m"(x));
        for (int l = 0; l < HPS_LANES; l++) {
            s[l] = fmaf(x, x, s[l]);
        }
    }
    __asm__ volatile("" : : "m"(s));
    return (double)rounds * 2 * HPS_LANES;
}

extern const hps_kernels NAME(hps_kernels_ref_, HPS_ISA);
const hps_kernels NAME(hps_kernels_ref_, HPS_ISA) = {
    .name = "ref",
    .isa = TEXT(HPS_ISA),
    .workspace_create = workspace_create,
    .workspace_destroy = workspace_destroy,
    .prepare = prepare,
    .encode = encode,
    .encode_above = encode_above,
    .decode = decode,
    .slot_dots = slot_dots,
    .nested = nested,
    .suffix_rows = suffix_rows,
    .nested_sums = nested_sums,
    .column_sums = column_sums,
    .update_decoder = update_decoder,
    .update_encoder = update_encoder,
    .gradients = gradients,
    .normalise = normalise,
    .screen_peak = peak,
    .screen_trial = peak,
    .float_peak = peak,
};
