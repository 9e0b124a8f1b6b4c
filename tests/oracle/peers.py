"""What SAELens, sparsify and dictionary_learning compute: run by tests/test_peers.py under the interpreter where they
are installed.

    peers.py versions       prints their versions, or fails with the import's error
    peers.py job.json       saves and loads dictionaries as the job says, leaves what their forward passes give
"""
import json
import os
import sys
import warnings
from importlib import import_module
from importlib.metadata import version

warnings.filterwarnings("ignore")
if sys.argv[1] == "versions":
    for name in ("sae_lens", "sparsify", "dictionary_learning"):
        import_module(name)
    print(f"sae-lens {version('sae-lens')}, eai-sparsify {version('eai-sparsify')}, "
          f"dictionary-learning {version('dictionary-learning')}, torch {version('torch')}")
    sys.exit(0)
import numpy as np

LATENTS, K = 1000, 32
THRESHOLD = 25.0


def saelens_forward(folder, rows):
    import torch
    from sae_lens import SAE
    sae = SAE.load_from_disk(folder, dtype="float32")
    with torch.no_grad():
        return sae(torch.tensor(rows)).numpy()


def sparsify_forward(folder, rows):
    import torch
    from sparsify.sparse_coder import SparseCoder
    coder = SparseCoder.load_from_disk(folder)
    with torch.no_grad():
        return coder(torch.tensor(rows)).sae_out.float().numpy()


def dictionary_learning_forward(folder, rows):
    import torch
    from dictionary_learning.utils import load_dictionary
    dictionary, _ = load_dictionary(folder, "cpu")
    with torch.no_grad():
        return dictionary(torch.tensor(rows)).numpy()


def random_tensors(d, seed):
    """Decoder rows that have no unit norm, biases that are not zero."""
    import torch
    rng = np.random.default_rng(seed)
    norm = rng.uniform(0.5, 2.0, size=(LATENTS, 1))
    tensors = (rng.normal(size=(LATENTS, d)) / d**0.5, rng.normal(size=LATENTS),
               norm * rng.normal(size=(LATENTS, d)) / d**0.5, rng.normal(size=d))
    return [torch.tensor(values.astype("f4")) for values in tensors]


def fill(parameters, values):
    import torch
    with torch.no_grad():
        for parameter, value in zip(parameters, values):
            parameter.copy_(value)


def saelens_save(folder, d, rescale, centred, dtype):
    import torch
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
    sae = TopKSAE(TopKSAEConfig(d_in=d, d_sae=LATENTS, k=K, rescale_acts_by_decoder_norm=rescale,
                                apply_b_dec_to_input=centred))
    e, e_bias, w, b = random_tensors(d, 5)
    fill((sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec), (e.T, e_bias, w, b))
    sae.to(getattr(torch, dtype)).save_model(folder)


def saelens_batch_topk_save(folder, d):
    """As SAELens leaves a BatchTopK dictionary after training: jumprelu."""
    import torch
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d, d_sae=LATENTS, k=K))
    e, e_bias, w, b = random_tensors(d, 7)
    fill((sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec), (e.T, e_bias, w, b))
    sae.topk_threshold = torch.tensor(THRESHOLD, dtype=torch.double)
    sae.save_inference_model(folder)


def sparsify_save(folder, d):
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder
    coder = SparseCoder(d, SparseCoderConfig(num_latents=LATENTS, k=K))
    fill((coder.encoder.weight, coder.encoder.bias, coder.W_dec, coder.b_dec), random_tensors(d, 6))
    coder.save_to_disk(folder)


def work(job):
    rows = np.load(job["rows"])
    save = {"SAELens": saelens_save, "SAELens BatchTopK": saelens_batch_topk_save, "sparsify": sparsify_save}
    forward = {"SAELens": saelens_forward, "SAELens BatchTopK": saelens_forward, "sparsify": sparsify_forward,
               "dictionary_learning": dictionary_learning_forward}
    for task in job["tasks"]:
        if task["make"] is not None:
            os.makedirs(task["folder"])
            save[task["program"]](task["folder"], rows.shape[1], **task["make"])
        np.save(task["output"], forward[task["program"]](task["folder"], rows).astype("f4"))


with open(sys.argv[1], encoding="utf-8") as file:
    work(json.load(file))
