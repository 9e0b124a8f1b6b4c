/*
 * A foreign folder that is incomplete, contradicts itself or is another function than a dictionary here is refused, on
 * every rank with the same line; jumprelu is taken when it has one threshold; float16 weights are read, biases and
 * norms folded as the folder's switches say.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange.h"
#include "scratch.h"
#include "tap.h"

#include <math.h>
#include <stdint.h>
#include <sys/stat.h>

enum { N = 4, D = 3, FLOATS = 2 * N * D + N + D };

static hps_grid grid;
static char directory[SCRATCH_PATH];

#define SAELENS_REST              ",\"d_in\":3,\"d_sae\":4,\"dtype\":\"float32\",\"metadata\":{\"hook_name\":\"h\"}"
#define SAELENS                   "{\"architecture\":\"topk\",\"k\":2" SAELENS_REST
#define SPARSIFY                  "{\"activation\":\"topk\",\"d_in\":3,\"num_latents\":4,\"k\":2"
#define ENTRY(name, shape, range) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" range "}"

static const char saelens_tensors[] = "{" ENTRY("W_enc", "[3,4]", "[0,48]") "," ENTRY(
    "b_enc", "[4]", "[48,64]") "," ENTRY("W_dec", "[4,3]", "[64,112]") "," ENTRY("b_dec", "[3]", "[112,124]") "}";
static const char saelens_turned[] = "{" ENTRY("W_enc", "[4,3]", "[0,48]") "," ENTRY(
    "b_enc", "[4]", "[48,64]") "," ENTRY("W_dec", "[4,3]", "[64,112]") "," ENTRY("b_dec", "[3]", "[112,124]") "}";
static const char saelens_extra[] = "{" ENTRY("W_enc", "[3,4]", "[0,48]") "," ENTRY(
    "threshold", "[4]", "[48,64]") "," ENTRY("W_dec", "[4,3]", "[64,112]") "," ENTRY("b_dec", "[3]", "[112,124]") "}";
static const char saelens_lacking[] = "{" ENTRY("W_enc", "[3,4]", "[0,48]") "," ENTRY(
    "b_enc", "[4]", "[48,64]") "," ENTRY("W_dec", "[4,3]", "[64,112]") "}";
static const char sparsify_tensors[] =
    "{" ENTRY("encoder.weight", "[4,3]", "[0,48]") "," ENTRY("encoder.bias", "[4]", "[48,64]") "," ENTRY(
        "W_dec", "[4,3]", "[64,112]") "," ENTRY("b_dec", "[3]", "[112,124]") "}";

/* Rank 0.  The file is removed when text is NULL. */
static void put_file(const char *name, const char *text, const void *data, size_t bytes)
{
    const char *path = scratch_path(directory, name);
    const uint64_t length = text != NULL ? strlen(text) : 0;

    unlink(path);
    if (text == NULL) {
        return;
    }
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    if (data != NULL) {
        fwrite(&length, sizeof(length), 1, file);
    }
    fwrite(text, 1, length, file);
    fwrite(data != NULL ? data : "", 1, bytes, file);
    fclose(file);
}

/* Element e of the weights is e + 1, but for one that is set apart. */
static void put_folder(const char *config, const char *saelens, const char *sparsify, int apart, float value)
{
    MPI_Barrier(grid.model);
    if (grid.p == 0) {
        float data[FLOATS];
        for (int i = 0; i < FLOATS; i++) {
            data[i] = i == apart ? value : (float)(i + 1);
        }
        const size_t bytes = saelens == saelens_lacking ? 112 : sizeof(data);
        put_file("cfg.json", config, NULL, 0);
        put_file("sae_weights.safetensors", saelens, data, bytes);
        put_file("sae.safetensors", sparsify, data, bytes);
    }
    MPI_Barrier(grid.model);
}

/* The message must be the folder, then these words to its end. */
static void refused(hps_status code, const char *words)
{
    hps_model *model = NULL;
    const int64_t live = hps_memory_live();
    char expected[SCRATCH_PATH + 512];

    CHECK(hps_import(&grid, directory, HPS_FORMAT_AUTO, &model) == code && model == NULL);
    snprintf(expected, sizeof(expected), "%s%s", directory, words);
    CHECK(strcmp(hps_status_message(), expected) == 0);
    if (strcmp(hps_status_message(), expected) != 0) {
        fprintf(stderr, "# said: %s\n", hps_status_message());
    }
    CHECK(hps_memory_live() == live);
}

static void incomplete_folders(void)
{
    put_folder(NULL, saelens_tensors, NULL, -1, 0);
    refused(HPS_EIO,
            ": no cfg.json there; name the folder that holds cfg.json and sae_weights.safetensors (SAELens) or "
            "sae.safetensors (sparsify)");
    put_folder(SAELENS "}", NULL, NULL, -1, 0);
    refused(HPS_EFORMAT, ": holds neither sae_weights.safetensors nor sae.safetensors; one is needed");
    put_folder(SAELENS "}", saelens_tensors, sparsify_tensors, -1, 0);
    refused(HPS_EFORMAT, ": holds both sae_weights.safetensors and sae.safetensors; choose by import.format");
    tap_case("folders without cfg.json, without weights, with both kinds of weights");
}

static void other_functions(void)
{
    put_folder("{\"architecture\":\"gated\",\"k\":2" SAELENS_REST "}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: architecture is gated; only \"topk\", and \"jumprelu\" with one threshold for all "
                         "latents, can be imported");
    put_folder(SAELENS ",\"normalize_activations\":\"layer_norm\"}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: normalize_activations is layer_norm; only \"none\" can be imported: fold the "
                         "normalisation into the weights first");
    put_folder(SAELENS ",\"reshape_activations\":\"hook_z\"}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: reshape_activations is hook_z; only \"none\" can be imported: activations must be "
                         "rows of d_in");
    put_folder("{\"activation\":\"groupmax\",\"d_in\":3,\"num_latents\":4,\"k\":2}", NULL, sparsify_tensors, -1, 0);
    refused(HPS_EFORMAT,
            "/cfg.json: activation is groupmax; only \"topk\" can be imported: there is no other selection "
            "yet");
    put_folder(SPARSIFY ",\"transcode\":true}", NULL, sparsify_tensors, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: transcode is true: a transcoder's output is not its input");
    put_folder(SPARSIFY ",\"skip_connection\":true}", NULL, sparsify_tensors, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: skip_connection is true: a linear path beside the latents cannot be kept");
    tap_case("other architectures, activations, normalisations, transcoders, skip connections");
}

static void wrong_configurations(void)
{
    put_folder("{\"d_in\":3,\"d_sae\":4,\"k\":2}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: architecture is missing; a SAELens folder of version 6 or newer with architecture "
                         "\"topk\" or \"jumprelu\" is needed");
    put_folder("{\"architecture\":\"topk\"" SAELENS_REST "}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: k is missing; an integer is needed");
    put_folder("{\"architecture\":\"topk\",\"k\":\"two\"" SAELENS_REST "}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: k is not an integer; an integer is needed");
    put_folder("{\"architecture\":\"topk\",\"k\":-2" SAELENS_REST "}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: k is -2; it must lie in 1 .. 2^31 - 2");
    put_folder("{\"architecture\":\"topk\",\"k\":5" SAELENS_REST "}", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: k is 5 of 4 latents");
    put_folder("[1]", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json: not a JSON object");
    put_folder("{\"k\":", saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/cfg.json:1:5: not JSON: unexpected token near end of file");
    tap_case("configurations that lack a key, or have one that makes no sense");
}

static void wrong_weights(void)
{
    put_folder(SAELENS "}", saelens_extra, NULL, -1, 0);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: tensor threshold is not one of a TopK dictionary of SAELens");
    put_folder(SAELENS "}", saelens_lacking, NULL, -1, 0);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: no tensor b_dec; it has: W_enc, b_enc, W_dec");
    put_folder(SAELENS "}", saelens_turned, NULL, -1, 0);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: tensor W_enc has shape [4, 3], [3, 4] is needed");
    put_folder(SAELENS "}", saelens_tensors, NULL, 6, NAN);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: W_enc[1, 2] is not finite");
    put_folder(SAELENS "}", saelens_tensors, NULL, 13, INFINITY);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: b_enc[1] is not finite");
    tap_case("superfluous and missing tensors, other shapes, values that are not finite");
}

static float value_of(const hps_model *model, hps_tensor tensor, int64_t row, int64_t column)
{
    const hps_tensor_layout layout = hps_model_layout(model, tensor);

    for (int64_t q = 0; q < layout.local_rows; q++) {
        if (hps_model_row(model, &layout, q) == row && column >= layout.c0 && column < layout.c0 + layout.width) {
            return hps_model_tensor(model, HPS_VALUE, tensor)[q * layout.ld + column - layout.c0];
        }
    }
    return NAN; /* another rank's */
}

static void is(const hps_model *model, hps_tensor tensor, int64_t row, int64_t column, double want)
{
    const float value = value_of(model, tensor, row, column);

    CHECK(isnan(value) || fabs((double)value - want) <= 1e-6 * fabs(want));
}

static void folded_switches(void)
{
    hps_model *model = NULL;

    put_folder(SAELENS ",\"rescale_acts_by_decoder_norm\":true,\"apply_b_dec_to_input\":false}", saelens_tensors, NULL,
               -1, 0);
    CHECK(hps_import(&grid, directory, HPS_FORMAT_AUTO, &model) == HPS_OK);
    if (model != NULL) {
        /* row 1 of W_dec is 20 21 22; row 1 of W_enc, column 1 of the file, is 2 6 10; b_dec is 29 30 31 */
        const double norm = sqrt(20.0 * 20 + 21 * 21 + 22 * 22);
        is(model, HPS_W_DEC, 1, 2, 22 / norm);
        is(model, HPS_W_ENC, 1, 2, 10 * norm);
        is(model, HPS_B_ENC, 1, 0, (14 + 2 * 29 + 6 * 30 + 10 * 31) * norm);
        is(model, HPS_B_DEC, 2, 0, 31);
        CHECK(strcmp(model->hook, "h") == 0);
    }
    hps_model_destroy(&model);
    put_folder(SPARSIFY ",\"expansion_factor\":7}", NULL, sparsify_tensors, -1, 0);
    CHECK(hps_import(&grid, directory, HPS_FORMAT_SPARSIFY, &model) == HPS_OK);
    if (model != NULL) {
        is(model, HPS_W_ENC, 3, 1, 11);
        is(model, HPS_W_DEC, 3, 1, 27);
    }
    hps_model_destroy(&model);
    tap_case("norms and biases are folded as the switches say");
}

/* Written by rank 0: the four tensors as ever, then these thresholds. */
static void put_jumprelu(const char *config, const float threshold[N])
{
    static const char five[] = "{" ENTRY("W_enc", "[3,4]", "[0,48]") "," ENTRY("b_enc", "[4]", "[48,64]") "," ENTRY(
        "W_dec", "[4,3]", "[64,112]") "," ENTRY("b_dec", "[3]", "[112,124]") "," ENTRY("threshold", "[4]",
                                                                                       "[124,140]") "}";

    put_folder(config, NULL, NULL, -1, 0);
    if (grid.p == 0) {
        float data[FLOATS + N];
        for (int i = 0; i < FLOATS + N; i++) {
            data[i] = i < FLOATS ? (float)(i + 1) : threshold[i - FLOATS];
        }
        put_file("sae_weights.safetensors", five, data, sizeof(data));
    }
    MPI_Barrier(grid.model);
}

static void jumprelu_is(const char *config, const float threshold[N], double want, int64_t k)
{
    hps_model *model = NULL;

    put_jumprelu(config, threshold);
    CHECK(hps_import(&grid, directory, HPS_FORMAT_AUTO, &model) == HPS_OK);
    if (model != NULL) {
        CHECK(model->select == HPS_SELECT_BATCH_TOPK && model->threshold == want && model->k == k);
        is(model, HPS_W_DEC, 3, 1, 27);
    }
    hps_model_destroy(&model);
}

static void one_threshold(void)
{
    const float same[N] = {0.1F, 0.1F, 0.1F, 0.1F}, below[N] = {-2, -2, -2, -2}, other[N] = {0.1F, 0.1F, 0.25F, 0.1F};
    const float broken[N] = {0.1F, NAN, 0.1F, 0.1F};
    const char *plain = "{\"architecture\":\"jumprelu\"" SAELENS_REST "}";

    jumprelu_is(plain, same, (double)0.1F, 1);
    jumprelu_is(plain, below, 0, 1);
    jumprelu_is("{\"architecture\":\"jumprelu\",\"k\":2.6" SAELENS_REST "}", same, (double)0.1F, 3);
    jumprelu_is("{\"architecture\":\"jumprelu\",\"k\":1e9" SAELENS_REST "}", same, (double)0.1F, 4);
    jumprelu_is("{\"architecture\":\"jumprelu\",\"d_in\":3,\"d_sae\":4,\"metadata\":{\"k\":2}}", same, (double)0.1F, 2);
    put_jumprelu(plain, other);
    refused(HPS_EFORMAT,
            "/sae_weights.safetensors: threshold[0] is 0.1, but threshold[2] is 0.25: only one threshold for "
            "all latents can be imported, as BatchTopK has it");
    put_jumprelu(plain, broken);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: threshold[1] is not finite");
    put_folder(plain, saelens_tensors, NULL, -1, 0);
    refused(HPS_EFORMAT, "/sae_weights.safetensors: no tensor threshold; it has: W_enc, b_enc, W_dec, b_dec");
    tap_case("jumprelu with one threshold is BatchTopK in use; with several, or none, it is refused");
}

static void half_precision(void)
{
    static const char half[] = "{\"W_enc\":{\"dtype\":\"F16\",\"shape\":[3,4],\"data_offsets\":[0,24]},"
                               "\"b_enc\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]},"
                               "\"W_dec\":{\"dtype\":\"F16\",\"shape\":[4,3],\"data_offsets\":[32,56]},"
                               "\"b_dec\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[56,62]}}";
    hps_model *model = NULL;

    put_folder(SAELENS "}", NULL, NULL, -1, 0);
    if (grid.p == 0) {
        float data[FLOATS];
        uint16_t words[FLOATS];
        for (int i = 0; i < FLOATS; i++) {
            data[i] = (float)(i + 1) / 8;
        }
        hps_words_from_float(HPS_F16, FLOATS, data, words);
        put_file("sae_weights.safetensors", half, words, sizeof(words));
    }
    MPI_Barrier(grid.model);
    CHECK(hps_import(&grid, directory, HPS_FORMAT_AUTO, &model) == HPS_OK);
    if (model != NULL) {
        is(model, HPS_W_ENC, 1, 2, 10.0 / 8);
        is(model, HPS_W_DEC, 3, 0, 26.0 / 8);
    }
    hps_model_destroy(&model);
    tap_case("float16 weights");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    scratch_make(directory);
    incomplete_folders();
    other_functions();
    wrong_configurations();
    wrong_weights();
    folded_switches();
    one_threshold();
    half_precision();
    scratch_remove(directory);
    hps_grid_destroy(&grid);
    tap_done();
    MPI_Finalize();
    return 0;
}
