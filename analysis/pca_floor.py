"""The floor that a dictionary must beat: held-out explained variance of the best rank-k linear code (PCA)."""
import numpy as np


def principal_axes(rows):
    """Mean [d] and principal directions [d, d] (columns, largest variance first) of the rows, in double."""
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, vectors[:, ::-1]


def explained_variance(train, heldout, ranks):
    """ev of the PCA codes of these ranks, fitted on train [N, d], on heldout [T, d]: {rank: ev}.

    ev = 1 - sum |x - xhat|^2 / sum |x - mu|^2 with mu the mean of the held-out rows.
    """
    mean, axes = principal_axes(np.asarray(train, dtype=np.float64))
    heldout = np.asarray(heldout, dtype=np.float64)
    total = np.sum((heldout - heldout.mean(axis=0)) ** 2)
    offset = np.sum((heldout - mean) ** 2)
    explained = np.concatenate([[0.0], np.cumsum(np.sum(((heldout - mean) @ axes) ** 2, axis=0))])
    return {rank: 1.0 - (offset - explained[min(rank, len(mean))]) / total for rank in ranks}
