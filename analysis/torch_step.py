#!/usr/bin/env python3
"""Tokens a second of a TopK step as one writes it by hand in PyTorch on a CPU, to hold `hpsae train` against on the
same rows and cores: encoder and reconstruction under bf16 autocast, the decoder as an embedding_bag over the k chosen
rows, fused Adam, unit decoder rows.  Needs PyTorch.

    analysis/torch_step.py STORE.h5 --latents 16384 --k 32 --batch 4096 --threads 2"""
import argparse
import statistics
import time

import h5py
import numpy as np
import torch
from torch.nn import functional


def read_rows(path, count):
    """The first rows of a store of one hook, scaled so that the mean squared norm is d."""
    with h5py.File(path) as file:
        hooks = file["activations"]
        words = hooks[list(hooks)[0]][:count]
    if words.dtype.kind in "ui":  # bf16 as words
        words = (words.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    x = torch.from_numpy(words.astype(np.float32))
    return x * (x.shape[1] / x.pow(2).sum(1).mean()).sqrt()


class Dictionary:
    """Encoder, decoder, their biases, and the optimiser."""

    def __init__(self, x, latents, k):
        rows = functional.normalize(torch.randn(latents, x.shape[1]), dim=1)
        self.k = k
        self.w_enc, self.w_dec, self.b_enc, self.b_dec = (
            torch.nn.Parameter(value) for value in (rows.clone(), rows.clone(), torch.zeros(latents), x.mean(0)))
        self.adam = torch.optim.Adam([self.w_enc, self.w_dec, self.b_enc, self.b_dec], lr=2e-4, fused=True)

    def step(self, x):
        """One step on a batch."""
        with torch.autocast("cpu", torch.bfloat16):
            values, chosen = functional.linear(x - self.b_dec, self.w_enc, self.b_enc).topk(self.k, sorted=False)
            z = values.relu()
            rows = self.w_dec.to(z.dtype)
            xhat = functional.embedding_bag(chosen, rows, per_sample_weights=z, mode="sum") + self.b_dec
        self.adam.zero_grad(set_to_none=True)
        (xhat.float() - x).pow(2).sum(1).mean().backward()
        self.adam.step()
        with torch.no_grad():
            self.w_dec.div_(self.w_dec.norm(dim=1, keepdim=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    for name, value in (("latents", 16384), ("k", 32), ("batch", 4096), ("threads", 2), ("steps", 6)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = read_rows(options.store, 8 * options.batch)
    dictionary, seconds = Dictionary(x, options.latents, options.k), []
    for step in range(options.steps + 2):
        begin = time.perf_counter()
        dictionary.step(x[step % 8 * options.batch:(step % 8 + 1) * options.batch])
        seconds.append(time.perf_counter() - begin)
    middle = statistics.median(seconds[2:])
    print(f"PyTorch {torch.__version__}: {middle * 1e3:.0f} ms a step, {options.batch / middle:.0f} tokens/s")


if __name__ == "__main__":
    main()
