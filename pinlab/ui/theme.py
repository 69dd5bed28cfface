"""The look of Gradio's own controls. PinLab's widgets take the same colours from static/pinlab.css."""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils.fonts import LocalFont

PAPER, CARD, INK, MUTED, LINE, ACCENT, ACCENT_DEEP = (
    "#f6f6f3", "#ffffff", "#1c2427", "#5a666b", "#dfe2df", "#0c6b64", "#095049",
)  # fmt: skip
D_PAPER, D_CARD, D_FIELD, D_INK, D_MUTED, D_LINE, D_ACCENT = (
    "#12171a", "#1a2125", "#141a1d", "#e7ecec", "#9dabb0", "#2d373c", "#58c9bc",
)  # fmt: skip


def make_theme() -> Base:
    """A calm theme with local fonts, light and dark."""
    return Base(
        primary_hue="teal",
        neutral_hue="stone",
        # Gradio 6.31 ships SemiBold (600) with most letters missing; browsers take 700 in its place.
        font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
        radius_size="md",
        text_size="md",
    ).set(
        body_background_fill=PAPER,
        body_background_fill_dark=D_PAPER,
        body_text_color=INK,
        body_text_color_dark=D_INK,
        body_text_color_subdued=MUTED,
        body_text_color_subdued_dark=D_MUTED,
        background_fill_primary=CARD,
        background_fill_primary_dark=D_CARD,
        background_fill_secondary=PAPER,
        background_fill_secondary_dark=D_PAPER,
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="2px 0",
        form_gap_width="12px",
        input_border_width="1px",
        input_border_width_dark="1px",
        block_border_color=LINE,
        block_border_color_dark=D_LINE,
        block_label_text_color=MUTED,
        block_label_text_color_dark=D_MUTED,
        block_title_text_color=INK,
        block_title_text_color_dark=D_INK,
        block_title_text_weight="600",
        block_info_text_color=MUTED,
        block_info_text_color_dark=D_MUTED,
        block_shadow="none",
        border_color_primary=LINE,
        border_color_primary_dark=D_LINE,
        input_background_fill=CARD,
        input_background_fill_dark=D_FIELD,
        input_border_color="#c9cecb",
        input_border_color_dark="#3a464c",
        input_border_color_focus=ACCENT,
        input_border_color_focus_dark=D_ACCENT,
        input_placeholder_color="#6b777c",
        input_placeholder_color_dark="#8b999e",
        button_border_width="1px",
        button_border_width_dark="1px",
        button_primary_border_color=ACCENT,
        button_primary_border_color_dark=D_ACCENT,
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_dark=D_ACCENT,
        button_primary_background_fill_hover=ACCENT_DEEP,
        button_primary_background_fill_hover_dark="#7fd9cf",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#08211e",
        button_secondary_background_fill=CARD,
        button_secondary_background_fill_dark=D_CARD,
        button_secondary_border_color="#c9cecb",
        button_secondary_border_color_dark="#3a464c",
        button_secondary_text_color=INK,
        button_secondary_text_color_dark=D_INK,
        link_text_color=ACCENT,
        link_text_color_dark=D_ACCENT,
        color_accent=ACCENT,
        color_accent_soft="#e3f0ee",
        color_accent_soft_dark="#1f3532",
        checkbox_background_color_selected=ACCENT,
        checkbox_background_color_selected_dark=D_ACCENT,
        loader_color=ACCENT,
        loader_color_dark=D_ACCENT,
    )


# ---------------------------------------------------------------- colours of the map

# Okabe and Ito's colours, which people with any colour vision can tell apart; a shape goes with each on the map.
_CATEGORIES = {
    False: ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8f98", "#b59f00"),
    True: ("#56b4e9", "#e69f00", "#2fc79b", "#e59ac4", "#4d8fd6", "#f0804a", "#9aa3ab", "#d6c13f"),
}
# From none to all neighbours in common: darker on light, lighter on dark.
_SEQUENCE = {
    False: ("#dfb53a", "#a8b24a", "#6aa567", "#2f8f82", "#1d6a86", "#1b3f7a"),
    True: ("#46559c", "#2f73a3", "#2f979a", "#4fb985", "#a0d165", "#f4e55a"),
}
_REST = {False: "#c4c9c7", True: "#4b565c"}


def map_colours(colour: str, dark: bool) -> tuple[str, ...]:
    """The colours of a colouring's categories, in their order; a longer list of categories starts again."""
    plain = _CATEGORIES[dark]
    if colour == "overlap":
        return _SEQUENCE[dark]
    if colour == "board":
        return _REST[dark], plain[1], plain[0]
    return (_REST[dark], plain[5]) if colour == "cold" else plain
