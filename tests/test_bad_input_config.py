#!/usr/bin/python3
"""What is wrong with a command line or a configuration is said in one exact line with file, line and column, exit
status 2: all of it on one rank, and on 3 ranks something of each place that can notice a mistake."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "oracle"))
import program
import refusal
import tap

FINE = """output: run
data: {store: s.h5}
model: {latents: 64, k: 4}
train: {tokens: 1e5}
synth: {output: new.h5, rows: 10, dim: 4, latents: 8, active: 2}
"""
KEYS = "'hpsae train --help-config' lists the known ones"
EXAMPLES = "see configs/ for examples"

# name, the file's text, the line behind "c.yaml:"
FILES = [
    ("an unknown key", "train:\n  bacth: 64\n", "2:3: train.bacth: unknown key; did you mean train.batch?"),
    ("a key of another section", "train:\n  latents: 64\n",
     "2:3: train.latents: unknown key; did you mean model.latents?"),
    ("an unknown section", "modle: {k: 3}\n", "1:1: modle: unknown key; did you mean model?"),
    ("a key like no other", "zzzzzzzz: 3\n", f"1:1: zzzzzzzz: unknown key; {KEYS}"),
    ("a key given twice", "train:\n  batch: 64\n  batch: 32\n",
     "3:3: train.batch: given twice, first in line 2; keep one"),
    ("a section given twice", "train: {batch: 64}\ntrain: {seed: 1}\n",
     "2:1: train: given twice; put all its keys into one section"),
    ("a key with a dot", "train.batch: 3\n",
     "1:1: train.batch: a key with a dot; write the last part inside its section"),
    ("a word for an integer", "train: {batch: many}\n",
     '1:16: train.batch: "many" is not an integer; allowed: integer from 1 to 16777216'),
    ("a number with a tail", "train: {lr: 3e-4x}\n",
     '1:13: train.lr: "3e-4x" is not a number; allowed: number above 0 and at most 1, or auto'),
    ("a quoted number", "train: {seed: '7'}\n", '1:15: train.seed: "7" is not an integer; allowed: integer at least 0'),
    ("a fraction for an integer", "train: {seed: 1.5}\n",
     '1:15: train.seed: "1.5" is not an integer; allowed: integer at least 0'),
    ("NaN", "train: {clip: .nan}\n", '1:15: train.clip: ".nan" is not a number; allowed: number at least 0'),
    ("an infinite number", "train: {clip: 1e999}\n",
     '1:15: train.clip: "1e999" is out of range; allowed: number at least 0'),
    ("an integer too long", "train: {seed: 99999999999999999999}\n",
     '1:15: train.seed: "99999999999999999999" is out of range; allowed: integer at least 0'),
    ("a learning rate of 0", "train: {lr: 0}\n",
     '1:13: train.lr: "0" is out of range; allowed: number above 0 and at most 1, or auto'),
    ("a negative count", "model: {k: -1}\n",
     '1:12: model.k: "-1" is out of range; allowed: integer from 1 to 2147483646'),
    ("a beta of 1", "train: {beta1: 1}\n",
     '1:16: train.beta1: "1" is out of range; allowed: number at least 0 and below 1'),
    ("a wrong word", "data:\n    scale: all\n",
     '2:12: data.scale: "all" is not known; allowed: none | dataset | token'),
    ("a wrong truth value", "data: {skip_bad_rows: yes}\n",
     '1:23: data.skip_bad_rows: "yes" is not known; allowed: true | false'),
    ("no value", "model:\n    k:\n", "2:7: model.k: has no value; allowed: integer from 1 to 2147483646"),
    ("a list for one value", "model: {k: [1, 2]}\n",
     "1:12: model.k: a list, where one value is wanted; allowed: integer from 1 to 2147483646"),
    ("a section for a value", "model: {k: {a: 1}}\n",
     "1:12: model.k: a section, where one value is wanted; allowed: integer from 1 to 2147483646"),
    ("a value for a section", "model: 3\n", "1:8: model: is a section; allowed: its keys, indented below it"),
    ("an empty list", "data: {store: []}\n", "1:15: data.store: an empty list; allowed: a path or a list of paths"),
    ("a control character", 'output: "a\\x01b"\n',
     '1:9: output: "a?b" holds a control character or is not UTF-8; allowed: text'),
    ("an empty file", "", f"1:1: the file is empty; {EXAMPLES}"),
    ("a list at the top", "- a\n- b\n", "1:1: no configuration; sections with their keys are wanted, see configs/"),
    ("a torn file", 'output: "run\n', f"2:1: not YAML: found unexpected end of stream; {EXAMPLES}"),
    ("a tab for indentation", "train:\n\tk: 3\n",
     f"2:1: not YAML: found character that cannot start any token; {EXAMPLES}"),
    ("bytes that are no UTF-8", b"output: \xff\n", f"1:9: not YAML: invalid leading UTF-8 octet; {EXAMPLES}"),
    ("endless nesting", "[" * 100000, f"1:9: nested too deeply; {EXAMPLES}"),
    ("an alias of itself", "train: &a {aux: *a}\n", "1:8: an anchor; write the value out where it is wanted"),
    ("a tag", "train: !!python/object {k: 3}\n", "1:8: a tag; write the value alone"),
    ("a second document", FINE + "---\noutput: b\n", "6:1: a second document; one file holds one"),
    ("a huge file", "#" * 10_000_000, "1:1: more than 1 MiB; a configuration is a short YAML file, see configs/"),
    ("a missing key", "output: run\ndata: {store: s.h5}\nmodel: {latents: 64}\ntrain: {tokens: 1e5}\n",
     "3:1: model.k: missing, and 'train' needs it; allowed: integer from 1 to 2147483646"),
    ("k above the latents", FINE.replace("k: 4", "k: 65"),
     "3:25: model.k: 65 is more than model.latents, 64; allowed: at most that many"),
    ("AuxK above the latents", FINE.replace("1e5}", "1e5, aux: {k: 65}}"),
     "4:31: train.aux.k: 65 is more than model.latents, 64; allowed: at most that many"),
    ("less than one batch", FINE.replace("1e5", "4095"),
     "4:17: train.tokens: 4095 is less than one batch, train.batch 4096; allowed: at least one batch"),
    ("data groups that do not divide the batch", FINE.replace("1e5", "1e5, groups: 3"),
     "4:30: train.groups: 3 does not divide train.batch, 4096; allowed: a divisor"),
    ("no data group", FINE.replace("1e5", "1e5, groups: 0"),
     '4:30: train.groups: "0" is out of range; allowed: integer from 1 to 16777216, or auto'),
    ("data groups by another word", FINE.replace("1e5", "1e5, groups: best"),
     '4:30: train.groups: "best" is not an integer; allowed: integer from 1 to 16777216, or auto'),
    ("part of a row", FINE.replace("s.h5}", "s.h5, holdout: 10.5}"),
     "2:30: data.holdout: 10.5 is neither a share nor a count; allowed: a share below 1, or a whole number of rows"),
    ("betas in conflict", FINE.replace("1e5}", "1e5, beta2: 0.5}"),
     "4:1: train.beta1: 0.9 is not below the root of train.beta2, 0.5; allowed: less"),
]

# name, arguments, line
LINES = [
    ("no command", [], "no command; 'hpsae --help' lists them"),
    ("no file", ["train"], "no configuration; usage: hpsae train CONFIG.yaml [-s section.key=value]..."),
    ("two files", ["train", "c.yaml", "d.yaml"],
     "d.yaml: one file too many after c.yaml; allowed: hpsae train FILE [options]"),
    ("an unknown option", ["train", "c.yaml", "--fast"],
     "--fast: unknown option, or its value is missing or not wanted; see 'hpsae --help'"),
    ("a file that is not there", ["train", "d.yaml"], "d.yaml: cannot be opened: No such file or directory"),
    ("a directory", ["train", "."], ".: is a directory; name a configuration file"),
    ("an override of an unknown key", ["train", "c.yaml", "-s", "train.bacth=1"],
     "-s train.bacth=1: unknown key; did you mean train.batch?"),
    ("an override out of range", ["train", "c.yaml", "-s", "train.batch=0"],
     '-s train.batch=0: "0" is out of range; allowed: integer from 1 to 16777216'),
    ("an override without a value", ["train", "c.yaml", "-s", "train.batch"],
     "-s train.batch: no override; allowed: section.key=value"),
    ("an override in conflict with the file", ["train", "c.yaml", "-s", "model.latents=3"],
     "c.yaml:3:25: model.k: 4 is more than model.latents, 3; allowed: at most that many"),
    ("too many features in families", ["synth", "c.yaml", "-s", "synth.hierarchy=.6", "-s", "synth.correlated=.5"],
     "-s synth.hierarchy=.6: 0.6 and synth.correlated 0.5 are more than all features; allowed: together at most 1"),
    ("more active features than there are", ["synth", "c.yaml", "-s", "synth.active=9"],
     "-s synth.active=9: 9 is more than synth.latents, 8; allowed: at most that"),
]

# The command line, the file's bytes, its YAML, a key's name, its value, one key against another, an override.
ON_THREE = {"no command", "an unknown option", "a file that is not there", "a huge file", "a torn file", "an unknown key",
            "a wrong word", "a missing key", "k above the latents", "an override out of range",
            "more active features than there are"}


def ranks_of(name):
    return (1, 3) if name in ON_THREE else (1,)


assert ON_THREE <= {case[0] for case in FILES + LINES}
with program.Directory() as directory:
    os.chdir(directory)
    for name, text, line in FILES:
        with open("c.yaml", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        refusal.check(name, ["train", "c.yaml"], f"c.yaml:{line}", ranks_of(name))
    with open("c.yaml", "w", encoding="utf-8") as file:
        file.write(FINE)
    for name, arguments, line in LINES:
        refusal.check(name, arguments, line, ranks_of(name))
    os.chdir("/")
tap.done()
