"""Every word the app shows. Nothing here computes; other modules fill the {blanks} and show plain text."""

from __future__ import annotations

TITLE = "PinLab"
TAGLINE = "A vision-language model with and without its vision layer, on the same boards, at their real cost."

SERVING = "PinLab is at {url} (Ctrl+C ends it)"

TAB_COMPARE, TAB_MAP, TAB_ABOUT = "Compare", "Map", "About"

# ---------------------------------------------------------------- Compare: the question
BOARD_LABEL = "Board"
BOARD_INFO = "A collection that people made. Type to search."
BOARD_CHOICE = "{title} · {kind} · {pins} pins"
NO_BOARD = "No board: only my words and pictures"
WORDS_LABEL = "Words and pictures (optional)"
WORDS_PLACEHOLDER = "Describe a wish, or paste, drop or add pictures"
LEFT_LABEL, RIGHT_LABEL = "Left model", "Right model"
RECOMMEND = "Recommend"
KINDS = {"keyword": "keyword", "folder": "folder", "creator": "creator"}

STRIP_SHOWN = "{shown} of the {train} pins that this board keeps for training are shown to both models."
STRIP_SHOWN_ALL = "All {train} pins that this board keeps for training are shown to both models."
STRIP_HELD = "{held} are held out: no model saw them filed here. A tick marks each one that is found."
STRIP_NONE_HELD = "None is held out, so this board is not scored."
STRIP_TOO_SMALL = "Too few pins stay for training, so this board is not scored."
STRIP_EMPTY = "Choose a board above, or ask with your own words and pictures. Nothing is scored then, only shown."
STRIP_PICKED = "Both models are shown these pins, which you chose on the map. Choose a board to leave them."
STRIP_LABEL = "Pins shown to both models"

PROBLEM_NOTHING = "There is nothing to ask yet: choose a board, add a picture or write some words."
PROBLEM_LEFT_OUT = "{message} It was left out."
PROBLEM_TOO_MANY = "{count} pictures are too many for one question: at most {limit}."
PROBLEM_TOO_LONG = "The words are {count} characters long: at most {limit}."
PROBLEM_SAME_NAME = "picture {number}"
PROBLEM_NOT_A_FILE = "Picture {number} did not arrive; add it again."
PROBLEM_K = "k must be a whole number from 1 to {limit}."
PROBLEM_BOARD = "there is no board {board!r} in this lab"
PROBLEM_VARIANT = "there is no variant {variant!r} here; this lab has {known}"
PROBLEM_PIN = "Choose a pin on the map or in the table."

# ---------------------------------------------------------------- Compare: the two answers
SIDE_LABELS = ("Left answer", "Right answer")
SIDE_WAITING = "Press Recommend to see ten pins."
SIDE_NO_HITS = "This model found no candidate pins."
SIDE_STALE = "The question changed. Press Recommend."
SIDE_FAILED = "This side could not answer. The other side is not affected."
SIDE_CRASHED = "This side failed on the server and the failure was logged. The other side is not affected."
FOUND = "{hits} of {most} held-out pins found"
FOUND_OF_MORE = "{hits} found of {most} possible ({held} are held out)"
FOUND_UNSCORED = "Not scored: this board holds nothing out"
FOUND_NO_BOARD = "Not scored: the question has no board"
TOKENS_PER_PIN = "tokens per pin: {tokens}"
NO_TOKENS = "no language model"
OVERLAP = "{count} of {most} pins are in both answers"
QUERY_BOARD = "board “{title}”"
QUERY_IMAGES = "{count} of your pictures"
QUERY_IMAGE = "your picture"
QUERY_PINS, QUERY_PIN = "{count} pins chosen on the map", "1 pin chosen on the map"
QUERY_TEXT = "“{text}”"

UNTITLED = "untitled"
ALT_PICTURE = "Picture: {title}"
ALT_UNTITLED = "Picture without a title"
ALT_BY = "{alt}, by {author}"
CARD_LABEL = "Rank {rank}: {title}, score {score}{held}"
CARD_HELD = ", filed in this board and held out from training"
BY = "by {author}"
UNKNOWN_AUTHOR = "unknown author"

# ---------------------------------------------------------------- Compare: cost
TAGS = {
    "measured": "Measured: read from a clock during this answer.",
    "counted": "Counted: exact for these shapes, not timed.",
    "modelled": "Modelled: computed from a measured number and an assumption that is named.",
}
COST_TITLE = "Cost of this answer"
COST_LATENCY, COST_TOKENS, COST_IMAGES = "Time", "Tokens", "Images encoded"
COST_GFLOP, COST_USD = "Computation", "Per 1,000 answers"
COST_UNAVAILABLE = "No answer, no cost."
COST_CONDITIONS = "{device}, {threads} threads · {dtype} · warm · one request at a time · n = 1"
COST_STAGES = "Where the time went"
COST_PRICE = "at ${usd:g} an hour: {name} ({source}, {date})"
COST_OWN_PRICE = "at ${usd:g} an hour: a price you entered"
PRICE_OWN = "A price of my own"
PRICE_CHOICE = "{name}: {hardware}, ${usd:g} an hour"
PRICE_ACCORDION = "Price behind the modelled dollars"
PRICE_LABEL, PRICE_USD_LABEL = "Listed price", "$ an hour"
PRICE_INFO = "The machine is assumed fully used, one request at a time. Change either field: every dollar follows."
STAGES = {
    "decode": "decode pictures",
    "vision": "vision layer",
    "pin_encoder": "pin encoder",
    "projector": "projector",
    "text_stack": "text stack",
    "search": "search",
    "other": "the rest",
}

# ---------------------------------------------------------------- Compare: totals of the visit
TOTALS_LABEL = "This visit so far"
TOTALS_EMPTY = "Nothing asked yet for this pair of models. The counters start with the first answer."
TOTALS_REQUESTS, TOTALS_RECALL = "Requests", "Recall@10 so far"
TOTALS_COST, TOTALS_SAVED = "Cost so far", "The swap saved"
TOTALS_REQUESTS_NOTE = "to each model"
TOTALS_PRICE = "dollars at ${usd:g} an hour, see below"
TOTALS_USD = "{usd} per 1,000 answers"
TOTALS_FAILED = "{count} more failed and are not counted"
BOARDS_CHOSEN = "{n} {boards}, chosen by you: not an estimate"
BOARDS_DRAWN = "{n} {boards}, drawn at random"
BOARDS_BOTH = "{n} {boards}, {chosen} chosen by you and {drawn} drawn at random: not an estimate"
BOARDS_NONE = "no board scored yet (words and pictures do not count here)"
BOARD_WORD = ("board", "boards")
SAVED_AGAINST = "against {name}"
SAVED_TIME = "{percent} time"
SAVED_LINE = "{ms} in all; {gflops} computation"
SAVED_USD = "{sign}{usd} per 1,000 answers"
SAVED_CACHED_NOTE = "cached = full without its decode and vision stages"
SAVED_ONLY = "Choose full and swapped as the two models to see what the swap saves."
SAVED_SIGNED = "{sign}{ms}"
SAVED_MORE = "+{percent} %"
SAVED_LESS = "−{percent} %"

# ---------------------------------------------------------------- Compare: many boards at random
RUN_TITLE = "Many boards at random"
RUN_BUTTON = "Run {count} boards"
RUN_STOP = "Stop"
RUN_COUNT_LABEL, RUN_SEED_LABEL = "Boards", "Seed"
RUN_IDLE = "No run yet. A run shows how far the two models agree beyond the boards you chose yourself."
RUN_WORKING = "{done} of {total} boards, seed {seed}: now “{title}”"
RUN_DONE = "{n} random boards, seed {seed}"
RUN_STOPPED = "Stopped after {n} of {total} random boards, seed {seed}"
RUN_DIFFERENCE = "{right} minus {left}: {diff} Recall@10 on average"
RUN_COUNTS = "{right} better on {win}, equal on {tie}, worse on {loss}"
RUN_NOTE = "A paired mean over these boards, without an interval. The About page has the one over all scored boards."
RUN_FAILED = "{count} boards failed on one side and are left out."
RUN_BAD_COUNT = "Boards must be a whole number from 1 to {limit}."
RUN_BAD_SEED = "The seed must be a whole number from 0 to {limit}."
RUN_SAME = "Choose two different models for a run."
RUN_NO_BOARDS = "No board of this lab is scored, so there is nothing to draw from."

# ---------------------------------------------------------------- Map
MAP_INTRO = (
    "Each point is a pin, placed by UMAP so that pins with similar vectors lie close together. "
    "Distances across a map mean little; neighbourhoods do. Point at a pin to see where it lies on the other map."
)
MAP_ALIGNED = (
    "The map of full's item vectors is turned, mirrored and scaled as a whole to lie like that of the pin embeddings "
    "(Procrustes). Neither map was made anew for that."
)
MAP_SPACE_LABEL, MAP_COLOUR_LABEL = "Vectors", "Colour by"
MAP_SPACES = {"both": "Both, side by side", "pins": "Pin embeddings", "full": "Full model's item vectors"}
MAP_TITLES = {"pins": "Pin embeddings", "full": "Full model's item vectors"}
MAP_COLOURS = {
    "source": "Source",
    "kind": "Kind of biggest board",
    "board": "Chosen board and its group",
    "cold": "Cold",
    "overlap": "Shared neighbours",
}
MAP_COLD = ("some save was trained on", "cold: kept out of all training")
MAP_OVERLAP = tuple(f"{n} of 10 nearest in common" for n in ("0", "1–2", "3–4", "5–6", "7–8", "9–10"))
MAP_OVERLAP_WAIT = "Counting the neighbours that both spaces share…"
MAP_LOADING = "Drawing the map…"
MAP_NO_WEBGL = (
    "This browser shows no WebGL, which the interactive map is drawn with. Here are still pictures of the maps; "
    "the table below holds the same pins and opens and selects them in the same way."
)
MAP_LABEL = "Scatter maps of all pins. The table below them has the same pins for keyboards and screen readers."
MAP_STILL = "Still picture of the map: {title}, coloured by {colour}"
MAP_TABLE = "The same pins as a table"
MAP_SEARCH = "Search titles and descriptions"
MAP_FOUND = "{count} match"
MAP_FOUND_MARK = "matches the search"
MAP_COLUMNS = ("Select", "Pin", "Source", "Biggest board", "Marked as")
MAP_SORT = "sort by {column}"
MAP_ROWS_LABEL = "Rows"
MAP_ROWS = {"all": "All pins", "selected": "Selected pins"}
MAP_SELECT_ROW = "Select {title}"
MAP_MARKS = {"query": "shown to the models", "held": "held out here", "left": "left answer", "right": "right answer"}
MAP_PAGE = "{from} to {to} of {total}"
MAP_NEXT, MAP_BACK = "Next", "Back"
MAP_NO_MATCH = "Nothing matches."
MAP_NONE_SELECTED = "No pin is selected."
MAP_GROUPS = ("all other pins", "in a board linked to it", "in the chosen board")
MAP_GROUP_OF = "in the chosen board ({title})"
MAP_NO_BOARD = "no board"
MAP_LEGEND = "Legend: press an entry to hide or show its pins"
MAP_TOOLS = {"pan": "Move", "lasso": "Lasso"}
MAP_TOOLS_LABEL = "What dragging on a map does"
MAP_ZOOM = {"in": "Zoom in", "out": "Zoom out", "whole": "Whole map"}
MAP_PIN_EMPTY = "Click a point to see its picture, its boards and its nearest neighbours."
MAP_NEIGHBOURS = "Nearest neighbours by pin embedding"
MAP_NEIGHBOURS_FULL = "Nearest neighbours by full item vector"
MAP_NO_NEIGHBOURS = "No neighbours are stored for these vectors."

MAP_SELECTION = "Selection"
MAP_SELECTION_EMPTY = (
    "Choose Lasso and draw around some points (with Shift it adds to the selection), "
    "or tick pins in the table. Both maps mark the same pins."
)
MAP_SELECTED, MAP_SELECTED_ONE = "{count} pins selected", "1 pin selected"
MAP_PINS = "{count} pins"
MAP_SELECT_FOUND = "Select all matches"
MAP_CLEAR = "Clear selection"
MAP_GALLERY_MORE = "{count} more are in the table and in the downloads."
MAP_ASK = "Ask the models with these pins"
MAP_ASK_FIRST = "Ask the models with the first {most} of these pins"
MAP_DOWNLOAD = {"csv": "Download CSV", "json": "Download JSON"}
MAP_OWN_TITLE, MAP_OWN_BUTTON = "Title of a new board", "Make a board"
MAP_OWN_LABEL = "Your boards: only you see them, and only during this visit"
MAP_OWN_DROP = "Remove {title}"
PROBLEM_SELECTION = "The selection does not fit this lab's pins; reload the page and select again."
PROBLEM_DOWNLOAD = "The download did not arrive; try again."
PROBLEM_COLUMNS = "The points did not arrive; reload the page to try again."
PROBLEM_STATIC = "there is no such map here"
PROBLEM_OWN_TITLE = "Give the board a title."
PROBLEM_OWN_EMPTY = "Select some pins first."
PROBLEM_OWN_MANY = "You have {limit} boards, which is the most; remove one first."
PROBLEM_OWN_TWICE = "You already have a board called “{title}”."

MAP_UPLOAD = "Place my pictures"
MAP_PLACED = "Your picture {number}: approximate, among its {count} nearest pins. The nearest is {score} alike:"
MAP_PLACED_LABEL = "your picture {number} (approximate)"
MAP_PLACED_NOTE = (
    "No map is made anew for an upload: it lies at the mean of the places of its nearest pins by pin embedding, "
    "weighted by their cosine similarity, on both maps."
)

# ---------------------------------------------------------------- one pin, in the dialog and beside the map
PIN_AUTHOR, PIN_LICENSE, PIN_SOURCE = "Author", "Licence", "Source"
PIN_BOARDS = "Filed in"
PIN_BOARDS_MORE = "and {count} more"
PIN_NO_BOARDS = "no board"
PIN_SCORE = "Score"
PIN_HELD = "Filed in this board, held out from training"
PIN_CLOSE = "Close"

# ---------------------------------------------------------------- About
ABOUT_TITLE = "What was measured"
ABOUT_NO_REPORT = "This lab has no evaluation report yet, so there are no numbers to show. Make one with:"
ABOUT_COMMAND = "python -m pinlab evaluate {lab} --json"
ABOUT_MEASURED = (
    "{boards} boards. Each model is given up to 10 pins of a board and ranks all pins that it was not trained on "
    "there. Recall@10 is the share of held-out pins in its top ten. Brackets hold 95 % bootstrap intervals."
)
ABOUT_STRICT = (
    "Strict counts only held-out pins that are in no overlapping training board, "
    "where the graph of saves cannot simply be copied."
)
ABOUT_COLUMNS = ("Model", "Recall@10", "Strict", "p50", "p95", "Computation", "Tokens", "Images encoded")
ABOUT_COST_NOTE = (
    "Milliseconds are measured on a fixed workload ({n}warm, one request at a time); "
    "computation, tokens and images are counted."
)
ABOUT_VERDICTS = "Verdicts"
ABOUT_VERDICT_COLUMNS = ("Pair", "Recall@10", "Strict", "Win / tie / loss")
ABOUT_FLAT = (
    "Plateau rule met by {name}: best validation Recall@10 {score} at step {step} of {steps}, flat over the last fifth."
)
ABOUT_NOT_FLAT = (
    "Plateau rule NOT met by {name}: best validation Recall@10 {score} at step {step} of {steps}, still rising. "
    "More training may lift it, so every verdict about it is provisional."
)
ABOUT_ABLATIONS = "With a part missing"
ABOUT_ABLATIONS_NOTE = (
    "The same models without a part of what they read, not trained again, and a floor of words without any model."
)
ABOUT_ABLATIONS_COLUMNS = ("What is missing", "Recall@10", "Strict slice")
ABOUT_VERDICT_NOTE = "Differences are over the same boards. The words follow from the interval, whichever way it falls."
ABOUT_CLAIMS = "Three claims, three baselines"
ABOUT_CLAIMS_INTRO = (
    "Pinterest reported three numbers (May 2026). Each has its own baseline; PinLab measures each against that one "
    "and never adds them up."
)
ABOUT_CLAIMS_COLUMNS = ("Claim", "Its baseline", "What PinLab measures for it")
ABOUT_CLAIMS_ROWS = (
    (
        "cost −90 %",
        "a frontier model's API",
        "cost per 1,000 requests, beside the full model's and beside an API price you enter",
    ),
    (
        "accuracy +30 %",
        "an off-the-shelf model",
        "Recall@10 on held-out saves: swapped against base (never saw a board), and also against full, "
        "fine-tuned on the same boards, which is the harder test",
    ),
    (
        "latency 20×",
        "encoding every image at run time, one by one",
        "p50 of one request as the number of pins grows",
    ),
)
ABOUT_OWN = "What is PinLab's own"
ABOUT_OWN_POINTS = (
    "One token per pin is PinLab's own hypothesis: no public source says how Pinterest feeds its embedding in.",
    "base is a stand-in for off-the-shelf, trained here on pictures and their titles. It is no released model.",
    "The models here are small ones that train on two CPU cores, in the real Qwen3-VL layout. "
    "Their numbers say nothing about a model of another size.",
    "The boards are what people filed: keywords, library folders and creators' own works. "
    "A tick means filed here, not the only right answer.",
)
ABOUT_MODELS = "The models"
ABOUT_MODELS_COLUMNS = ("Model", "What it is", "Tokens per pin", "Looks at pictures when asked")
YES, NO = "yes", "no"
ABOUT_PROVENANCE = "This page runs on"
ABOUT_REPORT_PROVENANCE = "The report was made with"
ABOUT_LICENCES = "Pictures and licences"
ABOUT_LICENCES_COLUMNS = ("Source", "Licence", "Pins")
ABOUT_LICENCES_INTRO = "Every pin shows its author and licence. In this lab:"
ABOUT_COMMAND_INTRO = "Made with:"
ABOUT_API = "The same from a program"
ABOUT_API_INTRO = "The endpoints /boards, /variants, /recommend and /compare give the same answers as this page:"
ABOUT_API_CODE = (
    "from gradio_client import Client\n"
    'lab = Client("{url}")\n'
    'lab.predict(\n    variant="swapped", board="{board}", text="", images=None, k=10, api_name="/recommend"\n)'
)
PAIR = "{a} against {b}"
INTERVAL = "{mean} [{low}, {high}]"
UNKNOWN = "–"

# ---------------------------------------------------------------- header and errors
HEADER_DEVICE = "{device} · {dtype}"
HEADER_COMMIT = "commit {commit}"
HEADER_LAB = "{pins} pins · {boards} boards"
THEME_TOGGLE = "Switch between light and dark"
MISSING_PICTURE = "picture missing"

# What the browser's own code shows. Filled by static/pinlab.js.
SCRIPT = {
    "stale": SIDE_STALE,
    "untitled": UNTITLED,
    "held": "✓ filed here",
    "heldLong": PIN_HELD,
    "author": PIN_AUTHOR,
    "license": PIN_LICENSE,
    "source": PIN_SOURCE,
    "boards": PIN_BOARDS,
    "noBoards": PIN_NO_BOARDS,
    "score": PIN_SCORE,
    "close": PIN_CLOSE,
    "missing": MISSING_PICTURE,
    "theme": THEME_TOGGLE,
    "stages": COST_STAGES,
    "loading": MAP_LOADING,
    "tags": TAGS,
    "map": {
        "noWebgl": MAP_NO_WEBGL,
        "label": MAP_LABEL,
        "still": MAP_STILL,
        "colourNames": MAP_COLOURS,
        "overlapWait": MAP_OVERLAP_WAIT,
        "table": MAP_TABLE,
        "search": MAP_SEARCH,
        "found": MAP_FOUND_MARK,
        "columns": MAP_COLUMNS,
        "sort": MAP_SORT,
        "rowsLabel": MAP_ROWS_LABEL,
        "rows": MAP_ROWS,
        "selectRow": MAP_SELECT_ROW,
        "marks": MAP_MARKS,
        "page": MAP_PAGE,
        "next": MAP_NEXT,
        "back": MAP_BACK,
        "noMatch": MAP_NO_MATCH,
        "noneSelected": MAP_NONE_SELECTED,
        "legend": MAP_LEGEND,
        "tools": MAP_TOOLS,
        "toolsLabel": MAP_TOOLS_LABEL,
        "zoom": MAP_ZOOM,
        "selection": MAP_SELECTION,
        "selectionEmpty": MAP_SELECTION_EMPTY,
        "selectFound": MAP_SELECT_FOUND,
        "clear": MAP_CLEAR,
        "download": MAP_DOWNLOAD,
        "downloadFailed": PROBLEM_DOWNLOAD,
        "columnsFailed": PROBLEM_COLUMNS,
        "ownTitle": MAP_OWN_TITLE,
        "ownButton": MAP_OWN_BUTTON,
        "ownLabel": MAP_OWN_LABEL,
        "ownDrop": MAP_OWN_DROP,
    },
}
