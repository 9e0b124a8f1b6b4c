"""What a run directory of `hpsae train` and `hpsae eval` holds, read for the scripts beside this one."""
import json
import os
import re
import sys


PACKAGES = ("numpy", "scipy", "h5py", "matplotlib")  # what the scripts need beyond Python itself


class _Missing:
    """Asked for a module when nobody else has it: for the packages one line on stderr and exit status 2."""

    @staticmethod
    def find_spec(name, *_):
        if name in PACKAGES:
            print(f"{os.path.basename(sys.argv[0])}: {sys.executable} lacks {name}; the scripts need {', '.join(PACKAGES)} "
                  f"(Debian: python3-{name}; elsewhere: {sys.executable} -m pip install {name})", file=sys.stderr)
            sys.exit(2)


sys.meta_path.append(_Missing)


class Unusable(Exception):
    """An input is missing or not what it should be; the message is for the user."""


def read_json(path):
    """One JSON object, or None when the file is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise Unusable(f"{path}: {problem}") from problem


def read_metrics(run):
    """The objects of metrics.jsonl in order of steps; a step logged twice (after a resume) counts once, the latest."""
    path = os.path.join(run, "metrics.jsonl")
    records = {}
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    records.setdefault(int(record["step"]), {}).update(record)
                except (ValueError, KeyError, TypeError, AttributeError) as problem:
                    raise Unusable(f"{path}:{number}: not an object with a step") from problem
    except OSError as problem:
        raise Unusable(f"{path}: {problem.strerror}; is this the directory of a run?") from problem
    if not records:
        raise Unusable(f"{path}: empty; the run has not logged a step yet")
    return [records[step] for step in sorted(records)]


def read_used(run):
    """used.yaml, as the program writes it (`key: value`, sections indented), as {"section.key": text or [texts]}."""
    path, used, sections = os.path.join(run, "used.yaml"), {}, []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as problem:
        raise Unusable(f"{path}: {problem.strerror}; is this the directory of a run?") from problem
    for line in lines:
        match = re.fullmatch(r"( *)([a-z0-9_]+):(?: (.*))?", line)
        if match:
            depth = len(match[1]) // 4
            sections = sections[:depth] + [match[2]]
            if match[3] is not None:
                used[".".join(sections)] = yaml_value(match[3].strip())
    return used


def yaml_value(text):
    """A plain or quoted scalar, or a list of them in brackets."""
    words = [re.sub(r"\\(.)", r"\1", w[1:-1]) if w.startswith('"') else w.strip()
             for w in re.findall(r'"(?:\\.|[^"\\])*"|[^,\[\]"]+', text) if w.strip()]
    if text.startswith("["):
        return words
    return words[0] if words else ""


def series(records, key, against="tokens"):
    """The values of a key, and of `against`, over the records that have both as numbers."""
    pairs = [(r[against], r[key]) for r in records if is_number(r.get(against)) and is_number(r.get(key))]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def main(body):
    """Runs body(sys.argv[1:]); a problem of the user's is one line on stderr and exit status 2."""
    try:
        body(sys.argv[1:])
    except Unusable as problem:
        print(f"{os.path.basename(sys.argv[0])}: {problem}", file=sys.stderr)
        sys.exit(2)
