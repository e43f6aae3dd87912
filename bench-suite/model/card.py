"""Writes the figures of the model card out of the quality record, and the losses out of what train.py printed.

    python card.py ../../ci/records/quality/embedded.json [TRAINING.log]
"""

import argparse
import json
import pathlib
import re

CARD = pathlib.Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures: written by card.py -->", "<!-- end of figures -->"
# Steps whose losses are averaged: one batch says little.
LAST_STEPS = 50


def percent(share):
    return f"{100 * share:.1f} %"


def rate(record, policy, wanted):
    """passed, total and share over the families that are wanted."""
    passes = iter(policy["passes"])
    own = [[next(passes) == "1" for _ in range(family["problems"])] for family in record["families"]]
    kept = [passed for family, group in zip(record["families"], own) if wanted(family) for passed in group]
    return f"{sum(kept)} of {len(kept)}, {percent(sum(kept) / len(kept))}" if kept else "none tried"


def losses(log):
    """Mean of the last losses on tasks, from lines such as `step 10 tasks loss 0.2 solution 0.1 ...`."""
    found = re.findall(r"^step (\d+) tasks loss (\S+) solution (\S+)", log.read_text(), re.MULTILINE)[-LAST_STEPS:]
    if not found:
        raise SystemExit(f"{log}: no line of a step on tasks; wanted what train.py printed")
    mean = lambda column: sum(float(row[column]) for row in found) / len(found)
    return f"{mean(1):.4f} of the next token with the gates' term, {mean(2):.4f} in solutions alone, over the last {len(found)} lines on tasks up to step {found[-1][0]}"


def figures(record, log):
    policies = {policy["policy"]: policy for policy in record["policies"]}
    dense, lossless, model = policies["dense"], policies.get("fixed:0.0"), record["model"]
    build, machine = record["provenance"], record["machine"]
    rows = [
        ("file", f"SHA-256 `{model['sha256']}`"),
        ("shape", f"{model['layers']} layers, hidden {model['hidden']}, {model['intermediate']} neurons, {model['parameters']:,} weights"),
        ("training", model["description"] or "the file does not say"),
        ("loss", losses(log) if log else "no log was given to card.py"),
        ("dense pass@1, greedy", rate(record, dense, lambda family: True)),
        ("in families that training saw", rate(record, dense, lambda family: family["seen"])),
        ("in other families", rate(record, dense, lambda family: not family["seen"])),
    ]
    if lossless:
        layers = ", ".join(percent(layer["density"]) for layer in lossless["layers"])
        rows.append(("gates open while it writes, layer by layer", f"{layers}; {percent(lossless['density'])} on average"))
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines.append(
        f"Measured by thresher {build['thresher']}, commit {build['commit']}{', with changes' if build['dirty'] else ''}, "
        f"on {machine['cpu_model']} ({machine['fingerprint']}), {build['date']}."
    )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=pathlib.Path, help="what `thresher eval --record` wrote")
    parser.add_argument("log", type=pathlib.Path, nargs="?", help="what train.py printed")
    arguments = parser.parse_args()
    text = CARD.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{CARD}: wanted one line `{BEGIN}` and one `{END}`")
    head, rest = text.split(BEGIN)
    lines = figures(json.loads(arguments.record.read_text()), arguments.log)
    part = CARD.with_suffix(".part")
    part.write_text("\n".join([head + BEGIN, *lines, END]) + rest.split(END)[1])
    part.replace(CARD)
    print(f"{CARD}: {len(lines)} lines of figures")


if __name__ == "__main__":
    main()
