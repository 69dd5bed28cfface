"""What one request of the bench costs by closed form: tokens, GFLOPs by stage, memory, and where the saving comes from.

Counted, not run: it holds for any size on any machine. The request is that of DESIGN.md section 7: N pins, 40 prompt
tokens, and for the full family 20 metadata tokens a pin, which `swapped` has inside its embedding.

Legend: N pins, V visual tokens of a picture, P patches of a picture, T prompt length, D text width, L DeepStack layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pinlab.cost import TextShape, VisionShape, mlp_gflops, text_gflops, tower_gflops
from pinlab.models.pin_encoder import EMBEDDING
from pinlab.models.prompt import PinPart

VARIANTS = ("full", "cached", "pooled", "swapped")
PROMPT_TOKENS = 40  # all that is no pin: the chat template and a wish in words
METADATA = (0,) * 20  # title and description of a pin; which tokens they are costs nothing


@dataclass(frozen=True)
class Point:
    """How large a request is.

    Args:
        pins: pictures of the query. pixels: side of each, a multiple of patch x merge (32 for every Qwen3-VL).
    """

    pins: int
    pixels: int


@dataclass(frozen=True)
class Count:
    """What one request of one variant costs, counted.

    Args:
        tokens: positions through the text stack. images_encoded: pictures through the tower.
        stage_gflops: stage -> GFLOPs, for those of vision, projector and text_stack that the variant has.
    """

    tokens: int
    images_encoded: int
    stage_gflops: Mapping[str, float]

    @property
    def gflops(self) -> float:
        """GFLOPs of the whole request."""
        return sum(self.stage_gflops.values())


@dataclass(frozen=True)
class Shapes:
    """The two halves of a Qwen3-VL and the widths of the projector that replaces one of them."""

    text: TextShape
    vision: VisionShape

    @property
    def projector(self) -> tuple[int, int, int]:
        """Widths of `Projector`: pin embedding, hidden layer, token."""
        return EMBEDDING, 2 * self.text.hidden, self.text.hidden

    def part(self, variant: str, point: Point) -> PinPart:
        """How a variant writes one pin into the prompt.

        `pooled` belongs to the full family: one mean visual token between markers, beside the metadata, no DeepStack.
        """
        if variant == "swapped":
            return PinPart((1, 1), False)
        side = 1 if variant == "pooled" else point.pixels // (self.vision.patch * self.vision.merge)
        return PinPart((side, side), True, METADATA)

    def count(self, variant: str, point: Point) -> Count:
        """Tokens, pictures encoded and GFLOPs of one request."""
        tokens = prompt_tokens(point.pins, self.part(variant, point))
        stages = {}
        if variant == "full":
            patches = self.vision.patches(point.pixels, point.pixels)
            stages["vision"] = tower_gflops(self.vision, [patches] * point.pins)
        if variant == "swapped":
            stages["projector"] = mlp_gflops(point.pins, self.projector)
        stages["text_stack"] = text_gflops(self.text, tokens)
        return Count(tokens, point.pins if variant == "full" else 0, stages)

    def saving(self, point: Point) -> dict[str, float]:
        """GFLOPs that `swapped` saves against `full`, by cause; they add up to the difference of the two.

        Attention makes text tokens cost more the more there are, so the order matters. It is that of the surgery:
        the tower goes, then all visual tokens of a pin but one, then its metadata, then its markers; the projector is
        what the swap adds.
        """
        visual = self.part("full", point)
        steps = (visual, PinPart((1, 1), True, METADATA), PinPart((1, 1), True), PinPart((1, 1), False))
        text = [text_gflops(self.text, prompt_tokens(point.pins, part)) for part in steps]
        return {
            "tower": self.count("full", point).stage_gflops["vision"],
            "visual_tokens": text[0] - text[1],
            "pin_text": text[1] - text[2],
            "markers": text[2] - text[3],
            "projector": -self.count("swapped", point).stage_gflops["projector"],
        }

    def flop_ratios(self, point: Point) -> dict[str, float]:
        """How many times the FLOPs of `swapped` each other way of answering costs.

        Returns:
            flops: full / swapped. cached_flops, pooled_flops: the same of these. flops_same_text: full / swapped with
            the metadata text kept beside the pin token, so that only tower, visual tokens and markers are saved.
        """
        counts = {name: self.count(name, point).gflops for name in VARIANTS}
        with_text = prompt_tokens(point.pins, PinPart((1, 1), False, METADATA))
        projector = mlp_gflops(point.pins, self.projector)
        return {
            "flops": counts["full"] / counts["swapped"],
            "cached_flops": counts["cached"] / counts["swapped"],
            "pooled_flops": counts["pooled"] / counts["swapped"],
            "flops_same_text": counts["full"] / (projector + text_gflops(self.text, with_text)),
        }

    def activation_bytes(self, variant: str, point: Point, itemsize: int) -> int:
        """Modelled peak of what one request computes: the widest layer it passes, and what must be kept meanwhile.

        Text stack: residual stream, its normed copy and three MLP-wide tensors, beside the stored features. Tower:
        float32 pixels and patches, residual stream, its normed copy, queries, keys and values with float32 copies for
        the rotary embedding; attention is fused and keeps no weights. Both never peak together.
        """
        part, text, vision = self.part(variant, point), self.text, self.vision
        visual = point.pins * part.grid[0] * part.grid[1] * text.hidden * itemsize
        layers = 1 + (len(vision.deepstack_layers) if variant in ("full", "cached") else 0)
        # Stored features are held twice: in the store, and as the copy that was looked up.
        features = visual * layers * (2 if variant in ("cached", "pooled") else 1)
        stack = prompt_tokens(point.pins, part) * (2 * text.hidden + 3 * text.mlp) * itemsize + features
        if variant != "full":
            return stack
        patches = vision.patches(point.pixels, point.pixels)
        pixels = 2 * 4 * vision.channels * vision.temporal * vision.patch**2
        block = 5 * vision.hidden * itemsize + 4 * 4 * vision.hidden
        return max(stack, point.pins * patches * (pixels + block) + features)


def prompt_tokens(pins: int, part: PinPart) -> int:
    """Length of a prompt that shows `pins` pins in this way."""
    rows, columns = part.grid
    return PROMPT_TOKENS + pins * (rows * columns + 2 * part.markers + len(part.metadata))
