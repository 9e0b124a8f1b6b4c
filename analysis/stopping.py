"""Lets a script that starts others end early: SIGUSR1, which job scripts send before the time limit, and SIGTERM go on to
the program that runs at that moment, which writes a checkpoint; none is begun after that."""
import signal
import subprocess

STOPPED = 75  # exit status of a program that ended early with a checkpoint, and of a script that ended with it

_asked = False
_running = None


def listen():
    """From here on the two signals ask for an early end."""
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, _pass_on)


def _pass_on(*_):
    global _asked
    _asked = True
    if _running is not None and _running.poll() is None:
        _running.send_signal(signal.SIGUSR1)


def run(words, **options):
    """subprocess.Popen(words, **options) to its end: (exit status, stdout or None).  STOPPED where an early end was asked
    for before it began, or while it ran and it did not get to its own end."""
    global _running
    if _asked:
        return STOPPED, ""
    with subprocess.Popen(words, **options) as _running:
        if _asked:  # while it was started
            _pass_on()
        out, _ = _running.communicate()
        status = _running.returncode
    _running = None
    return (STOPPED if _asked and status != 0 else status), out
