"""The export: a plain Qwen3 that loads without pinlab, gives the lab's vectors, and never overwrites a stranger."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from pinlab.files import replacing_folder
from pinlab.models.backbone import VECTOR, Backbone, Projector
from pinlab.models.checkpoint import save_backbone
from pinlab.models.export import EXPORT, MARKER, ExportedModel, Pins, write_export
from pinlab.models.prompt import PinPart
from pinlab.records import PinLabError

CPU = torch.device("cpu")
WIDTH, IDS = 24, [f"pin-{i:02d}" for i in range(toy.PINS)]
QUERIES = [
    (IDS[:1], ""),
    (IDS[3:13], ""),
    (IDS[7:9], "boats, cats\n\nand  lamps"),
    ([], "a tree"),
    (IDS[:2], toy.INJECTION),
]
HEADS = ("tied", "untied", "untied, no head")
Made = tuple[str, Path, Backbone, Projector]  # kind of head, export, and the model it was made from


def swapped(folder: Path, head: str = "tied") -> tuple[Backbone, Projector]:
    """A random swapped model, saved in `folder` in the released layout; with a language-model head if it is untied."""
    backbone = toy.backbone(7)
    backbone.remove_vision_layer()
    backbone.gate.fill_(0.7)
    backbone.qwen.config.tie_word_embeddings = head == "tied"
    torch.manual_seed(1)
    projector = Projector(WIDTH, 64).requires_grad_(False)
    extra = {f"projector.{name}": value for name, value in projector.state_dict().items()}
    for module in (backbone, projector):  # as it is stored
        module.load_state_dict({name: value.bfloat16().float() for name, value in module.state_dict().items()})
    save_backbone(folder, backbone, toy.tokenizer(), {}, extra)
    if head == "untied":
        path = folder / "model.safetensors"
        weights = load_file(path)
        weights["lm_head.weight"] = torch.randn_like(weights["model.language_model.embed_tokens.weight"])
        save_file(weights, path, metadata={"format": "pt"})
    return backbone, projector


def pins() -> Pins:
    torch.manual_seed(2)
    codes = torch.randint(-127, 128, (len(IDS), WIDTH), dtype=torch.int8)
    items = F.normalize(torch.randn(len(IDS), VECTOR), dim=-1)
    return Pins(IDS, codes, torch.rand(len(IDS), 1) + 0.01, items)


def expected(backbone: Backbone, projector: Projector, shown: list[str], text: str) -> torch.Tensor:
    """The query vector by way of the Qwen3-VL classes."""
    table, builder = pins(), toy.builder()
    rows = [IDS.index(pin) for pin in shown]
    features = projector(F.normalize(table.codes[rows].float() * table.scales[rows], dim=-1))
    batch = builder.build([([PinPart((1, 1), False)] * len(rows), builder.text(text))])
    return backbone(batch, features)[0]


def make(place: Path, head: str) -> Made:
    backbone, projector = swapped(place / "swapped", head)
    with replacing_folder(place / "out", EXPORT) as draft:
        write_export(draft, place / "swapped", pins(), {"catalog": "0123"})
    return head, place / "out", backbone, projector


@pytest.fixture(scope="module", params=HEADS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("export"), request.param)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("tied"), "tied")


def test_an_export_gives_the_models_query_vectors(made: Made) -> None:
    _, out, backbone, projector = made
    model = ExportedModel(out, CPU)
    for shown, text in QUERIES:
        found = model.vector(shown, text)
        assert (found - expected(backbone, projector, shown, text)).abs().max() < 1e-5
        assert found.norm().item() == pytest.approx(1, abs=1e-6)


def test_it_is_a_plain_qwen3_with_every_weight_as_stored(made: Made) -> None:
    head, out, backbone, _ = made
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "qwen3"
    assert config["tie_word_embeddings"] == (head == "tied")
    assert config["dtype"] == "bfloat16"
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 5_000_000.0
    assert "mrope" not in (out / "config.json").read_text()
    model, info = AutoModel.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"]
    assert type(model).__name__ == "Qwen3Model"
    assert toy.same_weights(model.float().state_dict(), dict(backbone.qwen.language_model.state_dict()))
    assert AutoTokenizer.from_pretrained(out).get_vocab() == toy.tokenizer().get_vocab()


def test_the_language_model_head_is_the_one_it_had_or_none_is_promised(made: Made) -> None:
    head, out, _, _ = made
    config, readme = json.loads((out / "config.json").read_text()), (out / "README.md").read_text()
    if head == "untied, no head":
        assert config["architectures"] == ["Qwen3Model"]
        assert "No language-model head was kept" in readme
        return
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    model, info = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"]
    stored = load_file(out.parent / "swapped" / "model.safetensors")
    weight = stored["lm_head.weight" if head == "untied" else "model.language_model.embed_tokens.weight"].float()
    with torch.inference_mode():
        out_ids = model(torch.tensor([[1, 20, 30]]), output_hidden_states=True)
        assert torch.equal(out_ids.logits, F.linear(out_ids.hidden_states[-1], weight))


def blocks(out: Path) -> list[str]:
    """The Python blocks of an export's README."""
    text = (out / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


ASK = """
with torch.inference_mode():
    answers = []
    for pins, text in json.loads(sys.argv[2]):
        embeds, shown = prompt_embeds(pins, text)
        vector = query_vector(model(inputs_embeds=embeds[None]).last_hidden_state[0], shown)
        answers.append([pins, text, vector.tolist(), recommend(pins, text, 5)])
    sent = request(["pin-03", "pin-04"], "cats", "http://127.0.0.1:1")
known = [name for name in sys.modules if name.split(".")[0] == "pinlab"]
print(json.dumps({"answers": answers, "pinlab": known, "url": sent.full_url, "body": json.loads(sent.data)}))
"""


@pytest.fixture(scope="module")
def outside(tied: Made, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the README's code says in a process that cannot import pinlab (-I: only what is installed)."""
    script = tmp_path_factory.mktemp("outside") / "recommend.py"
    serve, client = blocks(tied[1])
    script.write_text("\n".join([serve, client, ASK]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", script, tied[1], json.dumps(QUERIES)],
        cwd=script.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 11  # the snippet's own ten recommendations, then the answer to the test
    assert re.fullmatch(r"-?\d\.\d{4}  pin-\d\d", lines[0])
    return json.loads(lines[-1])


def test_the_readmes_code_gives_the_same_vectors_without_pinlab(tied: Made, outside: dict) -> None:
    _, _, backbone, projector = tied
    assert outside["pinlab"] == []
    assert len(outside["answers"]) == len(QUERIES)
    for shown, text, vector, hits in outside["answers"]:
        wanted = expected(backbone, projector, shown, text)
        assert (torch.tensor(vector) - wanted).abs().max() < 1e-5
        scores = pins().items @ wanted
        free = [pin for pin in sorted(IDS, key=lambda pin: -scores[IDS.index(pin)].item()) if pin not in shown]
        assert [pin for pin, _ in hits] == free[:5]


def test_the_vllm_payload_has_the_documented_bytes_and_shape(tied: Made, outside: dict) -> None:
    """Read as vLLM's server reads it: strict base64, torch.load with weights only, (tokens, hidden), model's dtype."""
    out, body = tied[1], outside["body"]
    assert outside["url"] == "http://127.0.0.1:1/v1/completions"
    assert set(body) == {"model", "prompt_embeds", "max_tokens"}
    raw = base64.b64decode(body["prompt_embeds"], validate=True)
    tensor = torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")
    embeds, shown = ExportedModel(out, CPU).embeds(["pin-03", "pin-04"], "cats")
    assert tensor.dtype == torch.bfloat16
    assert tensor.is_contiguous()
    assert tensor.shape == embeds.shape == (shown.numel(), 64)
    assert torch.equal(tensor, embeds.bfloat16())


def test_the_readme_is_filled_in_and_says_what_was_not_run(made: Made) -> None:
    text = (made[1] / "README.md").read_text(encoding="utf-8")
    assert not re.findall(r"\{\{[A-Z_]+\}\}", text)
    assert "**Not run here.**" in text
    assert "| catalog | `0123` |" in text
    assert text.count("bfloat16 as trained") == 2
    for path in made[1].iterdir():
        stem = path.name.split(".")[0]
        assert stem in text or stem in ("README", "tokenizer_config")


def test_nothing_shipped_is_a_pickle_and_all_of_it_can_be_read(made: Made) -> None:
    for path in made[1].iterdir():
        assert path.suffix in (".json", ".md", ".safetensors", ".jinja")
        assert path.stat().st_mode & 0o777 == (made[1] / "README.md").stat().st_mode & 0o777
        if path.suffix == ".safetensors":
            load_file(path)
    table = load_file(made[1] / "pins.safetensors")
    assert torch.equal(table["codes"], pins().codes)
    assert torch.equal(table["scales"], pins().scales)
    assert torch.equal(table["items"], pins().items)
    assert json.loads((made[1] / "pins.json").read_text()) == IDS
    extra, stored = load_file(made[1] / "projector.safetensors"), load_file(made[1].parent / "swapped/head.safetensors")
    assert toy.same_weights(extra, stored)


def test_a_stranger_is_never_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("years of work")
    (out / "export.json").write_text("{}")  # another program's file of that name
    with pytest.raises(PinLabError, match="thesis is there and is no earlier export"), replacing_folder(out, EXPORT):
        pytest.fail("the block ran")
    assert (out / "chapter.txt").read_text() == "years of work"
    with pytest.raises(PinLabError, match="no earlier export"), replacing_folder(out / "chapter.txt", EXPORT):
        pytest.fail("the block ran")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_an_earlier_export_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    marker = json.dumps({"format": 1, "prompt": {}})
    with replacing_folder(out, EXPORT) as draft:
        (draft / MARKER).write_text(marker)
        (draft / "README.md").write_text("")
    with pytest.raises(PinLabError, match="half way"), replacing_folder(out, EXPORT):
        raise PinLabError("half way")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", MARKER]
    with replacing_folder(out, EXPORT) as draft:
        (draft / MARKER).write_text(marker)
    assert [path.name for path in out.iterdir()] == [MARKER]
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # nothing left beside it


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / ".", EXPORT):
        pass
    assert tmp_path.is_dir()


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PinLabError, match="cannot be written"), replacing_folder(tmp_path / "file" / "out", EXPORT):
        pytest.fail("the block ran")


def test_a_model_without_a_projector_is_refused(tmp_path: Path) -> None:
    save_backbone(tmp_path / "full", toy.backbone(1), toy.tokenizer(), {})
    (tmp_path / "out").mkdir()
    with pytest.raises(PinLabError, match=r"no projector of a swapped model \(projector.layers.0.weight is missing\)"):
        write_export(tmp_path / "out", tmp_path / "full", pins(), {})
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", [MARKER, "pins.json", "pins.safetensors", "projector.safetensors", "config.json"])
def test_a_broken_export_is_not_read(name: str, tmp_path: Path) -> None:
    swapped(tmp_path / "swapped")
    out = tmp_path / "out"
    out.mkdir()
    write_export(out, tmp_path / "swapped", pins(), {})
    (out / name).write_bytes((out / name).read_bytes()[:50])
    with pytest.raises(PinLabError, match="export"):
        ExportedModel(out, CPU)
