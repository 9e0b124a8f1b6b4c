#include "row_reader.h"

#include "hpsae/base/memory.h"

#include <string.h>

int64_t hps_row_reader_bytes(const hps_columns *columns)
{
    return columns->items[0].in_bytes + columns->out_bytes + columns->sources->d * (int64_t)sizeof(float) + 1;
}

hps_status hps_row_reader_create(const hps_columns *columns, bool only_words, int64_t first, int64_t end,
                                 int64_t block_rows, hps_bad_rows *bad, hps_row_reader *reader)
{
    *reader = (hps_row_reader){
        .columns = columns, .bad = bad, .only_words = only_words, .next = first, .end = end, .block_rows = block_rows};
    HPS_TRY(HPS_ALLOC(&reader->in, block_rows * columns->items[0].in_bytes, "a block of input rows"));
    HPS_TRY(HPS_ALLOC(&reader->values, block_rows * columns->sources->d, "a block of input rows"));
    HPS_TRY(HPS_ALLOC(&reader->out, block_rows * columns->out_bytes, "a block of input rows"));
    return HPS_ALLOC(&reader->is_bad, block_rows, "a block of input rows");
}

void hps_row_reader_free(hps_row_reader *reader)
{
    HPS_FREE(&reader->in);
    HPS_FREE(&reader->values);
    HPS_FREE(&reader->out);
    HPS_FREE(&reader->is_bad);
}

char *hps_row_reader_column(const hps_row_reader *reader, int64_t column)
{
    int64_t before = 0;

    for (int64_t c = 0; c < column; c++) {
        before += reader->columns->items[c].out_bytes;
    }
    return reader->out + reader->block_rows * before;
}

/* Marks rows of `width` words that are not all finite. */
static void mark_bad(hps_row_reader *reader, int64_t file, hps_dtype dtype, int64_t width, const char *words)
{
    const int64_t row_bytes = width * (int64_t)hps_dtype_size(dtype);

    if (hps_words_first_nonfinite(dtype, reader->count * width, words) < 0) {
        return;
    }
    for (int64_t r = 0; r < reader->count; r++) {
        if (!reader->is_bad[r] && hps_words_first_nonfinite(dtype, width, words + r * row_bytes) >= 0) {
            const int64_t row = reader->first + r;
            reader->is_bad[r] = true;
            reader->bad->rows++;
            reader->bad->per_file[file]++;
            reader->bad->first = row < reader->bad->first ? row : reader->bad->first;
        }
    }
}

static hps_status convert(hps_row_reader *reader, const hps_source *source, int64_t row_in_file)
{
    const hps_column *column = &reader->columns->items[0];
    const int64_t d = source->d, count = reader->count;

    hps_words_to_float(source->dtype, count * d, reader->in, reader->values);
    hps_words_from_float(column->dtype, count * d, reader->values, reader->out);
    for (int64_t r = 0; r < count; r++) {
        if (!reader->is_bad[r] &&
            hps_words_first_nonfinite(column->dtype, d, reader->out + r * column->out_bytes) >= 0) {
            return hps_fail(HPS_ECONFIG, "%s: row %lld holds a value too large for %s; set another shuffle.dtype",
                            source->path, (long long)(row_in_file + r), hps_dtype_name(column->dtype));
        }
    }
    return HPS_OK;
}

static hps_status read_activations(hps_row_reader *reader, int64_t file, int64_t row_in_file)
{
    const hps_column *column = &reader->columns->items[0];
    const hps_source *source = &reader->columns->sources->items[file];
    const bool as_is = source->dtype == column->dtype;
    char *to = as_is ? reader->out : reader->in;

    HPS_TRY(hps_array_read(&column->arrays[file], row_in_file, reader->count, to));
    mark_bad(reader, file, source->dtype, source->d, to);
    return as_is ? HPS_OK : convert(reader, source, row_in_file);
}

static hps_status read_beside(hps_row_reader *reader, int64_t c, int64_t file, int64_t row_in_file)
{
    const hps_column *column = &reader->columns->items[c];
    char *to = hps_row_reader_column(reader, c);

    HPS_TRY(hps_array_read(&column->arrays[file], row_in_file, reader->count, to));
    if (column->words) {
        mark_bad(reader, file, column->dtype, column->out_bytes / (int64_t)hps_dtype_size(column->dtype), to);
    }
    return HPS_OK;
}

hps_status hps_row_reader_next(hps_row_reader *reader)
{
    const hps_sources *sources = reader->columns->sources;

    reader->first = reader->next;
    reader->count = 0;
    if (reader->next >= reader->end) {
        return HPS_OK;
    }
    const int64_t file = hps_sources_find(sources, reader->first), row_in_file = reader->first - sources->first[file];
    int64_t count =
        reader->end < sources->first[file + 1] ? reader->end - reader->first : sources->first[file + 1] - reader->first;
    count = count < reader->block_rows ? count : reader->block_rows;
    reader->count = count;
    reader->next += count;
    memset(reader->is_bad, 0, (size_t)count * sizeof(*reader->is_bad));
    HPS_TRY(read_activations(reader, file, row_in_file));
    for (int64_t c = 1; c < reader->columns->count; c++) {
        if (reader->columns->items[c].words || !reader->only_words) {
            HPS_TRY(read_beside(reader, c, file, row_in_file));
        }
    }
    return HPS_OK;
}
