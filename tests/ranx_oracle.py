"""ranx as an oracle: the published implementation that PinLab's ranking metrics are held against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

SCRIPT = """
import json, sys
import ranx
qrels, run, metrics = json.load(sys.stdin)
scores = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), metrics, return_mean=False)
json.dump({metric: list(map(float, scores[metric])) for metric in metrics}, sys.stdout)
"""


def ranx_scores(
    lists: Sequence[Sequence[str]], relevant: Sequence[Collection[str]], metrics: Sequence[str]
) -> dict[str, list[float]]:
    """ranx's metric ("ndcg@10") of every query, under PinLab's names ("ndcg_at_10").

    ranx divides Recall by all relevant pins, PinLab by min(k, relevant): that is undone here, nothing else is.
    In its own process without compiling: ranx's first compilation takes a minute, and umap needs numba's.
    """
    names = [f"q{number:04d}" for number in range(len(lists))]
    qrels = {name: dict.fromkeys(sorted(pins), 1) for name, pins in zip(names, relevant, strict=True)}
    run = {name: {pin: float(-i) for i, pin in enumerate(pins)} for name, pins in zip(names, lists, strict=True)}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([qrels, run, list(metrics)]),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    scores: Mapping[str, list[float]] = json.loads(answer.stdout.splitlines()[-1])
    found = {}
    for metric, values in scores.items():
        name, k = metric.split("@")
        if name == "recall":
            values = [v * len(pins) / min(int(k), len(pins)) for v, pins in zip(values, relevant, strict=True)]
        found[f"{name.replace('hit_rate', 'hit')}_at_{k}"] = values
    return found
