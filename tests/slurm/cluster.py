"""A throw-away Slurm (sandbox.sh) for a test: jobs are submitted, watched and disturbed as a user would."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
import program
import tap

SANDBOX = os.path.join(HERE, "sandbox.sh")
PATIENCE = 120 * program.SLOWER  # seconds until something awaited counts as lost
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Cluster:
    """Four hosts of two CPUs each for the `with` block; skips the test where they cannot be."""

    def __init__(self, hosts=4, kill_wait=20):
        refusal = subprocess.run([SANDBOX, "can"], capture_output=True, text=True, check=False)
        if refusal.returncode != 0:
            tap.skip_all(f"no Slurm can be started here: {refusal.stdout.strip()}")
        self.hosts, self.kill_wait = hosts, kill_wait

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="hpsae-q", dir="/tmp")  # short: sockets are in it
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a test that takes too long leaves no daemons behind
        self.sandbox("start", str(self.hosts), "2")
        # Where this test itself keeps MPI's files is not there on the hosts.
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMPI_", "SLURM_"))}
        self.environment.update(HPSAE=program.PROGRAM, HPSAE_BIND="none", OMP_NUM_THREADS="1")
        for line in subprocess.run([SANDBOX, "env", self.path], capture_output=True, text=True, check=True).stdout.split("\n"):
            for word in line.removeprefix("export ").split():
                key, _, value = word.partition("=")
                self.environment[key] = value.strip("'")
        return self

    def __exit__(self, *_):
        self.sandbox("stop")

    def sandbox(self, command, *arguments):
        done = subprocess.run([SANDBOX, command, self.path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, "SANDBOX_KILL_WAIT": str(self.kill_wait)}, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"sandbox.sh {command}: {done.stdout}")

    def command(self, *words, cwd=ROOT, user=None, **environment):
        """Runs a command on the login node: (status, stdout and stderr)."""
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user is not None else []
        everything = {**self.environment, **environment}
        done = subprocess.run([*as_user, *(str(word) for word in words)], cwd=cwd, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={key: value for key, value in everything.items() if value is not None},
                              text=True, check=False)
        return done.returncode, done.stdout

    def sbatch(self, *words, hosts=None, **more):
        """Submits a script with a rank a host; returns the job's number."""
        size = ["--nodes", hosts or self.hosts, "--ntasks-per-node=1", "--cpus-per-task=1", "--time=10"]
        status, out = self.command("sbatch", "--parsable", *size, *words, **more)
        if status != 0:
            raise RuntimeError(f"sbatch: {out}")
        return int(out.split()[-1])

    def job(self, number):
        """What Slurm says of a job."""
        _, out = self.command("scontrol", "--oneliner", "show", "job", number)
        facts = dict(word.split("=", 1) for word in out.split() if "=" in word)
        facts["Comment"] = out.partition(" Comment=")[2].partition("  ")[0].strip()
        return facts

    def wait(self, number, *states):
        """Until the job is in one of these states; returns what Slurm says of it then."""
        return wait_for(lambda: (facts := self.job(number)).get("JobState") in states and facts) or self.job(number)

    def run_again(self, number):
        """A job that was requeued waits two minutes in Slurm 22.05; here it need not, but for the second for which its
        hosts refuse it ("Job credential revoked")."""
        self.wait(number, "PENDING")
        time.sleep(2)
        self.command("scontrol", "update", f"JobId={number}", "StartTime=now")


def wait_for(question):
    """Asks until the answer is true, or patience ends; returns the last answer."""
    end = time.monotonic() + PATIENCE
    while not (answer := question()) and time.monotonic() < end:
        time.sleep(0.2)
    return answer


def last_step(run):
    """The last step in metrics.jsonl, 0 without one."""
    try:
        with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as file:
            return json.loads([line for line in file if line.endswith("\n")][-1])["step"]
    except (OSError, IndexError):
        return 0


def log_of(run, number):
    """The job's log."""
    try:
        with open(os.path.join(run, f"job-{number}.log"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as reason:
        return f"no log: {reason}"


def copy_of_scripts(directory):
    """What a user has: job scripts and the program."""
    shutil.copytree(os.path.join(ROOT, "jobs"), os.path.join(directory, "jobs"))
    os.makedirs(os.path.join(directory, "bin"))
    shutil.copy(program.PROGRAM, os.path.join(directory, "bin", "hpsae"))
