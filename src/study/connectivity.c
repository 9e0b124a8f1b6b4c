#include "connectivity.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <omp.h>
#include <string.h>

/* Codes without their values. */
typedef struct {
    int64_t n, tokens, threads;
    int64_t *first;  /* [tokens + 1] */
    int32_t *latent; /* [first[tokens]] by token; room for `room` */
    int64_t room;
    int64_t *begin; /* [n + 1] */
    int32_t *token; /* the same by latent */
    int32_t *met;   /* [threads, n] the latent that marked this one last */
} codes;

static void release(codes *c)
{
    HPS_FREE(&c->first);
    HPS_FREE(&c->latent);
    HPS_FREE(&c->begin);
    HPS_FREE(&c->token);
    HPS_FREE(&c->met);
}

/* Room for `more` behind those of `tokens`. */
static hps_status make_room(codes *c, int64_t used, int64_t more)
{
    int32_t *larger = NULL;

    if (used + more <= c->room) {
        return HPS_OK;
    }
    const int64_t room = used + more > c->room + c->room / 2 ? used + more : c->room + c->room / 2;
    HPS_TRY(HPS_ALLOC(&larger, room, "codes"));
    if (used > 0) {
        memcpy(larger, c->latent, (size_t)used * sizeof(*larger));
    }
    HPS_FREE(&c->latent);
    c->latent = larger;
    c->room = room;
    return HPS_OK;
}

static hps_status take_batch(codes *c, const hps_slots *slots, int64_t done, int64_t count)
{
    const int64_t used = c->first[done];

    HPS_TRY(make_room(c, used, slots->first[count]));
    for (int64_t t = 0; t < count; t++) {
        c->first[done + t + 1] = used + slots->first[t + 1];
    }
    for (int64_t s = 0; s < slots->first[count]; s++) {
        c->latent[used + s] = slots->slot[s].latent;
    }
    return HPS_OK;
}

/* Collective. */
static hps_status take_rows(const hps_grid *grid, hps_code_stream *stream, codes *c)
{
    int64_t count;

    for (int64_t done = 0; done < c->tokens; done += count) {
        HPS_TRY(hps_code_stream_next(stream, done, &count));
        HPS_TRY(hps_agree(grid->model, take_batch(c, &stream->forward->slots, done, count)));
    }
    return HPS_OK;
}

/* A counting sort: tokens ascend within a latent. */
static hps_status sort_by_latent(codes *c)
{
    const int64_t all = c->first[c->tokens];

    HPS_TRY(HPS_ALLOC(&c->token, all, "codes by latent"));
    HPS_TRY(HPS_ALLOC(&c->met, c->threads * c->n, "latents that met"));
    for (int64_t s = 0; s < all; s++) {
        c->begin[c->latent[s] + 1]++;
    }
    for (int64_t i = 0; i < c->n; i++) {
        c->begin[i + 1] += c->begin[i];
    }
    for (int64_t t = 0; t < c->tokens; t++) {
        for (int64_t s = c->first[t]; s < c->first[t + 1]; s++) {
            c->token[c->begin[c->latent[s]]++] = (int32_t)t;
        }
    }
    memmove(c->begin + 1, c->begin, (size_t)c->n * sizeof(*c->begin));
    c->begin[0] = 0;
    return HPS_OK;
}

/* Whom latent i met, itself among them. */
static int64_t met_by(const codes *c, int32_t i, int32_t *met)
{
    int64_t count = 0;

    for (int64_t at = c->begin[i]; at < c->begin[i + 1]; at++) {
        const int32_t t = c->token[at];
        for (int64_t s = c->first[t]; s < c->first[t + 1]; s++) {
            int32_t *mark = &met[c->latent[s]];
            count += *mark != i + 1;
            *mark = i + 1;
        }
    }
    return count;
}

/* Collective.  Latents are dealt to the ranks in turn. */
static void count_pairs(const hps_grid *grid, const codes *c, hps_connections *found)
{
    int64_t pairs = 0, alive = 0;

#pragma omp parallel for schedule(dynamic, 16) num_threads((int)c->threads) reduction(+ : pairs)
    for (int64_t i = grid->p; i < c->n; i += grid->P) {
        pairs += met_by(c, (int32_t)i, c->met + omp_get_thread_num() * c->n);
    }
    hps_sum_fixed(grid->model, &pairs, 1);
    for (int64_t i = 0; i < c->n; i++) {
        alive += c->begin[i + 1] > c->begin[i];
    }
    *found = (hps_connections){.tokens = c->tokens, .alive = alive, .pairs = pairs};
}

int64_t hps_connections_bytes(int64_t tokens, int64_t a_token, int64_t n, int threads)
{
    return 8 * tokens + 4 * 3 * tokens * a_token + (8 + 4 * (int64_t)threads) * n;
}

hps_status hps_connections_count(const hps_grid *grid, hps_code_stream *stream, hps_connections *found)
{
    codes c = {.n = stream->options.model->shard.n, .tokens = stream->options.rows, .threads = stream->options.threads};

    hps_status status = HPS_ALLOC(&c.first, c.tokens + 1, "codes");
    status = status == HPS_OK ? HPS_ALLOC(&c.begin, c.n + 1, "codes by latent") : status;
    status = status == HPS_OK ? make_room(&c, 0, c.tokens * stream->options.model->k) : status;
    status = hps_agree(grid->model, status);
    if (status == HPS_OK) {
        status = take_rows(grid, stream, &c);
    }
    if (status == HPS_OK) {
        status = hps_agree(grid->model, sort_by_latent(&c));
    }
    if (status == HPS_OK) {
        count_pairs(grid, &c, found);
    }
    release(&c);
    return status;
}
