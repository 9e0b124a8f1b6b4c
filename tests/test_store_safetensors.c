/*
 * The safetensors reader gives what is in a good file and refuses every bad one: lengths, syntax, duplicates, shapes,
 * overlaps, gaps, overflow; and no damage, whatever it be, makes it read outside of the file.
 *
 * ranks: 1
 */
#include "../src/store/source.h"
#include "hpsae/store/safetensors.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

static char path[SCRATCH_PATH + 64];

/* A file with this header and so many bytes 0, 1, 2, ... behind it. */
static void write_file(const char *header, size_t data)
{
    const size_t length = strlen(header);
    uint8_t *bytes = calloc(8 + length + data, 1);

    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)((uint64_t)length >> (8 * i));
    }
    for (size_t i = 0; i < length + data; i++) {
        bytes[8 + i] = (uint8_t)(i < length ? (size_t)header[i] : i - length);
    }
    fixture_file(path, bytes, 8 + length + data);
    free(bytes);
}

static const char good[] = "{\"__metadata__\":{\"hook\":\"blocks.3\"},"
                           "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                           "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                           "\"none\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[20,20]},"
                           "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}   ";

static void a_good_file(void)
{
    const int64_t fits[2] = {-1, 3}, wrong[2] = {3, 2};
    hps_safetensors *file;
    const hps_safetensor *tensor;
    int64_t count;
    uint8_t words[6];

    write_file(good, 28);
    CHECK(hps_safetensors_open(path, &file) == HPS_OK);
    const hps_safetensor *all = hps_safetensors_list(file, &count);
    CHECK(count == 4 && strcmp(all[0].name, "a") == 0 && strcmp(all[1].name, "b") == 0);
    CHECK(strcmp(hps_safetensors_metadata(file, "hook"), "blocks.3") == 0);
    CHECK(hps_safetensors_metadata(file, "other") == NULL);
    CHECK(hps_safetensors_find(file, "scalar")->dimensions == 0 && !hps_safetensors_find(file, "scalar")->is_float);
    CHECK(hps_safetensors_want(file, "b", 2, fits, &tensor) == HPS_OK);
    CHECK(tensor->dtype == HPS_F16 && tensor->is_float && tensor->shape[0] == 2);
    CHECK(hps_safetensors_read(file, tensor, 2, 3, words) == HPS_OK && words[0] == 12 && words[5] == 17);
    CHECK(hps_safetensors_read(file, tensor, 4, 3, words) == HPS_EARG);
    CHECK(hps_safetensors_want(file, "b", 2, wrong, &tensor) == HPS_EFORMAT);
    CHECK(fixture_said("tensor b has shape [2, 3], [3, 2] is needed"));
    CHECK(hps_safetensors_want(file, "W", 2, wrong, &tensor) == HPS_EFORMAT);
    CHECK(fixture_said("no tensor W; it has: a, b, none, scalar"));
    CHECK(hps_safetensors_want(file, "scalar", 0, fits, &tensor) == HPS_EFORMAT && fixture_said("of type I64"));
    hps_safetensors_close(&file);
    tap_case("a good file");
}

#define ENTRY(dtype, shape, from, to) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static const struct {
    const char *what, *header;
    size_t data;
    const char *words;
} bad[] = {
    {"not JSON", "{\"a\":", 8, "header: "},
    {"not an object", "[1,2,3]", 0, "does not begin with {"},
    {"a blank before the object", " {}", 0, "does not begin with {"},
    {"a name twice", "{\"a\":" ENTRY("F32", "[1]", "0", "4") ",\"a\":" ENTRY("F32", "[1]", "4", "8") "}", 8,
     "duplicate"},
    {"text behind the object", "{} x", 0, "end of file"},
    {"an entry without shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "an entry is dtype, shape"},
    {"an entry with more keys", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
     "an entry is"},
    {"an entry that is a number", "{\"a\":7}", 0, "an entry is"},
    {"a negative extent", "{\"a\":" ENTRY("F32", "[-1]", "0", "4") "}", 4, "its shape is not"},
    {"a real extent", "{\"a\":" ENTRY("F32", "[1.0]", "0", "4") "}", 4, "its shape is not"},
    {"a product beyond 63 bits", "{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "0", "4") "}", 4, "63 bits"},
    {"bytes beyond 63 bits", "{\"a\":" ENTRY("F64", "[4611686018427387904]", "0", "8") "}", 8, "do not match"},
    {"an extent beyond 64 bits", "{\"a\":" ENTRY("F32", "[99999999999999999999]", "0", "4") "}", 4, "header: "},
    {"nine dimensions", "{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "more than 8 dimensions"},
    {"an end before the beginning", "{\"a\":" ENTRY("F32", "[1]", "4", "0") "}", 4, "do not lie within the file"},
    {"a negative offset", "{\"a\":" ENTRY("F32", "[1]", "-4", "0") "}", 4, "do not lie within the file"},
    {"an end beyond the file", "{\"a\":" ENTRY("F32", "[2]", "0", "8") "}", 7, "do not lie within the file"},
    {"a shape of another size", "{\"a\":" ENTRY("F32", "[3]", "0", "8") "}", 8, "do not match"},
    {"an overlap", "{\"a\":" ENTRY("F32", "[2]", "0", "8") ",\"b\":" ENTRY("F32", "[2]", "4", "12") "}", 12, "overlap"},
    {"the same bytes twice", "{\"a\":" ENTRY("F32", "[1]", "0", "4") ",\"b\":" ENTRY("F32", "[1]", "0", "4") "}", 4,
     "overlap"},
    {"a gap", "{\"a\":" ENTRY("F32", "[1]", "0", "4") ",\"b\":" ENTRY("F32", "[1]", "8", "12") "}", 12, "a gap"},
    {"a gap at the beginning", "{\"a\":" ENTRY("F32", "[1]", "4", "8") "}", 8, "a gap"},
    {"bytes behind the last tensor", "{\"a\":" ENTRY("F32", "[1]", "0", "4") "}", 5, "1 bytes after the last"},
};

static void bad_files(void)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hps_safetensors *file;
        write_file(bad[i].header, bad[i].data);
        CHECK(hps_safetensors_open(path, &file) == HPS_EFORMAT);
        CHECK(file == NULL && fixture_said(path) && fixture_said(bad[i].words));
        hps_safetensors_close(&file);
        tap_case(bad[i].what);
    }
}

static void bad_lengths(void)
{
    const uint8_t huge[16] = {0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}'}, longer[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    hps_safetensors *file;

    fixture_file(path, huge, 16);
    CHECK(hps_safetensors_open(path, &file) == HPS_EFORMAT && fixture_said("9223372036854775808 bytes"));
    fixture_file(path, longer, 16);
    CHECK(hps_safetensors_open(path, &file) == HPS_EFORMAT && fixture_said("header has 9 bytes"));
    fixture_file(path, longer, 7);
    CHECK(hps_safetensors_open(path, &file) == HPS_EFORMAT && fixture_said("only 7 bytes"));
    unlink(path);
    CHECK(hps_safetensors_open(path, &file) == HPS_EIO && fixture_said("cannot be opened"));
    tap_case("lengths of the header that cannot be");
}

/* Reads all that a damaged file offers; the sanitizers and valgrind watch. */
static int opens(const uint8_t *bytes, size_t count)
{
    hps_safetensors *file;
    int64_t tensors;

    fixture_file(path, bytes, count);
    if (hps_safetensors_open(path, &file) != HPS_OK) {
        return 0;
    }
    const hps_safetensor *all = hps_safetensors_list(file, &tensors);
    for (int64_t i = 0; i < tensors; i++) {
        CHECK(all[i].begin >= 8 && all[i].begin <= all[i].end && all[i].end <= (int64_t)count);
    }
    hps_safetensors_close(&file);
    return 1;
}

static void damage(void)
{
    size_t count;
    const int tries = getenv("TEST_QUICK") != NULL ? 100 : 3000;
    int opened = 0;

    write_file(good, 28);
    uint8_t *bytes = (uint8_t *)fixture_bytes(path, &count), *broken = malloc(count + 1);
    CHECK(opens(bytes, count) == 1);
    for (size_t length = 0; length < count; length++) {
        CHECK(opens(bytes, length) == 0);
    }
    for (int i = 0; i < tries; i++) {
        const uint64_t bits = hps_random_u64(1, HPS_DRAW_TEST, 0, (uint64_t)i);
        memcpy(broken, bytes, count);
        broken[bits % (count - 28)] = (uint8_t)(bits >> 32);
        opened += opens(broken, count);
    }
    CHECK(opened < tries);
    free(bytes);
    free(broken);
    tap_case("a file cut anywhere, or with any byte changed");
}

static void as_a_source(void)
{
    const hps_choice only = {.name = "", .key = "shuffle.dataset"}, named = {.name = "b", .key = "shuffle.dataset"};
    char words[512];
    hps_source source;
    uint8_t row[6];

    write_file("{\"a\":" ENTRY("BF16", "[2,2]", "0", "8") ",\"b\":" ENTRY("F16", "[2,3]", "8", "20") "}", 20);
    CHECK(hps_source_open(path, only, &source) == HPS_EFORMAT);
    snprintf(words, sizeof(words), "has several tensors of activations: a, b; choose one with shuffle.dataset");
    CHECK(fixture_said(words));
    CHECK(hps_source_open(path, named, &source) == HPS_OK);
    CHECK(source.d == 3 && source.array.rows == 2 && source.dtype == HPS_F16);
    CHECK(hps_array_read(&source.array, 1, 1, row) == HPS_OK && row[0] == 14 && row[5] == 19);
    hps_source_close(&source);
    write_file("{\"a\":" ENTRY("I64", "[1,1]", "0", "8") "}", 8);
    CHECK(hps_source_open(path, only, &source) == HPS_EFORMAT && fixture_said("no tensor of shape [rows, d]"));
    tap_case("as activations");
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH];

    MPI_Init(&argc, &argv);
    scratch_make(directory);
    snprintf(path, sizeof(path), "%s/x.safetensors", directory);

    a_good_file();
    bad_files();
    bad_lengths();
    damage();
    as_a_source();
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
