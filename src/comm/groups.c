#include "hpsae/comm/groups.h"

#include "hpsae/base/memory.h"
#include "hpsae/comm/sums.h"

#include <string.h>

enum { UNIT = 16 }; /* pieces begin at multiples of a cache line's numbers */

static hps_status allocate(hps_group_sums *s)
{
    for (int c = 0; c < HPS_GROUP_STAGES; c++) {
        hps_group_chunk *chunk = &s->chunk[c];
        chunk->request = MPI_REQUEST_NULL;
        HPS_TRY(HPS_ALLOC(&chunk->values, s->capacity, "gradients of a data group"));
        HPS_TRY(HPS_ALLOC(&chunk->pieces, s->R * s->piece, "gradients of the data groups"));
        HPS_TRY(HPS_ALLOC(&chunk->count, s->R, "gradients of the data groups"));
        HPS_TRY(HPS_ALLOC(&chunk->begin, s->R, "gradients of the data groups"));
        HPS_TRY(HPS_ALLOC(&chunk->length, s->R, "gradients of the data groups"));
        HPS_TRY(HPS_ALLOC(&chunk->at, s->R, "gradients of the data groups"));
    }
    return HPS_OK;
}

hps_status hps_group_sums_create(MPI_Comm comm, int R, int r, int64_t capacity, hps_group_sums **sums)
{
    HPS_TRY(HPS_ALLOC(sums, 1, "sums over data groups"));
    hps_group_sums *s = *sums;
    s->comm = comm;
    s->capacity = capacity > UNIT ? capacity : UNIT;
    s->R = R;
    s->r = r;
    s->piece = (s->capacity / UNIT / s->R + 2) * UNIT;
    const hps_status status = allocate(s);
    if (status != HPS_OK) {
        hps_group_sums_destroy(sums);
    }
    return status;
}

void hps_group_sums_destroy(hps_group_sums **sums)
{
    hps_group_sums *s = *sums;

    for (int c = 0; s != NULL && c < HPS_GROUP_STAGES; c++) {
        HPS_FREE(&s->chunk[c].values);
        HPS_FREE(&s->chunk[c].pieces);
        HPS_FREE(&s->chunk[c].count);
        HPS_FREE(&s->chunk[c].begin);
        HPS_FREE(&s->chunk[c].length);
        HPS_FREE(&s->chunk[c].at);
    }
    HPS_FREE(sums);
}

/* Each rank is sent its piece of every group's values. */
static void exchange(hps_group_sums *s, hps_group_chunk *chunk, int64_t count)
{
    const int64_t units = (count + UNIT - 1) / UNIT;

    for (int q = 0; q < s->R; q++) {
        const int64_t begin = units * q / s->R * UNIT, end = units * (q + 1) / s->R * UNIT;
        chunk->begin[q] = hps_count(begin < count ? begin : count);
        chunk->count[q] = hps_count(end < count ? end : count) - chunk->begin[q];
    }
    for (int q = 0; q < s->R; q++) {
        chunk->length[q] = chunk->count[s->r];
        chunk->at[q] = q * chunk->count[s->r];
    }
    HPS_MPI(MPI_Ialltoallv(chunk->values, chunk->count, chunk->begin, MPI_FLOAT, chunk->pieces, chunk->length,
                           chunk->at, MPI_FLOAT, s->comm, &chunk->request));
}

static void finish(hps_group_sums *s, hps_group_chunk *chunk)
{
    const double begin = MPI_Wtime();

    /* NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): begun elsewhere */
    HPS_MPI(MPI_Wait(&chunk->request, MPI_STATUS_IGNORE));
    s->seconds += MPI_Wtime() - begin;
}

/* Kind (a) of a sum: each number in the order of the groups, on one rank, which then sends it to all. */
static void add_and_spread(hps_group_sums *s, hps_group_chunk *chunk)
{
    finish(s, chunk);
    const double begin = MPI_Wtime();
    const int64_t count = chunk->count[s->r];
    float *restrict sum = chunk->values + chunk->begin[s->r];

    memcpy(sum, chunk->pieces, (size_t)count * sizeof(*sum));
    for (int q = 1; q < s->R; q++) {
        const float *restrict piece = chunk->pieces + q * count;
        for (int64_t j = 0; j < count; j++) {
            sum[j] += piece[j];
        }
    }
    HPS_MPI(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, chunk->values, chunk->count, chunk->begin, MPI_FLOAT, s->comm,
                            &chunk->request));
    s->seconds += MPI_Wtime() - begin;
}

/* MPI moves nonblocking messages along when it is called. */
static void look(hps_group_sums *s)
{
    for (int c = 0; c < HPS_GROUP_STAGES; c++) {
        int done;
        HPS_MPI(MPI_Test(&s->chunk[c].request, &done, MPI_STATUS_IGNORE));
    }
}

static int64_t rows_of(const hps_group_rows *rows, int64_t c)
{
    const int64_t left = rows->rows - c * rows->step;

    return left < rows->step ? left : rows->step;
}

static void make(hps_group_sums *s, const hps_group_rows *rows, int64_t c, float *values)
{
    const int64_t count = rows_of(rows, c);

    for (int64_t i = 0; i < rows->pieces; i++) {
        const int64_t begin = count * i / rows->pieces, end = count * (i + 1) / rows->pieces;
        if (begin < end) {
            rows->make(rows->context, c * rows->step + begin, end - begin, values + begin * rows->ld);
            look(s);
        }
    }
}

void hps_group_sums_rows(hps_group_sums *s, const hps_group_rows *rows)
{
    const int64_t chunks = rows->ld > 0 ? (rows->rows + rows->step - 1) / rows->step : 0;

    if (rows->step * rows->ld > s->capacity) {
        hps_mpi_fatal(MPI_ERR_COUNT, "hps_group_sums_rows", __FILE__, __LINE__);
    }
    for (int64_t c = 0; c < chunks + 2; c++) {
        if (c < chunks) {
            make(s, rows, c, s->chunk[c % HPS_GROUP_STAGES].values);
        }
        if (c >= 1 && c <= chunks) {
            add_and_spread(s, &s->chunk[(c - 1) % HPS_GROUP_STAGES]);
        }
        if (c < chunks) {
            exchange(s, &s->chunk[c % HPS_GROUP_STAGES], rows_of(rows, c) * rows->ld);
        }
        if (c >= 2) {
            hps_group_chunk *done = &s->chunk[(c - 2) % HPS_GROUP_STAGES];
            finish(s, done);
            rows->use(rows->context, (c - 2) * rows->step, rows_of(rows, c - 2), done->values);
        }
    }
}

void hps_group_sums_floats(hps_group_sums *s, int64_t count, float *values)
{
    hps_group_chunk *chunk = &s->chunk[0];

    for (int64_t i = 0; s->R > 1 && i < count; i += s->capacity) {
        const int64_t some = count - i < s->capacity ? count - i : s->capacity;
        memcpy(chunk->values, values + i, (size_t)some * sizeof(*values));
        exchange(s, chunk, some);
        add_and_spread(s, chunk);
        finish(s, chunk);
        memcpy(values + i, chunk->values, (size_t)some * sizeof(*values));
    }
}

void hps_group_sums_doubles(hps_group_sums *s, int64_t count, double *values)
{
    double *all = (double *)(void *)s->chunk[0].pieces;
    const int64_t most = s->piece / 2;

    for (int64_t i = 0; s->R > 1 && i < count; i += most) {
        const int64_t some = count - i < most ? count - i : most;
        HPS_MPI(MPI_Allgather(values + i, hps_count(some), MPI_DOUBLE, all, hps_count(some), MPI_DOUBLE, s->comm));
        for (int64_t j = 0; j < some; j++) {
            values[i + j] = all[j];
            for (int q = 1; q < s->R; q++) {
                values[i + j] += all[q * some + j];
            }
        }
    }
}

static int64_t eighth(int64_t rows, int64_t unit)
{
    return (rows / 8 / unit + 1) * unit;
}

int64_t hps_group_rows_step(int64_t rows, int64_t ld, int64_t unit, int64_t most)
{
    const int64_t wanted = eighth(rows, unit), allowed = ld > 0 ? most / ld / unit * unit : wanted;

    return wanted < allowed ? wanted : allowed > unit ? allowed : unit;
}

int64_t hps_group_rows_room(int64_t rows, int64_t ld, int64_t unit, int64_t most)
{
    const int64_t wanted = eighth(rows, unit) * ld, allowed = most > unit * ld ? most : unit * ld;

    return wanted < allowed ? wanted : allowed;
}
