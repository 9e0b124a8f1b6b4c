#include "source.h"

#include "hpsae/store/hdf5.h"
#include "hpsae/store/safetensors.h"

#include <stdio.h>

static hps_status choose(const hps_source *source, const hps_safetensors *file, hps_choice choice,
                         const hps_safetensor **chosen)
{
    int64_t count;
    const hps_safetensor *all = hps_safetensors_list(file, &count);
    char names[512] = "";
    size_t used = 0;
    int found = 0;

    for (int64_t i = 0; i < count; i++) {
        if (all[i].is_float && all[i].dimensions == 2) {
            *chosen = &all[i];
            const int more = snprintf(names + used, sizeof(names) - used, "%s%s", found > 0 ? ", " : "", all[i].name);
            used = used + (size_t)more < sizeof(names) ? used + (size_t)more : sizeof(names) - 1;
            found++;
        }
    }
    if (found == 1) {
        return HPS_OK;
    }
    return found == 0 ? hps_fail(HPS_EFORMAT, "%s: no tensor of shape [rows, d] of floats", source->path)
                      : hps_fail(HPS_EFORMAT, "%s: has several tensors of activations: %s; choose one with %s",
                                 source->path, names, choice.key);
}

static hps_status take(hps_safetensors *file, hps_choice choice, hps_source *source)
{
    static const int64_t any[2] = {-1, -1};
    const hps_safetensor *tensor = NULL;

    HPS_TRY(choice.name[0] == '\0' ? choose(source, file, choice, &tensor)
                                   : hps_safetensors_want(file, choice.name, 2, any, &tensor));
    HPS_TRY(hps_source_check_shape(source, tensor->name, tensor->dimensions, tensor->shape));
    HPS_TRY(hps_text_copy(tensor->name, &source->dataset));
    source->d = tensor->shape[1];
    source->dtype = tensor->dtype;
    source->array = HPS_NO_ARRAY;
    source->array.path = source->path;
    source->array.fd = source->fd;
    source->array.rows = tensor->shape[0];
    source->array.row_bytes = source->d * (int64_t)hps_dtype_size(source->dtype);
    source->array.begin = tensor->begin;
    return hps_text_copy("", &source->hook);
}

hps_status hps_source_open_safetensors(hps_choice choice, hps_source *source)
{
    hps_safetensors *file;

    HPS_TRY(hps_safetensors_open(source->path, &file));
    const hps_status status = take(file, choice, source);
    hps_safetensors_close(&file);
    return status;
}
