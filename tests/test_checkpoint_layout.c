/*
 * A model file does not know how many ranks wrote it: what P ranks write, Q ranks read, bit for bit, for all P and Q up
 * to the size of the job, with latents that no P divides, ranks that own no columns, and tensors moved in many rounds;
 * and the file's bytes are the same for every P.  How the model selects comes back too; a file of version 1, which does
 * not say it, is a TopK dictionary.
 *
 * ranks: 1 2 3 4 7
 */
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint_file.h"
#include "hpsae/model/checksum.h"
#include "hpsae/store/hdf5.h"
#include "model_fixture.h"
#include "scratch.h"
#include "tap.h"

enum { N = 283, K = 5, SEED = 11 };

static const char config[] = "train:\n  seed: 1\n";

/* The first `size` ranks as a grid of their own; false on the others. */
static bool sub_grid(int size, hps_grid *grid, MPI_Comm *comm)
{
    int rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < size ? 0 : MPI_UNDEFINED, rank, comm);
    if (*comm == MPI_COMM_NULL) {
        return false;
    }
    CHECK(hps_grid_create(*comm, 1, grid) == HPS_OK);
    return true;
}

/* How the models of this test select: no two numbers are alike. */
static void select_as(hps_model *model, hps_select select)
{
    static const int64_t sizes[] = {9, 70, N};

    model->select = select;
    model->alpha = 0.5;
    model->beta = 0.1;
    model->threshold = 1.0 / 3;
    model->prefixes = 3;
    memcpy(model->prefix, sizes, sizeof(sizes));
}

static bool selects_as(const hps_model *model, hps_select select)
{
    return model->select == select && model->alpha == 0.5 && model->beta == 0.1 && model->threshold == 1.0 / 3 &&
           model->prefixes == 3 && model->prefix[0] == 9 && model->prefix[1] == 70 && model->prefix[2] == N;
}

static void write_on(int size, int64_t d, unsigned roles, const char *path)
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(size, &grid, &comm)) {
        CHECK(hps_model_create(&grid, N, d, K, roles, &model) == HPS_OK);
        fixture_fill(model, SEED);
        model->norm = HPS_NORM_SCALE;
        model->scale = 0.1;
        select_as(model, HPS_SELECT_BATCH_TOPK);
        CHECK(hps_checkpoint_write(grid.model, model, config, 77, path) == HPS_OK);
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void check_model(const hps_grid *grid, const hps_model *model, unsigned roles)
{
    int64_t wrong = 0;

    for (int r = 0; r < HPS_ROLES; r++) {
        CHECK((model->role[r].slab != NULL) == ((roles & 1u << r) != 0));
        CHECK(model->role[r].slab == NULL || fixture_holds(model, SEED, r, r));
    }
    for (int64_t i = 0; model->fired != NULL && i < N; i++) {
        wrong += model->fired[i] != fixture_fired(SEED, i);
    }
    CHECK(wrong == 0);
    CHECK(model->shard.P == grid->P && model->k == K && model->norm == HPS_NORM_SCALE && model->scale == 0.1);
    CHECK(model->tokens == 123456789 && model->step == 4321 && selects_as(model, HPS_SELECT_BATCH_TOPK));
    CHECK(strcmp(model->hook, "blocks.3.hook_resid_post") == 0 && strcmp(model->model_name, "fixture") == 0);
}

static void read_on(int size, unsigned roles, const char *path)
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(size, &grid, &comm)) {
        const hps_status status = hps_checkpoint_read(&grid, path, roles, &model);
        CHECK(status == HPS_OK);
        if (status != HPS_OK) {
            fprintf(stderr, "# %s\n", hps_status_message());
        }
        if (model != NULL) {
            check_model(&grid, model, roles);
        }
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* All sizes of a small job, some of a larger one: the next to try. */
static int larger(int size, int world)
{
    return world <= 4 || size == world ? size + 1 : size == 1 ? world / 2 : world;
}

/* P against Q: what a resumed run reads (all roles) and what a program of the values reads. */
static void any_to_any(const char *directory, int world, int64_t d)
{
    const char *path = scratch_path(directory, "model.h5");
    const int64_t live = hps_memory_live();
    char name[96];

    for (int P = 1; P <= world; P = larger(P, world)) {
        write_on(P, d, ALL_ROLES, path);
        for (int Q = 1; Q <= world; Q = larger(Q, world)) {
            read_on(Q, (P + Q) % 2 == 0 ? ALL_ROLES : 1u << HPS_VALUE, path);
        }
    }
    CHECK(hps_memory_live() == live);
    CHECK(access(scratch_path(directory, "model.h5.tmp"), F_OK) != 0);
    snprintf(name, sizeof(name), "any P writes, any Q reads, up to %d ranks, %lld columns", world, (long long)d);
    tap_case(name);
}

static bool same_bytes(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    bool same = x != NULL && y != NULL;
    int c = 0;

    while (same && c != EOF) {
        c = getc(x);
        same = c == getc(y);
    }
    if (x != NULL) {
        fclose(x);
    }
    if (y != NULL) {
        fclose(y);
    }
    return same;
}

static void files_are_alike(const char *directory, int world)
{
    char one[SCRATCH_PATH + 64];

    snprintf(one, sizeof(one), "%s/one.h5", directory);
    write_on(1, 61, ALL_ROLES, one);
    for (int P = 2; P <= world; P++) {
        write_on(P, 61, ALL_ROLES, scratch_path(directory, "many.h5"));
        CHECK(same_bytes(one, scratch_path(directory, "many.h5")));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    tap_case("the same bytes in the file from every number of ranks");
}

static void the_head_is_told(const char *directory)
{
    const char *path = scratch_path(directory, "one.h5");
    hps_checkpoint_head head;

    CHECK(hps_checkpoint_read_head(MPI_COMM_WORLD, path, &head) == HPS_OK);
    CHECK(head.n == N && head.d == 61 && head.k == K && head.tokens == 123456789 && head.step == 4321);
    CHECK(head.config_hash == 77 && head.roles == ALL_ROLES && strcmp(head.config, config) == 0);
    CHECK(head.select == HPS_SELECT_BATCH_TOPK && head.threshold == 1.0 / 3 && head.alpha == 0.5 && head.beta == 0.1);
    CHECK(head.prefixes == 3 && head.prefix[0] == 9 && head.prefix[1] == 70 && head.prefix[2] == N);
    CHECK(head.norm == HPS_NORM_SCALE && head.scale == 0.1 && strcmp(head.hook, "blocks.3.hook_resid_post") == 0);
    hps_grid grid;
    hps_model *model = NULL;
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_checkpoint_read(&grid, path, ALL_ROLES, &model) == HPS_OK);
    const hps_checksum sum = model != NULL ? hps_model_checksum(grid.model, model) : (hps_checksum){0, 0};
    CHECK(sum.values == head.checksum_values && sum.state == head.checksum_state);
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    hps_checkpoint_head_free(&head);
    tap_case("the head says what the file holds, with the checksums of the log");
}

/* As program version 1 left it: no selection, and a head checksum that knows of none. */
static void make_version_1(const char *path, const hps_checkpoint_head *head)
{
    const char *const gone[] = {"select", "alpha", "beta", "threshold"};
    const int64_t numbers[] = {head->n, head->d, head->k, head->tokens, head->step, head->norm};
    const uint64_t hashes[] = {head->config_hash, head->checksum_values, head->checksum_state};
    const char *const texts[] = {head->config, head->hook, head->model_name};
    uint64_t sum = hps_checksum_bytes(0, numbers, sizeof(numbers));
    char text[17];

    sum = hps_checksum_bytes(sum, hashes, sizeof(hashes));
    sum = hps_checksum_bytes(sum, &head->scale, sizeof(head->scale));
    for (int i = 0; i < 3; i++) {
        sum = hps_checksum_bytes(sum, texts[i], strlen(texts[i]));
    }
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)sum);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    for (int i = 0; i < 4; i++) {
        CHECK(H5Adelete(file, gone[i]) >= 0);
    }
    CHECK(hps_h5_set_int(file, "format_version", 1) == HPS_OK);
    CHECK(hps_h5_set_fixed_text(file, "checksum_head", text) == HPS_OK);
    H5Fclose(file);
}

static void version_1_is_topk(const char *directory)
{
    const char *path = scratch_path(directory, "before.h5");
    hps_grid grid;
    hps_model *model = NULL;
    hps_checkpoint_head head;

    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_model_create(&grid, N, 61, K, ALL_ROLES, &model) == HPS_OK);
    fixture_fill(model, SEED);
    CHECK(hps_checkpoint_write(grid.model, model, config, 77, path) == HPS_OK);
    hps_model_destroy(&model);
    CHECK(hps_checkpoint_read_head(grid.model, path, &head) == HPS_OK);
    if (grid.p == 0) {
        make_version_1(path, &head);
    }
    hps_checkpoint_head_free(&head);
    MPI_Barrier(grid.model);
    CHECK(hps_checkpoint_read(&grid, path, ALL_ROLES, &model) == HPS_OK);
    if (model != NULL) {
        CHECK(model->select == HPS_SELECT_TOPK && model->alpha == 1 && model->beta == 0 && model->threshold < 0);
        CHECK(model->prefixes == 0 && fixture_holds(model, SEED, HPS_MOMENT1, HPS_MOMENT1));
    }
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    tap_case("a file of format version 1 is a TopK dictionary");
}

static void averages_are_loaded(const char *directory)
{
    const char *path = scratch_path(directory, "one.h5");
    hps_grid grid;
    hps_model *model = NULL;

    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_model_load(&grid, path, &model) == HPS_OK);
    CHECK(model != NULL && model->role[HPS_AVERAGE].slab == NULL && fixture_holds(model, SEED, HPS_VALUE, HPS_AVERAGE));
    CHECK(model != NULL && selects_as(model, HPS_SELECT_BATCH_TOPK));
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    tap_case("a model is loaded with its average as its values");
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH];
    int world;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    scratch_make(directory);
    any_to_any(directory, world, 61);
    hps_checkpoint_round_bytes = 20000;
    any_to_any(directory, world, 130);
    files_are_alike(directory, world);
    the_head_is_told(directory);
    averages_are_loaded(directory);
    version_1_is_topk(directory);
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
