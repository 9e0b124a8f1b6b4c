"""Test Anything Protocol for tests in Python: check() and skip_all() print a line each, done() the plan, and exits."""
import sys

_count = 0
_failed = 0


def check(condition, name, detail=""):
    """One test point; detail is printed when it fails."""
    global _count, _failed
    _count += 1
    print(f"{'ok' if condition else 'not ok'} {_count} - {name}", flush=True)
    if not condition:
        _failed += 1
        for line in str(detail).splitlines():
            print(f"#   {line}", flush=True)
    return bool(condition)


def note(text):
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def skip_all(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def done():
    print(f"1..{_count}")
    sys.exit(1 if _failed or not _count else 0)
