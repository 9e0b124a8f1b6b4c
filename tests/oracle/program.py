"""Runs the program from a test, and reads and writes its files."""
import json
import os
import shutil
import subprocess
import tempfile

import h5py
import numpy as np

import sae

SLOWER = int(os.environ.get("TEST_SLOWER", "1"))  # under sanitizers everything takes longer
HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.abspath(os.environ.get("HPSAE", os.path.join(HERE, "..", "..", "bin", "hpsae")))
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1",
    # A job that ends with a status other than 0 is over when its ranks are: mpirun need not wait for them.
    "OMPI_MCA_odls_base_sigkill_timeout": "0",
    "OMPI_MCA_ess_singleton_isolated": "1",
}


class Directory:
    """A fresh temporary directory, removed at the end of the `with` block."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="hpsae-test-")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def run(ranks, *arguments, threads=1, seconds=300):
    """`mpirun -n ranks hpsae arguments`: (exit status, stdout, stderr).  A hang ends with status 124.

    One rank is started as it is, which takes a fraction of the time of mpirun -n 1.
    """
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    mpirun = [*os.environ.get("MPIRUN", "mpirun").split(), "-n", ranks] if ranks > 1 else []
    command = ["timeout", "--kill-after=5", seconds * SLOWER, *mpirun, PROGRAM, *arguments]
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def backends():
    """Names of the kernels' backends that this CPU can run, "ref" first."""
    return [name for name in all_backends() if name != "cuda"]


def all_backends():
    """The same, and "cuda" where there is a GPU."""
    status, out, err = run(1, "info", "--json")
    if status != 0:
        raise RuntimeError(f"hpsae info: status {status}\n{err}")
    return json.loads(out)["backends"]


def children(pid):
    """Process numbers of a process's children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def write_store(path, rows, hook="test", gradients=None):
    """An activation store of float32 rows [N, d] that says it is shuffled, with its statistics; gradients of the rows
    beside them, [N, d], with their root mean square norm."""
    rows = np.asarray(rows, dtype=np.float32)
    exact = rows.astype(np.float64)
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "hpsae-activations", "format_version": 1, "model_name": "none", "shuffled": 1,
                           "shuffle_seed": 1})
        data = file.create_dataset(f"activations/{hook}", data=rows)
        data.attrs.update({"hook_name": hook, "n_tokens": len(rows), "mean": exact.mean(axis=0),
                           "mean_sq_norm": np.mean(np.sum(exact**2, axis=1))})
        if gradients is not None:
            data = file.create_dataset(f"gradients/{hook}", data=np.asarray(gradients, dtype=np.float32))
            data.attrs.update({"hook_name": hook, "rms_norm": rms_norm(data[...])})


def rms_norm(rows):
    """The root of the mean squared norm of rows [N, d]."""
    return np.sqrt(np.mean(np.sum(np.asarray(rows, dtype=np.float64) ** 2, axis=1)))


def read_params(file, role):
    """The four tensors of a role in an open checkpoint, in double; None when it is not there."""
    if role not in file:
        return None
    return sae.Params(*(file[f"{role}/{t}"][...].astype(np.float64) for t in sae.TENSORS))


def read_state(path):
    """A checkpoint as the oracle's State."""
    with h5py.File(path, "r") as file:
        value = read_params(file, "value")
        state = sae.State.start(value)
        state.moment1 = read_params(file, "moment1") or state.moment1
        state.moment2 = read_params(file, "moment2") or state.moment2
        state.average = read_params(file, "average") or state.average
        state.fired = file["fired"][...].astype(np.int64)
        state.tokens, state.step = int(file.attrs["tokens"]), int(file.attrs["step"])
        state.threshold = float(file.attrs["threshold"]) if file.attrs["threshold"] >= 0 else None
        return state


def checkpoint_path(run_directory, step):
    return os.path.join(run_directory, f"checkpoint-{step:012d}.h5")
