"""Jobs that are started to be killed: whole, or one rank of them."""
import os
import random
import signal
import subprocess

import program
import tap


def start(ranks, scratch, *arguments):
    """`hpsae ARGUMENTS` on so many ranks, in a session of its own; what Open MPI leaves behind goes into scratch."""
    environment = {**os.environ, **program.ENVIRONMENT, "OMP_NUM_THREADS": "1", "OMPI_MCA_orte_tmpdir_base": scratch,
                   "OMPI_MCA_btl_vader_backing_directory": scratch}
    return subprocess.Popen(["mpirun", "-n", str(ranks), program.PROGRAM, *arguments], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True)


def kill(job, whole):
    """With SIGKILL the job, or one rank of it, which must end it; whether it was still running, and what it had said."""
    victims = program.children(job.pid)
    running = job.poll() is None and bool(victims)
    try:
        if whole or not victims:
            os.killpg(job.pid, signal.SIGKILL)
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
        else:
            os.kill(random.choice(victims), signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        return running, job.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        tap.check(False, "a job that lost a rank ends", "still there after 60 s")
        os.killpg(job.pid, signal.SIGKILL)
        return running, ""
