#!/usr/bin/env python3
"""Tokens a second of a TopK step as one writes it by hand in PyTorch, to hold `hpsae train` against on the same rows and
cores or on the same GPU: encoder and reconstruction under bf16 autocast or in float32, the decoder as an embedding_bag
over the k chosen rows or as a dense product, fused Adam, unit decoder rows.  Needs PyTorch.

    analysis/torch_step.py STORE.h5 --latents 16384 --k 32 --batch 4096 --threads 2
    analysis/torch_step.py --dim 768 --latents 65536 --k 64 --batch 8192 --device cuda --dense [--float32]"""
import argparse
import statistics
import time

import numpy as np
import torch
from torch.nn import functional


def read_rows(path, count):
    """The first rows of a store of one hook, scaled so that the mean squared norm is d."""
    import h5py  # random rows need no store

    with h5py.File(path) as file:
        hooks = file["activations"]
        words = hooks[list(hooks)[0]][:count]
    if words.dtype.kind in "ui":  # bf16 as words
        words = (words.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    x = torch.from_numpy(words.astype(np.float32))
    return x * (x.shape[1] / x.pow(2).sum(1).mean()).sqrt()


class Dictionary:
    """Encoder, decoder, their biases, and the optimiser."""

    def __init__(self, x, latents, options):
        rows = functional.normalize(torch.randn(latents, x.shape[1], device=x.device), dim=1)
        self.k, self.dense, self.half, self.device = options.k, options.dense, not options.float32, x.device.type
        self.w_enc, self.w_dec, self.b_enc, self.b_dec = (
            torch.nn.Parameter(value) for value in (rows.clone(), rows.clone(), torch.zeros(latents, device=x.device), x.mean(0)))
        self.adam = torch.optim.Adam([self.w_enc, self.w_dec, self.b_enc, self.b_dec], lr=2e-4, fused=True)

    def step(self, x):
        """One step on a batch."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            p = functional.linear(x - self.b_dec, self.w_enc, self.b_enc)
            values, chosen = p.topk(self.k, sorted=False)
            z = values.relu()
            if self.dense:
                xhat = torch.zeros_like(p).scatter(1, chosen, z) @ self.w_dec + self.b_dec
            else:
                rows = self.w_dec.to(z.dtype)
                xhat = functional.embedding_bag(chosen, rows, per_sample_weights=z, mode="sum") + self.b_dec
        self.adam.zero_grad(set_to_none=True)
        (xhat.float() - x).pow(2).sum(1).mean().backward()
        self.adam.step()
        with torch.no_grad():
            self.w_dec.div_(self.w_dec.norm(dim=1, keepdim=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", help="a store of activations; without one, random rows")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dense", action="store_true", help="the decoder as a dense product")
    parser.add_argument("--float32", action="store_true", help="no autocast")
    for name, value in (("latents", 16384), ("k", 32), ("batch", 4096), ("threads", 2), ("steps", 6), ("dim", 768)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    count = 8 * options.batch
    x = read_rows(options.store, count) if options.store else torch.randn(count, options.dim)
    x = x.to(options.device)
    dictionary, seconds = Dictionary(x, options.latents, options), []
    for step in range(options.steps + 2):
        begin = time.perf_counter()
        dictionary.step(x[step % 8 * options.batch:(step % 8 + 1) * options.batch])
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    middle = statistics.median(seconds[2:])
    print(f"PyTorch {torch.__version__}: {middle * 1e3:.1f} ms a step, {options.batch / middle:.0f} tokens/s")


if __name__ == "__main__":
    main()
