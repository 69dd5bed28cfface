"""The one training loop: seeded, checkpointed, resumable, watched on validation.

Knows of what is trained only whether it stands on a released checkpoint: a task gives parameters, a loss per step and
a validation score.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from pinlab.files import Mark, check_folder, read_record, replacing
from pinlab.models.backbone import Backbone
from pinlab.records import PinLabError

RUN = Mark(
    "training run of PinLab's",
    ("last.json", "done.json", "best.safetensors", "last.safetensors"),
    rb'"plan"|"dtype":',
)


@dataclass(frozen=True)
class Plan:
    """How long and how fast. Steps, not minutes, so that the same plan gives the same weights.

    Args:
        settle: share of the course that ends it at the lowest rate.
        extra: steps beyond the course, at the lowest rate: how a run is prolonged that was not yet flat at its end.
            What it did before is not changed by it.
        accumulate: batches whose gradients are added up before a step, where one that size does not fit in memory.
            Negatives are those of each batch.

    The learning rate warms up over the first 4 %, stays, falls linearly to a twentieth over 45 % of the steps, and
    stays there for the last share `settle`: a rise that comes with the falling rate is over when the plateau rule
    looks.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    weight_decay: float = 0.05
    validate_every: int = 200
    settle: float = 0.0
    extra: int = 0
    accumulate: int = 1

    @property
    def course(self) -> int:
        """Steps over which the rate warms up and falls."""
        return self.steps - self.extra

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, round(0.04 * self.course)))
        left = ((1 - self.settle) * self.course - step) / max(1, round(0.45 * self.course))
        return self.learning_rate * min(warm, max(0.05, min(1.0, left)))


class Task(Protocol):
    """What the loop trains."""

    @property
    def model(self) -> nn.Module:
        """Everything with weights."""
        ...

    def loss(self, step: int) -> Tensor:
        """Loss of one step; all randomness comes from the task's seed and the step."""
        ...

    def validate(self) -> dict[str, float]:
        """Validation scores; "score" decides which weights are kept."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a finished run reports (training.json). `start` is the hash of the weights it started from."""

    steps: int
    best_step: int
    best: dict[str, float]
    wall_clock_s: float
    curve: list[dict[str, float]]
    flat: bool
    start: str


def is_flat(curve: list[dict[str, float]], tolerance: float = 0.005) -> bool:
    """The plateau rule: the best of the last fifth is at most `tolerance` above the best before it."""
    if len(curve) < 5:
        return False
    start = curve[-1]["step"] * 0.8
    before = [point["score"] for point in curve if point["step"] <= start]
    after = [point["score"] for point in curve if point["step"] > start]
    return bool(before and after) and max(after) <= max(before) + tolerance


def train(task: Task, plan: Plan, folder: Path, label: str, log: Callable[[str], None] = tqdm.write) -> Outcome:
    """Run a plan to its end, from the last checkpoint in `folder` if there is one.

    Leaves the weights with the best validation score in the task's model, and `done.json` in `folder`.
    """
    check_folder(folder, RUN)
    groups = _groups(task.model, plan.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    state = _resume(task.model, optimizer, plan, folder, state_hash(task.model))
    if state["step"] < plan.steps:
        log(f"{label}: {parts_line(task.model)}")
        _run(task, plan, folder, label, optimizer, state, log)
    _load(task.model, _read(folder / "best.safetensors"))
    best = max(state["curve"], key=lambda point: point["score"])
    outcome = Outcome(
        steps=plan.steps,
        best_step=int(best["step"]),
        best=best,
        wall_clock_s=round(state["seconds"], 1),
        curve=state["curve"],
        flat=is_flat(state["curve"]),
        start=state["start"],
    )
    with replacing(folder / "done.json", RUN) as draft:
        draft.write_text(json.dumps({"plan": asdict(plan), **asdict(outcome)}, indent=1) + "\n", encoding="utf-8")
    return outcome


def state_hash(model: nn.Module) -> str:
    """sha256 over names and values of a model's state, first 16 digits.

    For the frozen weights of a released checkpoint its own hash stands: they are gigabytes, and those of its tower may
    never have been read.
    """
    released = {module.stands_on for module in model.modules() if isinstance(module, Backbone) and module.stands_on}
    digest = hashlib.sha256("".join(sorted(released)).encode())
    state = model.state_dict()
    if released:
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        state = {name: value for name, value in state.items() if name not in frozen or ".lora_" in name}
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _run(
    task: Task,
    plan: Plan,
    folder: Path,
    label: str,
    optimizer: torch.optim.Optimizer,
    state: dict,
    log: Callable[[str], None],
) -> None:
    bar = tqdm(range(state["step"], plan.steps), initial=state["step"], total=plan.steps, desc=label, mininterval=2)
    clock = time.monotonic()
    shown = None
    for step in bar:
        task.model.train()
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        optimizer.zero_grad(set_to_none=True)
        loss = sum(_backward(task, plan, step, part, label) for part in range(plan.accumulate)) / plan.accumulate
        # Of what is trained here: a part that an earlier stage trained may still hold its last gradients.
        nn.utils.clip_grad_norm_([p for p in task.model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        shown = loss if shown is None else 0.95 * shown + 0.05 * loss
        if (step + 1) % plan.validate_every == 0 or step + 1 == plan.steps:
            task.model.eval()
            point = {"step": step + 1, "loss": round(shown, 4), **task.validate()}
            _keep_best(task.model, point, state, folder)
            state["curve"].append(point)
            log(f"{label}: {json.dumps(point)}")
            state["seconds"] += time.monotonic() - clock
            clock = time.monotonic()
            _checkpoint(task.model, optimizer, step + 1, plan, state, folder)
        best = max((p["score"] for p in state["curve"]), default=float("nan"))
        bar.set_postfix(loss=f"{shown:.3f}", best=f"{best:.3f}", refresh=False)


def parts_line(model: nn.Module) -> str:
    """What learns and what is frozen, with numbers of parameters."""
    trained: dict[str, int] = {}
    frozen: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        into = trained if parameter.requires_grad else frozen
        part = next((title for key, title in _PARTS if key in name), "other parts")
        into[part] = into.get(part, 0) + parameter.numel()
    words = [" and ".join(f"{part} {n:,}" for part, n in some.items()) or "nothing" for some in (trained, frozen)]
    return f"trained: {words[0]}; frozen: {words[1]} (parameters)"


_PARTS = (
    (".lora_", "adapter"),
    ("visual.", "vision layer"),
    ("language_model.", "text stack"),
    ("pins.", "projector"),
    ("head.", "head"),
)


def _backward(task: Task, plan: Plan, step: int, part: int, label: str) -> float:
    """Add one batch's share of the gradients; its loss."""
    loss = task.loss(step * plan.accumulate + part)
    if not torch.isfinite(loss):
        raise PinLabError(f"{label}: the loss is {loss.item()} at step {step}; lower the learning rate")
    (loss / plan.accumulate).backward()
    return loss.item()


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """What a run changes: the model's state without its frozen weights, which a large base has gigabytes of."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _load(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what `_trained` took; frozen weights are left as they are."""
    found = model.load_state_dict(tensors, strict=False)
    missing = set(found.missing_keys) & _trained(model).keys()
    if missing or found.unexpected_keys:
        raise PinLabError(f"a checkpoint of another model: {min([*missing, *found.unexpected_keys])} does not fit")


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _keep_best(model: nn.Module, point: dict[str, float], state: dict, folder: Path) -> None:
    if all(point["score"] > other["score"] for other in state["curve"]):
        _write(_trained(model), folder / "best.safetensors")


def _checkpoint(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: int, plan: Plan, state: dict, folder: Path
) -> None:
    tensors = {f"model.{name}": value for name, value in _trained(model).items()}
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        for name, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{i}.{name}"] = value
    _write(tensors, folder / "last.safetensors")
    record = {**state, "step": step, "plan": asdict(plan)}
    with replacing(folder / "last.json", RUN) as draft:
        draft.write_text(json.dumps(record), encoding="utf-8")


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, folder: Path, start: str
) -> dict:
    """Step, seconds, curve and start of the run in `folder`, weights and optimizer set to them; or of a new run."""
    marker = folder / "last.json"
    if not marker.is_file():
        return {"step": 0, "seconds": 0.0, "curve": [], "start": start}
    record = read_record(marker)
    for what, other in (("of another plan", Plan(**record.pop("plan")) != plan),
                        ("that started from other weights", record["start"] != start)):
        if other:
            raise PinLabError(f"{folder}: holds a run {what}; delete the folder to start anew")
    tensors = _read(folder / "last.safetensors")
    _load(model, {k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        prefix = f"optimizer.{i}."
        state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        optimizer.state[parameter] = {name: value.to(parameter.device) for name, value in state.items()}
    return record


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise PinLabError(
            f"{path}: cannot be read ({error}); delete the folder {path.parent} to train that model anew"
        ) from error


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    with replacing(path, RUN) as draft:
        save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, draft)
