"""The bundled catalog: illustrations of the Open Clip Art Library and Fluent 3D emoji, filed as people filed them.

    python -m pinlab.catalog.illustrations --openclipart DIR --fluent DIR --emojibase DIR \\
        --out assets/illustrations

Boards come only from what people made: keywords, library folders, creators. Pins carry title and description only,
and texts that would give a board away (creator names, batch titles, keyword lists) are emptied.
The same sources give the same bytes. assets/illustrations/LICENSES.md says where the sources come from.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pinlab.catalog.images import encode_webp, read_image
from pinlab.catalog.lab_files import write_lab
from pinlab.catalog.near import fingerprint, group_fingerprints
from pinlab.catalog.store import Catalog
from pinlab.records import Board, Pin, PinLabError

SOURCES = {
    "Open Clip Art": "openclipart-png and openclipart-svg 1:0.18+dfsg-19 (Debian), public domain",
    "Fluent Emoji": "@lobehub/fluent-emoji-3d 1.1.0 (npm), pictures by Microsoft, MIT",
    "emojibase-data": "17.0.0 (npm), names and keywords of Unicode CLDR, MIT",
}
BOARD_MIN, KEYWORD_MAX = 5, 300
TITLE_MAX_SHARED = 3  # a title on more pins than this is a batch name, such as "SVG Road Signs"
MERGE_JACCARD = 0.8
TWIN_BITS, TWIN_COLOUR = 2, 4.0  # stricter than the split's: here one of the two disappears
MIN_INK_SIDE, MAX_INK_ASPECT = 40, 8  # of the drawing without its margins
DESCRIPTION_MAX = 300

# Folders of plain shapes, patterns, flags, icon themes, near-identical card decks, weapons and pantyhose boxes.
LEFT_OUT_FOLDERS = [
    "buttons",
    "computer/buttons",
    "computer/icons",
    "people/clothing/pantyhose",
    "recreation/games/cards/bordered",
    "recreation/games/cards/simple",
    "recreation/games/cards/white",
    "shapes",
    "signs_and_symbols/flags",
    "signs_and_symbols/led",
    "special",
    "tools/weapons",
    "unsorted/duplicates",
]
NO_BOARD_FOLDERS = {"unsorted"}  # nobody filed anything there on purpose
# Reviewed by eye on contact sheets; regular expressions over the file name without its folder.
LEFT_OUT_FILES = {
    "broken picture": r"duck_yellow_ii_kurt.*|tux_didier_fabert_01|stylized_yoga_person_.*|creation_day_7_.*",
    "plain shape, star rating, pattern or test chart": (
        r".*star(_rat.*|s_saurabh.*)|half_star.*|zero_stars.*|(left|right)_(top|bottom)_corn.*|bluepane_01|blots_.*"
        r"|milimetered_paper_01|texturelegno|crop_marks_.*|mpcad_box_.*|font_samples_.*|probability_from.*|mygraph_.*"
        r"|logic_functions.*|celtic-vine-corner.*|patchwork_01|.*_0_symbol_1m_bwh|x_symbol_01|break_carlos.*"
        r"|motivo_geometric.*|lam_arn_01|oh_stefan_alfred.*|striscia_.*"
    ),
    "one of a pair that differs only in its black frame": r"aiga_.*1",
    "flag or disputed emblem": r"cymru_flag.*|gwen_ha_du.*|basque_patricia.*|lauburu.*|sunwheel_.*|mr_lakshman.*",
    "nudity or suggestive": (
        r"mermaid_kurt.*|elfish_girl.*|female_rollandin.*|sexy_lady.*|silhouette_(fe)?male_\d|portrait_of_a_woman.*"
        r"|stripper.*|human_humain.*|daedalus.*|eris_nurbl.*|hide_girl.*|simbol_donna2?|cm1|pantyhose.*"
    ),
    "weapon or violence": (
        r"hummer_.*|m1_abrams.*|military_air.*|kallisti-grenade.*|shi_ken.*|gallows.*|enthusiast|psycho_ice.*"
        r"|2_dead_frogs.*|media_as_wmd.*|fireman_enrique.*|ammo_can.*|nunchaku.*"
        r"|.*(pistol|rifle|revolver|grenade|shotgun|katana|dagger).*"
    ),
    "smoking or drugs": r"bad_guy_fr.*|smoke_nicu_buculei.*|cannabis.*|bitte_keine_tueten.*|chav_.*",
    "political or mocking": (
        r"martin_luther.*|what_have_you_done.*|g8_muji.*|ms_01|xbill_01|linux_hacked.*|illuminati.*|flying_spaghetti.*"
        r"|future_beckham.*|padania.*|otto_needs.*|discordian.*"
    ),
    "somebody's character or trademark": r".*vgcats.*|domo_?kun.*|velocette.*|bpoe.*|mascot_enrique.*|brozo.*",
    "portrait traced from a private photo": r"a_happy_boy.*|a_man_singing.*|a_youngster.*|grandpa_01|a_boy_plays.*",
}
LEFT_OUT_KEYWORDS = {"flags", "weapon", "weapons", "gun", "guns"}  # a picture filed under one of these is left out
# Words that say nothing about a picture, or that are not fit as a board's name.
NO_BOARD_WORDS = {
    "unsorted",
    "hash",
    "openclipart",
    "clipart",
    "clip_art",
    "svg",
    "png",
    "image",
    "picture",
    "public_domain",
    "none",
    "n/a",
    "signs_and_symbols",
    "ily",
    "omg",
    "lol",
    "bae",
    "babe",
    "143",
    "xoxo",
    "yolo",
    "bff",
    "bro",
    "booze",
    "drunk",
    "dead",
    "kill",
    "death",
    "blood",
    "hell",
    "damn",
    "devil",
    "sexy",
    "sex",
    "whatever",
    "evil",
    "weapon",
    "lemon_theme_icon",
    "icons",
    "theme",
    "not",
    "one",
    "two",
    "three",
    "five",
    "you",
    "what",
    "meh",
    "like",
}
# What people typed, made readable. Two spellings of one word become one board.
KEYWORD_TITLES = {
    "airtravel": "air travel",
    "appicon": "application icons",
    "bodypart": "body parts",
    "desserts": "dessert",
    "icecream": "ice cream",
    "mapsym": "map symbols",
    "musicstuff": "music stuff",
    "musicsym": "music symbols",
    "networksym": "network symbols",
    "northamerica": "north america",
    "religholiday": "religious holidays",
    "roadsign": "road signs",
    "roadtravel": "road travel",
    "vegitable": "vegetable",
    "weathersym": "weather symbols",
    "xmas": "christmas",
}
EMOJI_LEFT_OUT_SUBGROUPS = {
    "arrow",
    "av-symbol",
    "keycap",
    "alphanum",
    "geometric",
    "punctuation",
    "math",
    "gender",
    "flag",
    "country-flag",
    "subdivision-flag",
    "skin-tone",
    "hair-style",
}
EMOJI_LEFT_OUT = {
    "middle finger",
    "pile of poo",
    "people with bunny ears",
    "no one under eighteen",
    "dagger",
    "crossed swords",
    "bomb",
    "bow and arrow",
    "military helmet",
    "cigarette",
    "coffin",
    "headstone",
    "funeral urn",
    "face with symbols on mouth",
    "face with open eyes and hand over mouth",
    "Mrs. Claus",
    "Mx Claus",
    "old man",
    "old woman",
    "pregnant man",
    "pregnant woman",
    "woman feeding baby",
    "man feeding baby",
    "breast-feeding",
    "bikini",
    "one-piece swimsuit",
    "briefs",
    "pinching hand",
    "pistol",
    "water pistol",
    "eggplant",
}
EMOJI_FOLDER_TITLES = {
    "asian": "Asian food",
    "costumed & creatures": "costumed",
    "cooked / prepared": "prepared food",
    "fingers open": "hands with fingers open",
    "fingers closed": "hands with fingers closed",
    "other plants": "plants",
    "activities": "people doing things",
    "resting": "people resting",
    "time": "clocks and time",
}


@dataclass(frozen=True)
class Drawing:
    """One source picture before it becomes a pin: what people wrote, and where they filed it."""

    id: str
    image: bytes
    title: str
    description: str
    source: str
    author: str
    license: str
    keywords: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    creators: frozenset[str] = frozenset()


def build_illustrations(openclipart: Path, fluent: Path, emojibase: Path) -> Catalog:
    """Build the bundled catalog from three unpacked sources.

    Args:
        openclipart: folder with `png/` and `svg/` (usr/share/openclipart of the Debian packages).
        fluent: folder with `assets/<codepoints>.webp` (the unpacked npm package).
        emojibase: folder with `en/data.json`, `en/messages.json` and `meta/groups.json` (the unpacked npm package).

    Raises:
        PinLabError: a source folder is missing or empty.
    """
    left_out: Counter[str] = Counter()
    drawings = _read_openclipart(Path(openclipart), left_out)
    found = len(drawings)
    drawings = _fold_twins(drawings)
    left_out["near-duplicate, its boards given to the other"] = found - len(drawings)
    drawings += _read_emoji(Path(fluent), Path(emojibase), left_out)
    drawings = _empty_leaky_texts(drawings)
    boards = _merge_boards(_boards(drawings))
    filed = {pin for board in boards for pin in board.pins}
    left_out["in no board"] = len(drawings) - len(filed)
    kept = [d for d in drawings if d.id in filed]
    pins = [Pin(d.id, d.title, d.description, d.source, d.author, d.license) for d in kept]
    provenance = {"builder": "pinlab.catalog.illustrations", "sources": SOURCES, "left_out": dict(left_out)}
    return Catalog(pins, {d.id: d.image for d in kept}, boards, provenance)


# --- Open Clip Art -------------------------------------------------------------------------------------------------


def _read_openclipart(root: Path, left_out: Counter[str]) -> list[Drawing]:
    """Every fit picture once; the library files the same picture in several folders, and all of them count."""
    paths = sorted((root / "png").rglob("*.png"))
    if not paths:
        raise PinLabError(
            f"{root}: no png pictures here; unpack openclipart-png and openclipart-svg and name that folder"
        )
    by_content: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    for path in paths:
        key = path.relative_to(root / "png").with_suffix("").as_posix()
        meta = _svg_metadata(root / "svg" / f"{key}.svg")
        reason = _unfit(key, meta)
        if reason:
            left_out[reason] += 1
        else:
            by_content[hashlib.sha256(path.read_bytes()).hexdigest()].append((key, meta))
    drawings = []
    for digest, copies in tqdm(by_content.items(), desc="Open Clip Art", unit="picture"):
        image, reason = _thumbnail(root / "png" / f"{copies[0][0]}.png")
        if image is None:
            left_out[reason] += len(copies)
        else:
            left_out["same picture filed again, its boards kept"] += len(copies) - 1
            drawings.append(_openclipart_drawing(digest, image, copies))
    return drawings


def _svg_metadata(path: Path) -> dict:
    """Title, description, creator, keywords and licence of one SVG; by pattern, since many are not well-formed XML."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError:
        text = ""
    block = re.search(r"<rdf:RDF.*?</rdf:RDF>", text, re.DOTALL)
    rdf = block.group(0) if block else ""

    def first(pattern: str) -> str:
        match = re.search(pattern, rdf, re.DOTALL)
        return _clean(match.group(1)) if match else ""

    return {
        "title": first(r"<dc:title>(.*?)</dc:title>"),
        "description": first(r"<dc:description>(.*?)</dc:description>"),
        "creator": _creator(first(r"<dc:creator>.*?<dc:title>(.*?)</dc:title>")),
        "license": first(r'<cc:license rdf:resource="(.*?)"'),
        "keywords": [_clean(k) for k in re.findall(r"<rdf:li>(.*?)</rdf:li>", rdf, re.DOTALL)],
    }


def _clean(text: str) -> str:
    text = html.unescape(html.unescape(text))
    if "Ã" in text:  # UTF-8 that some exporter read as Latin-1
        text = text.encode("latin-1", "ignore").decode("utf-8", "ignore")
    return re.sub(r"\s+", " ", text).strip()


def _creator(name: str) -> str:
    """A person's name without mail address, site or export noise; empty when nobody is named."""
    name = re.sub(r"[\(\[<].*?[\)\]>]|\S*@\S*|https?:\S*|\bON \w+\.\w+|\S*DOT\w*", " ", name)
    name = re.sub(r"\s+", " ", name.replace("Architetto", " ")).strip(" ,.-_")
    if re.search(r"HASH|anonymous|unknown", name, re.IGNORECASE) or len(name) < 2:
        return ""
    return name


def _unfit(key: str, meta: dict) -> str:
    """Why this picture is left out, or nothing."""
    folder, _, name = key.rpartition("/")
    if any(f"{folder}/".startswith(f"{out}/") for out in LEFT_OUT_FOLDERS):
        return "folder of shapes, patterns, flags, icon themes, card decks or weapons"
    if "publicdomain" not in meta["license"].lower():
        return "not marked as public domain"
    if LEFT_OUT_KEYWORDS & {k.lower() for k in meta["keywords"]}:
        return "filed under flags or weapons"
    for reason, pattern in LEFT_OUT_FILES.items():
        if re.fullmatch(pattern, name):
            return reason
    return ""


def _thumbnail(path: Path) -> tuple[bytes | None, str]:
    """The drawing without its empty margins as WebP, or why it is left out. One picture in memory at a time."""
    try:
        picture = _without_margins(read_image(path, path.name))
    except PinLabError:
        return None, "larger than 40 megapixels, or unreadable"
    if picture is None:
        return None, "blank picture"
    sides = picture.shape[:2]
    if max(sides) < MIN_INK_SIDE or max(sides) > MAX_INK_ASPECT * min(sides):
        return None, "too small or too thin to see"
    return encode_webp(picture), ""


def _without_margins(picture: np.ndarray) -> np.ndarray | None:
    """Most drawings sit on an empty A4 page, many in a corner of it."""
    ink = picture.min(axis=2) < 243
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return None
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _openclipart_drawing(digest: str, image: bytes, copies: list[tuple[str, dict]]) -> Drawing:
    creators = [m["creator"] for _, m in copies if m["creator"]]
    folders = {folder for key, _ in copies for folder in _with_parents(key.rpartition("/")[0])}
    return Drawing(
        id=f"oca-{_slug(copies[0][0].rpartition('/')[2])}-{digest[:4]}",
        image=image,
        title=next((m["title"] for _, m in copies if m["title"]), ""),
        description=next((m["description"] for _, m in copies if m["description"]), ""),
        source="Open Clip Art",
        author=creators[0] if creators else "Open Clip Art Library",
        license="Public domain",
        keywords=frozenset(w for _, m in copies for k in m["keywords"] if (w := _keyword(k, m["creator"]))),
        folders=frozenset(folders),
        creators=frozenset(creators),
    )


def _with_parents(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _keyword(raw: str, creator: str = "") -> str:
    """A keyword as a board's name, or nothing: no numbers, no names of creators, no export noise."""
    word = re.sub(r"[\s_]+", " ", raw.casefold()).strip(" .,;:'\"")
    if len(word) < 3 or not re.search(r"[a-z]{2}", word) or "(0x" in word or word.replace(" ", "_") in NO_BOARD_WORDS:
        return ""
    if re.fullmatch(r"[\w .'-]+", word) is None or _name_key(word) == _name_key(creator):
        return ""
    return "" if "francesco rollandin" in word else KEYWORD_TITLES.get(word, word)


# --- Fluent emoji --------------------------------------------------------------------------------------------------


def _read_emoji(fluent: Path, emojibase: Path, left_out: Counter[str]) -> list[Drawing]:
    pictures = {_codepoints(p.stem): p for p in sorted((fluent / "assets").glob("*.webp"))}
    if not pictures:
        raise PinLabError(f"{fluent}: no assets/*.webp here; unpack @lobehub/fluent-emoji-3d and name that folder")
    try:
        rows = json.loads((emojibase / "en" / "data.json").read_text("utf-8"))
        messages = json.loads((emojibase / "en" / "messages.json").read_text("utf-8"))
        subgroups = json.loads((emojibase / "meta" / "groups.json").read_text("utf-8"))["subgroups"]
    except OSError as error:
        raise PinLabError(f"{emojibase}: no {error.filename}; unpack emojibase-data and name that folder") from error
    titles = {m["key"]: m["message"] for m in messages["groups"] + messages["subgroups"]}
    groups = {m["order"]: m["message"] for m in messages["groups"]}
    labels = {row["label"] for row in rows}
    drawings = []
    for row in tqdm(sorted(rows, key=lambda r: r["hexcode"]), desc="Fluent emoji", unit="picture"):
        path = pictures.get(_codepoints(row["hexcode"]))
        if path is None or "group" not in row:
            continue
        subgroup = subgroups[str(row["subgroup"])]
        reason = _unfit_emoji(row, subgroup, labels)
        if reason:
            left_out[reason] += 1
            continue
        folders = {f"emoji/{groups[row['group']]}", f"emoji/{_emoji_folder(subgroup, titles[subgroup])}"}
        drawings.append(_emoji_drawing(path, row, folders))
    return drawings


def _codepoints(code: str) -> str:
    return code.upper().replace("-FE0F", "")


def _unfit_emoji(row: dict, subgroup: str, labels: set[str]) -> str:
    label = row["label"]
    if subgroup in EMOJI_LEFT_OUT_SUBGROUPS or label.endswith("-thirty"):
        return "emoji: shape, arrow, button, letter, flag or half hour"
    if label in EMOJI_LEFT_OUT:
        return "emoji: not for every screen"
    if "gender" in row or re.match(r"(family|kiss|couple with heart): ", label):
        return "emoji: gender twin"
    rest = re.match(r"(?:man|woman|men|women)\b:?\s*(.+)", label)
    if rest and {rest[1], f"person {rest[1]}", f"person: {rest[1]}", f"people {rest[1]}"} & labels:
        return "emoji: gender twin"
    return ""


def _emoji_folder(subgroup: str, message: str) -> str:
    title = EMOJI_FOLDER_TITLES.get(message, message).replace(" / ", " or ")
    if not subgroup.startswith("face-"):
        return title
    return f"faces {title}" if title.startswith("with ") else f"{title} faces"


def _emoji_drawing(path: Path, row: dict, folders: set[str]) -> Drawing:
    picture = _without_margins(read_image(path, path.name))
    if picture is None:
        raise PinLabError(f"{path}: a blank emoji; unpack the package again")
    return Drawing(
        id=f"emoji-{path.stem.replace('-fe0f', '')}",
        image=encode_webp(picture),
        title=row["label"],
        description="",
        source="Fluent Emoji",
        author="Microsoft, Fluent Emoji",
        license="MIT",
        keywords=frozenset(w for tag in row.get("tags", ()) if (w := _keyword(tag))),
        folders=frozenset(folders),
    )


# --- texts ---------------------------------------------------------------------------------------------------------


def _empty_leaky_texts(drawings: list[Drawing]) -> list[Drawing]:
    """Empty what would give a board away: batch titles, creators' names, keyword lists, notes about the making."""
    titles = Counter(_fold(d.title) for d in drawings)
    descriptions = Counter(_fold(d.description) for d in drawings)
    names = {_fold(name) for d in drawings for name in d.creators if len(name) > 4}
    surnames = {word for name in names for word in name.split() if len(word) > 4}
    cleaned = []
    for d in drawings:
        title = re.sub(r"\s+", " ", d.title.replace("_", " ")).strip()
        own = {_fold(c) for c in d.creators} | {w for c in d.creators for w in _fold(c).split() if w in surnames}
        if titles[_fold(d.title)] > TITLE_MAX_SHARED or _leaks(title, names, own):
            title = ""
        text = d.description
        if (
            descriptions[_fold(text)] > TITLE_MAX_SHARED
            or _leaks(text, names, own)
            or _is_keyword_list(text, d.keywords)
        ):
            text = ""
        text = "" if _fold(text) == _fold(title) else _shorten(text)
        cleaned.append(replace(d, title=title, description=text))
    return cleaned


_MAKING = re.compile(
    r"hash\(|https?:|www\.|@|\binkscape\b|sodipodi|illustrator|public domain|clip ?art|copyright|licen[sc]e|\bsvg\b"
    r"|created (with|by|in)|made (with|by|in)|drawn by|converted|r\d+ sub?mission|iconset|lemon.*theme|etiquette"
    r"|derived from|^r\d+ general|flat icon|menu collection|-aj$|\bpimp\b|incazzat|cretin",
    re.IGNORECASE,
)


def _leaks(text: str, names: set[str], own: set[str]) -> bool:
    folded = f" {_fold(text)} "
    if _MAKING.search(text) or any(f" {word} " in folded for word in own if len(word) > 3):
        return True
    return any(f" {name} " in folded for name in names if " " in name)


def _is_keyword_list(text: str, keywords: frozenset[str]) -> bool:
    parts = [p.strip().casefold() for p in re.split(r"[,;]", text) if p.strip()]
    return len(parts) > 1 and sum(p in keywords for p in parts) * 2 >= len(parts)


def _shorten(text: str) -> str:
    if len(text) <= DESCRIPTION_MAX:
        return text
    return text[:DESCRIPTION_MAX].rsplit(" ", 1)[0].rstrip(" ,.;:") + " ..."


def _fold(text: str) -> str:
    """Lower case, no accents, single spaces: for comparing texts people typed."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().casefold()
    return re.sub(r"[^a-z0-9]+", " ", plain).strip()


def _name_key(name: str) -> str:
    """The same for 'A.J. Ashton' and 'AJ Ashton', for 'Rollandin Francesco' and 'Francesco Rollandin'."""
    return " ".join(sorted(_fold(name.replace(".", "")).split()))


def _slug(text: str) -> str:
    return _fold(text).replace(" ", "-")[:40].strip("-") or "x"


# --- twins and boards ----------------------------------------------------------------------------------------------


def _fold_twins(drawings: list[Drawing]) -> list[Drawing]:
    """Keep the first of every group of near-identical pictures and give it the boards of all."""
    by_id = {d.id: d for d in drawings}
    ids = sorted(by_id)
    prints = [fingerprint(read_image(by_id[i].image, i)) for i in tqdm(ids, desc="twins", unit="picture")]
    for group in group_fingerprints(ids, prints, TWIN_BITS, TWIN_COLOUR):
        twins = [by_id.pop(i) for i in group]
        by_id[group[0]] = replace(
            twins[0],
            title=next((t.title for t in twins if t.title), ""),
            description=next((t.description for t in twins if t.description), ""),
            keywords=frozenset().union(*(t.keywords for t in twins)),
            folders=frozenset().union(*(t.folders for t in twins)),
            creators=frozenset().union(*(t.creators for t in twins)),
        )
    return [by_id[i] for i in sorted(by_id)]


def _boards(drawings: list[Drawing]) -> list[Board]:
    keywords: dict[str, set[str]] = defaultdict(set)
    folders: dict[str, set[str]] = defaultdict(set)
    creators: dict[str, set[str]] = defaultdict(set)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for d in drawings:
        for word in d.keywords:
            keywords[word].add(d.id)
        for folder in d.folders - NO_BOARD_FOLDERS:
            folders[folder].add(d.id)
        for name in d.creators:
            creators[_name_key(name)].add(d.id)
            spellings[_name_key(name)][name] += 1
    boards = [
        Board(f"keyword-{_slug(word)}", word, "keyword", tuple(sorted(pins)))
        for word, pins in sorted(keywords.items())
        if BOARD_MIN <= len(pins) <= KEYWORD_MAX
    ]
    boards += _named(folders, "folder", _folder_title)
    boards += _named(creators, "creator", lambda key: min(spellings[key].items(), key=lambda s: (-s[1], s[0]))[0])
    return _unique_ids(boards)


def _named(members: dict[str, set[str]], kind: str, title: Callable[[str], str]) -> list[Board]:
    return [
        Board(f"{kind}-{_slug(key)}", title(key), kind, tuple(sorted(pins)))
        for key, pins in sorted(members.items())
        if len(pins) >= BOARD_MIN
    ]


def _folder_title(folder: str) -> str:
    return folder.rpartition("/")[2].replace("_", " ").replace("-", " ")


def _unique_ids(boards: Iterable[Board]) -> list[Board]:
    """Two spellings of one keyword ('t-shirt', 't shirt') can give one slug; they become one board."""
    joined: dict[str, Board] = {}
    for board in boards:
        first = joined.get(board.id, board)
        joined[board.id] = replace(first, pins=tuple(sorted({*first.pins, *board.pins})))
    return list(joined.values())


def _merge_boards(boards: list[Board]) -> list[Board]:
    """Join boards that hold nearly the same pins, until none do: twins would make held-out saves trivial to find."""
    rank = {"keyword": 0, "folder": 1, "creator": 2}
    boards = sorted(boards, key=lambda b: (rank[b.kind], -len(b.pins), b.id))
    while True:
        twin = _first_twin(boards)
        if twin is None:
            return sorted(boards, key=lambda b: b.id)
        keep, drop = twin
        boards[keep] = replace(boards[keep], pins=tuple(sorted({*boards[keep].pins, *boards[drop].pins})))
        del boards[drop]


def _first_twin(boards: list[Board]) -> tuple[int, int] | None:
    columns = {pin: i for i, pin in enumerate(sorted({p for b in boards for p in b.pins}))}
    member = np.zeros((len(boards), len(columns)), dtype=np.float32)
    for row, board in enumerate(boards):
        member[row, [columns[p] for p in board.pins]] = 1
    shared = member @ member.T
    sizes = np.diag(shared)
    jaccard = shared / (sizes[:, None] + sizes[None, :] - shared)
    rows, others = np.nonzero(np.triu(jaccard >= MERGE_JACCARD, k=1))
    return (int(rows[0]), int(others[0])) if len(rows) else None


def main(arguments: list[str] | None = None) -> None:
    """Build the bundled lab's catalog and split from the command line."""
    parser = argparse.ArgumentParser(description="Build PinLab's bundled catalog of illustrations.")
    for name in ("openclipart", "fluent", "emojibase", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args(arguments)
    catalog = build_illustrations(options.openclipart, options.fluent, options.emojibase)
    write_lab(catalog, options.out, "python -m pinlab.catalog.illustrations")
    kinds = Counter(board.kind for board in catalog.boards)
    saves = sum(len(board.pins) for board in catalog.boards)
    print(
        f"{len(catalog)} pins, {len(catalog.boards)} boards {dict(sorted(kinds.items()))}, {saves} saves: {options.out}"
    )


if __name__ == "__main__":
    main()
