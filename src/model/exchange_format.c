#include "hpsae/model/exchange_format.h"

const char hps_exchange_threshold[] = "threshold";

static const hps_exchange_format saelens = {
    "SAELens", "sae_weights.safetensors", {{"W_enc", true}, {"b_enc", false}, {"W_dec", false}, {"b_dec", false}}};
static const hps_exchange_format sparsify = {
    "sparsify",
    "sae.safetensors",
    {{"encoder.weight", false}, {"encoder.bias", false}, {"W_dec", false}, {"b_dec", false}}};

const hps_exchange_format *hps_exchange_format_of(hps_format format)
{
    return format == HPS_FORMAT_SPARSIFY ? &sparsify : &saelens;
}

int hps_exchange_shape(const hps_exchange_format *format, hps_tensor tensor, int64_t n, int64_t d, int64_t shape[2])
{
    const bool transposed = format->tensor[tensor].transposed;

    shape[0] = tensor == HPS_B_DEC || transposed ? d : n;
    shape[1] = transposed ? n : d;
    return tensor == HPS_W_ENC || tensor == HPS_W_DEC ? 2 : 1;
}
