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
KEPT_PICTURES = "Pictures are not kept over a refresh, only words and choices. Add yours again to ask with them."
PROBLEM_BROKE_OFF = (
    "This question broke off, and the answers below are still the ones before. Ask again; if it happens again, the "
    "server's log says why."
)
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
SIDE_ASKING = "The question changed. The answer is on its way."
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
QUERY_PINS = "{count} pins chosen on the map"
QUERY_TEXT = "“{text}”"

# What the report says of the two models on the page; the rest is on the Scoreboard.
VERDICT_TITLE = "What all boards say"
VERDICT_BOARDS = "What all {boards} scored boards say"
VERDICT_NO_REPORT = "Not measured in this lab yet. This command does: {command}"
VERDICT_NO_PAIR = "The report does not compare these two models with each other."
VERDICT_ALL, VERDICT_STRICT, VERDICT_COLD = "Recall@10", "On its strict slice", "On cold pins"
VERDICT_PAIR = "{metric}: {subject} {ours}, {rival} {theirs}, {change}: {verdict}."
VERDICT_LATENCY = "{slow} takes {times} times as long as {fast}: {slow_ms} against {fast_ms}, with {pins} pins."
VERDICT_LINK = "Open the Scoreboard"

UNTITLED = "untitled"
ALT_PICTURE = "Picture: {title}"
ALT_UNTITLED = "Picture without a title"
ALT_BY = "{alt}, by {author}"
CARD_LABEL = "Rank {rank}: {title}, score {score}{held}"
CARD_HELD = ", filed in this board and held out from training"
BY = "by {author}"
UNKNOWN_AUTHOR = "unknown author"

# ---------------------------------------------------------------- Compare: ranks, why, taste, follow-ups, uploads
MOVE_UP, MOVE_DOWN, MOVE_SAME, MOVE_ONLY = "↑{by}", "↓{by}", "=", "only here"
MOVE_LABELS = {
    "up": ", {by} higher than on the other side",
    "down": ", {by} lower than on the other side",
    "same": ", the same rank on the other side",
    "only": ", not in the other answer",
}
RANKS = "{overlap}; rank-biased overlap {rbo} (1 = the same order, 0 = nothing in common)"
FOLD = "+{count} near copies"
FOLD_ONE = "+1 near copy"

WHY_TITLE = "Why is this here?"
WHY_LOADING = "Asking {model} again without each part of the question…"
WHY_COMPUTED = "Computed evidence"
WHY_COMPUTED_NOTE = (
    "Each bar is the score for the whole question less the score without that part (leave-one-out). "
    "Parts can say the same, so bars need not add up to the score."
)
WHY_BASIS = {
    "model": "{model} scores {score} here: how well its vector of the question fits its vector of this pin.",
    "centroid": "{model} scores {score}: the cosine with the mean vector of what was shown and of the words.",
    "saves": "{model} scores {score}, from the train saves alone. No picture and no word is read.",
    "popularity": "Popular only counts train saves: {saves} for this pin. The question plays no part.",
    "shuffle": "Random is a shuffle. There is no reason.",
}
WHY_PARTS = {"upload": "Your picture {name}", "text": "Your words", "turn": "Follow-up {name}"}
WHY_DISLIKED = "less like: {title}"
WHY_ALL = "the whole question"
WHY_NO_PARTS = "No part of the question plays a part here."
WHY_LIKE, WHY_BOARDS, WHY_BOARD = "{likeness} alike", "{count} train boards in common", "1 train board in common"
WHY_WORDS, WHY_NO_WORDS = "Words it shares with the question", "It shares no word with the question."
WHY_WORD, WHY_WORD_ASKED = "{word} ({count})", "{word} (your words)"
WHY_NEAREST = "Nearest shown pins, by pin embedding"
WHY_SAID, WHY_SAID_NOTE = "In the model's words", "Written by {model} about its own prompt. It is no evidence."
WHY_CANNOT_TALK = "{model} cannot answer in words, so only computed evidence is shown."
WHY_ASK_FIRST = "Ask a question first."
WHY_GONE = "The pictures of that question are no longer on the server. Press Recommend and open this again."
ACT_SEARCH, ACT_LIKE, ACT_UNLIKE, ACT_LARGE = "Search from it", "More like this", "Less like this", "Large picture"
ACT_SMALL = "Small picture"

TASTE_TITLE = "Your taste"
TASTE_EMPTY = "Open a pin and choose “More like this” or “Less like this”: both models answer again at once."
TASTE_LIKED, TASTE_DISLIKED = "More like", "Less like"
TASTE_REMOVE = "Take out: {title}"
TASTE_UNDO, TASTE_CLEAR = "Undo", "Clear"
TASTE_FULL = "{limit} pins are as many as one taste can hold; take one out first."
TASTE_NOTE = (
    "More: the pin is shown to the models beside the question's own. Less: its vector pushes the answer away "
    "(Rocchio 1971, weight {gamma}, not tuned). Kept in this browser only."
)
TASTE_OWN = "{count} of the pins you want less of are shown in this very question and count as shown."
FOUND_REFINED = "Not scored: your likes and follow-ups shape this answer"
QUERY_LIKED, QUERY_DISLIKED = "{count} liked", "{count} disliked"
QUERY_TURNS = "then {turns}"
QUERY_START = "pin “{title}”"
STRIP_START = "You search from this pin. Choose a board to leave it."

FOLLOW_LABEL, FOLLOW_PLACEHOLDER = "Refine this answer", "such as: warmer, for a child's room"
FOLLOW_BUTTON, FOLLOW_RESET = "Refine", "Start over"
FOLLOW_TITLE = "The conversation so far"
FOLLOW_EFFECT = "That changed {left} of {most} pins on the left and {right} of {most} on the right."
FOLLOW_UNTRAINED = "No model here was trained on follow-ups: each is read as one more turn, and may lead astray."
FOLLOW_DEAF = "{names} reads no words."
FOLLOW_EMPTY = "Write what to change first."
FOLLOW_LONG = "That follow-up is {count} characters long: at most {limit}."
FOLLOW_MANY = "{limit} follow-ups are the most one conversation can hold. Start over to ask anew."
FOLLOW_NOTHING = "Ask a question first, then refine its answer."

UPLOADS_TITLE = "What your pictures are to Swapped"
UPLOAD_KINDS = {
    "known": "the very picture of “{title}”, a pin of this lab",
    "near": "a near copy of “{title}”, a pin of this lab",
    "new": "new: no pin of this lab has this picture (a cropped copy may also read as new)",
    "unknown": "still being compared with the lab's pictures; ask again in a moment",
}
UPLOAD_CHARGED = "Its pin encoder encodes it once, and that is charged above, also when the picture is known."
UPLOAD_LIKE = "nearest pin “{title}”, {likeness} alike"
UPLOAD_FAR = (
    "Its nearest pin is only {likeness} alike, below {threshold}: this lab seems to hold nothing like it. "
    "Don't trust this answer."
)
UPLOAD_CALIBRATION = (
    "A picture whose nearest pin is less than {threshold} alike counts as unlike this lab. Measured on pictures that "
    "were held out: {alarms} of this lab's own ({inside}) count so by mistake, and {misses} of those from outside "
    "({outside}: photographs, noise, gradients, text) go unnoticed."
)
UPLOAD_NAME = "Picture {number}"

APART_LABEL = "Only boards where they disagree"
APART_CHOICE = "{overlap} of {k} in common · {choice}"
APART_FOUND = "{count} boards on which {left} and {right} share at most {most} of their first {k} (stored report)."
APART_NONE = "No board: {left} and {right} share more than {most} of {k} everywhere (stored report)."
APART_NO_ROWS = "The stored report holds no answers of both {left} and {right}, so it cannot say where they disagree."

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
SAVED_TIME = "{percent} time, {ms} in all"
SAVED_LINE = "{gflops} computation"
TOTALS_COUNTED = "{gflops} · {tokens} tokens · {images} images"
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
MAP_COLUMNS = ("Select", "Pin", "Source", "Biggest board", "Marked as", "Coloured as")
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
ABOUT_VERDICT_COLUMNS = ("Pair", "Recall@10", "Strict", "Cold", "Win / tie / loss")
ABOUT_FLAT = (
    "Plateau rule met by {name}: best validation Recall@10 {score} at step {step} of {steps}, flat over the last fifth."
)
ABOUT_NOT_FLAT = (
    "Plateau rule NOT met by {name}: best validation Recall@10 {score} at step {step} of {steps}, which is not "
    "shown to be all it can reach. More training may lift it, so every verdict about it is provisional."
)
ABOUT_ABLATIONS = "With a part missing"
ABOUT_ABLATIONS_NOTE = (
    "The same models without a part of what they read, not trained again, and a floor of words without any model."
)
ABOUT_ABLATIONS_COLUMNS = ("What is missing", "Recall@10", "Strict slice")
ABOUT_VERDICT_NOTE = (
    "Differences are over the same boards. The words follow from the interval, whichever way it falls. What the "
    "decision rests on was declared before the test saves were read: swapped against full. The rest is exploratory: "
    "its verdicts are corrected for being many."
)
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
    "why": WHY_TITLE,
    "whyLoading": WHY_LOADING,
    "act": {"search": ACT_SEARCH, "like": ACT_LIKE, "unlike": ACT_UNLIKE, "large": ACT_LARGE, "small": ACT_SMALL},
    "stale": SIDE_STALE,
    "asking": SIDE_ASKING,
    "untitled": UNTITLED,
    "upload": UPLOAD_NAME,
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

# ---------------------------------------------------------------- Scoreboard
TAB_SCOREBOARD = "Scoreboard"
SCORE_NO_REPORT = (
    "This lab has no evaluation report yet, so there is no verdict, no cost and no curve to show. Make one, then start "
    "the app again:"
)
SCORE_NO_REPORT_RUN = "The live run below works without a report: it asks the models now."
SCORE_BROKEN = "The report of this lab cannot be read: {message}"
SCORE_COMMAND = "python -m pinlab evaluate {lab}"
SCORE_VERDICT = "Verdict"
SCORE_SOURCE = (
    "From the report of {date}: {boards} boards in {clusters} groups of linked ones, {device}. Made with: {command}"
)
SCORE_TAGS = (
    ("measured", "read from a clock or from held-out saves"),
    ("counted", "exact for these shapes, not timed"),
    ("modelled", "computed from a measured number and a named assumption"),
)
SCORE_CLAIMS = "Three claims, three baselines"
SCORE_CLAIMS_COLUMNS = ("Claim", "Its baseline", "Here")
SCORE_VARIANT = "Model"
SCORE_TASKS = "Words and follow-ups"
SCORE_MODEL = "What the language model adds"
SCORE_PARETO = "Accuracy against cost"
SCORE_PARETO_CAPTION = (
    "Up is better, left is cheaper; the time axis is logarithmic. Bars are 95 % intervals on both axes. Filled and on "
    "the dotted line: no other model is both as good and as fast."
)
SCORE_PARETO_LABEL = "Recall@10 of each model against its time for one request; the table below has the same numbers"
SCORE_TABLE = "Every model in numbers"
SCORE_TABLE_COLUMNS = (
    ("Model", ""), ("Recall@10", "measured"), ("Strict slice", "measured"), ("Cold pins", "measured"),
    ("Time, p50", "measured"), ("Computation", "counted"), ("Tokens", "counted"), ("Images encoded", "counted"),
    ("Per 1,000 answers", "modelled"),
)  # fmt: skip
SCORE_TABLE_NOTE = (
    "Time, computation, tokens and images: one request of {pins} pins, warm, one at a time, n = {n}. Dollars: {price}. "
    "Brackets hold 95 % intervals."
)
SCORE_NO_PRICE = "no listed price for this machine; enter one below"
SCORE_GROWTH = "Growth with pins"
SCORE_GROWTH_CAPTION = "Time of one request (p50, measured) as it shows more pins. Both axes are logarithmic."
SCORE_GROWTH_LABEL = "Time of one request of each model against the number of pins in it, as in the table below"
SCORE_GROWTH_RECALL = "Recall@10 (measured) as a request shows more pins. Bars are 95 % intervals."
SCORE_GROWTH_RECALL_LABEL = "Recall@10 of each model against the number of pins in a request"
SCORE_GROWTH_TABLE = "The numbers behind both charts"
SCORE_GROWTH_CURVE = "Curve"
SCORE_GROWTH_ROW_MS, SCORE_GROWTH_ROW_RECALL = "{name}, time", "{name}, Recall@10"
SCORE_PINS = "{count} pins"
SCORE_SLICES = "Slices"
SCORE_SLICES_NOTE = "Recall@10 (measured) where the held-out pins, or the boards, are of one sort. Open one to see it."
SCORE_SLICE_COLUMNS = ("Boards", "Groups")
SCORE_SLICE = "{name}"
SCORE_MISSING = "{part}: not measured in this lab."
SCORE_BREAK_EVEN = "Break-even: when does computing pins in advance pay?"

# ---------------------------------------------------------------- Scoreboard: break-even and prices
EVEN_INTRO = (
    "swapped looks up what was computed before. That work is charged here, at the price, refresh and demand you "
    "choose. Every figure below is modelled from the report's measured times."
)
EVEN_PRICE, EVEN_PRICE_USD = "Listed price of a machine", "$ an hour"
EVEN_REFRESH, EVEN_REFRESH_INFO = "Refresh period, days", "How long a stored pin is used before it is computed again"
EVEN_READS = "Reads per pin and day, power of ten"
EVEN_READS_INFO = "−2 is one read in 100 days, 0 is one a day, 3 is 1,000 a day"
EVEN_SIZE, EVEN_SIZE_INFO = "Catalog size, power of ten", "3 is a thousand pins, 6 a million, 9 a billion"
EVEN_API = "A frontier model's API (optional)"
EVEN_API_NOTE = "PinLab lists no API's price. Enter one with its date and source to set it beside the others."
EVEN_API_BY = "Charged by"
EVEN_API_BY_CHOICES = {"image": "picture", "token": "million tokens"}
EVEN_API_USD, EVEN_API_TOKENS = "Price, $", "Tokens a picture"
EVEN_API_NAME, EVEN_API_SOURCE, EVEN_API_DATE = "Name of the API", "Source of the price", "Day of the price"
EVEN_CHOSEN = (
    "{pins} pins, each read {reads} times a day, computed again every {days} days: a stored pin is read "
    "{per_refresh} times before it is computed again. Price: {price}."
)
EVEN_ALWAYS = "{name}: swapped always costs less, computing its pins included."
EVEN_NEVER = "{name}: swapped never costs less, or something is not known."
EVEN_BELOW = "{name}: swapped costs less from {reads} reads per refresh on. Chosen: {chosen}, so it costs more here."
EVEN_ABOVE = "{name}: swapped costs less from {reads} reads per refresh on. Chosen: {chosen}, so it costs less here."
EVEN_COLUMNS = (
    ("Model", ""), ("Time, p50", "measured"), ("Per 1,000 answers", "modelled"),
    ("With computing in advance", "modelled"), ("A day", "modelled"), ("Machine hours a day", "modelled"),
    ("Stored", "counted"),
)  # fmt: skip
EVEN_TABLE = "Costs at these choices"
EVEN_API_ROW = "{name} (API, entered)"
EVEN_API_LINE = (
    "{name}, {asked} ({source}, {date}): 1,000 requests of {images} pictures cost {usd}, words not counted. "
    "swapped, computing in advance included, costs {percent} of that. An API's model is of another size: this compares "
    "bills, not models."
)
EVEN_ASKED_IMAGE, EVEN_ASKED_TOKEN = "${usd:g} a picture", "${usd:g} per million tokens at {tokens:g} tokens a picture"
EVEN_CAPTION = "Dollars per 1,000 answers with computing in advance charged (modelled), against reads per refresh."
EVEN_LABEL = "Modelled dollars per 1,000 answers of each model against reads of a pin between two refreshes"
EVEN_HERE = "your choice"
EVEN_OWN = "${usd:g} an hour, entered by you on {date}"
EVEN_LISTED = "${usd:g} an hour, {name} ({source}, {date})"
EVEN_DEFAULT_SOURCE, EVEN_DEFAULT_NAME = "entered on this page", "an API"
EVEN_BAD = "{name} must be a number from {low:g} to {high:g}."
EVEN_FIELDS = {"usd": EVEN_PRICE_USD, "days": EVEN_REFRESH, "reads": EVEN_READS, "size": EVEN_SIZE}
EVEN_NONE = "The report says nothing about computing in advance: not measured in this lab."
EVEN_STATUS = "At {per_refresh} reads per refresh, 1,000 answers of swapped cost {usd}, modelled."

# ---------------------------------------------------------------- Scoreboard: a run now
LIVE_TITLE = "Run it now"
LIVE_INTRO = (
    "Ask the chosen models about real boards of this lab, here, one after the other. The same statistics as in the "
    "report: paired over the same boards, intervals over groups of linked boards."
)
LIVE_VARIANTS, LIVE_BOARDS, LIVE_COUNT, LIVE_SEED = "Models", "Boards", "How many", "Seed"
LIVE_ALL, LIVE_KIND, LIVE_DIFFER = "all scored boards", "only kind: {kind}", "only where the chosen models differed"
LIVE_START, LIVE_STOP = "Run", "Stop"
LIVE_IDLE = "No run yet. It counts into nothing else on this page."
LIVE_WORKING = "{done} of {total} boards, seed {seed}: now “{title}”"
LIVE_DONE = "{n} boards, seed {seed}, {which}"
LIVE_STOPPED = "Stopped after {n} of {total} boards, seed {seed}, {which}"
LIVE_TWO = "Choose two or more models for a run."
LIVE_NO_BOARDS = "No scored board of this lab fits that choice."
LIVE_NO_ROWS = "Where models differed is read from the evaluation's rows, and this lab has none: {message}"
LIVE_UNKNOWN = "There is no such choice of boards."
LIVE_COLUMNS = (
    ("Model", ""), ("Recall@10", "measured"), ("Time, p50", "measured"), ("Computation", "counted"),
    ("Tokens", "counted"), ("Images encoded", "counted"),
)  # fmt: skip
LIVE_TABLE = "The models in this run"
LIVE_PAIRS = "Compared over the same boards"
LIVE_PAIRS_COLUMNS = (
    ("Pair", ""), ("Difference in Recall@10", "measured"), ("Win / tie / loss", "measured"), ("Verdict", ""),
)  # fmt: skip
LIVE_PAIR = "{a} less {b}"
LIVE_DRAWN = "Boards drawn at random: intervals say what a run over others like them would give."
LIVE_CHOSEN = (
    "These boards were chosen because the models differed on them. The figures describe them and are no estimate for "
    "others; a verdict would mislead, so none is given."
)
LIVE_NO_VERDICT = "not given: boards chosen by their outcome"
LIVE_FAILED = "{count} boards failed on one side and are left out."
LIVE_PROGRESS = "Progress of the run"
LIVE_MARGIN = "Not worse means: by no more than {margin:g} Recall@10."

# ---------------------------------------------------------------- What the swap cannot do
TAB_LIMITS, LIMITS_TITLE = "Limits", "What the swap cannot do"
LIMITS_INTRO = (
    "The swapped model never sees a pixel. These are its real failures in this lab: each figure is from the lab's "
    "report or its own data, and each button opens the Compare page with that example and both models' answers."
)
LIMITS_NONE = "Not measured in this lab."
LIMITS_NO_EXAMPLE = "No example to show: {why}"
LIMITS_NO_ROWS = "the evaluation's rows are not there."
LIMITS_BOARD = "Board “{title}”"
LIMITS_RECALL_NOTE = "full {full}, swapped {swapped}"
LIMITS_UNKNOWN = "There is no such example in this lab."
LIMITS = {
    "unseen": (
        "Pictures it has never seen",
        "A picture that is not in the table goes through the pin encoder first: a second model, run once and charged. "
        "The figures say how often a picture of this lab, uploaded alone, finds its own pin among ten hits.",
    ),
    "words_in_pictures": (
        "Text inside pictures",
        "One embedding for a whole picture has little room for what is written in it. A stand-in for a reading test: "
        "boards whose title names writing ({words}). And a picture of a word: what does a model make of it that "
        "cannot read?",
    ),
    "detail": (
        "Fine detail",
        "Boards on which full, which sees every picture, finds held-out pins that swapped misses. "
        "The examples are the report's worst boards for swapped.",
    ),
    "words_only": (
        "Words alone",
        "Without pins there is nothing to look up: the models are asked with the board's title only.",
    ),
    "strict": (
        "Where the boards give nothing away",
        "Held-out pins that no overlapping board contains. Words alone, with no model at all (TF-IDF over titles and "
        "descriptions), are set beside both models.",
    ),
    "stale": (
        "A table that is out of date",
        "When pictures change and their embeddings are not computed again, swapped answers for the old picture. full "
        "looks at the picture itself and is not touched.",
    ),
    "unlike": (
        "Uploads unlike anything in the lab",
        "swapped answers every upload, also one that nothing here is like. Below the threshold don't trust the answer. "
        "The threshold balances two errors, and both were measured on pictures that were held out.",
    ),
    "cold": (
        "New pins that nobody has saved",
        "Pins that were in no training and on no board. The graph of saves, which the embedding was taught, says "
        "nothing about them.",
    ),
}
LIMIT_UNCHANGED, LIMIT_RECOLOURED = "{name}: own picture", "{name}: recoloured"
LIMIT_TITLE_ASKED, LIMIT_PINS_ASKED = "{name}, asked with the title", "{name}, asked with pins"
LIMIT_RECALL, LIMIT_STRICT, LIMIT_COLD = "{name}, Recall@10", "{name}, strict Recall@10", "{name}, cold Recall@10"
LIMIT_FLOOR = "TF-IDF floor, strict Recall@10"
LIMIT_LOST, LIMIT_LOST_VALUE = "Boards where full is better", "{loss} of {boards}"
LIMIT_BOARDS_MEAN, LIMIT_BOARDS_NOTE = "{name}, Recall@10", "mean over {n} boards, no interval"
LIMIT_STALE, LIMIT_FRESH = "{share} of the pins out of date", "table up to date"
LIMIT_NEAREST, LIMIT_THRESHOLD = "{name}: its nearest pin", "Threshold"
LIMIT_ALARMS, LIMIT_ALARMS_NOTE = "False alarms", "{n} held-out pictures of this lab"
LIMIT_MISSES = "Not noticed"
LIMIT_MISSES_NOTE = "{n} held-out pictures from outside: photographs, noise, gradients, text"
LIMIT_UNLIKE_NOTE = "{name}: nearest pin only {alike} alike: don't trust this answer."
LIMIT_LIKE_NOTE = "{name}: nearest pin {alike} alike, which is above the threshold: similarity gives no warning here."
LIMIT_NOT_BEHIND = "On these boards swapped is not behind full: no failure of this kind was found in this lab."
LIMIT_STRANGE = {"noise": "Coloured noise", "stripes": "Fine stripes", "dark": "One dark colour"}
LIMIT_UNLIKE_WAIT = "Computed when this page is opened."
LIMIT_STALE_EXAMPLE = "this lab's table is up to date, so there is nothing wrong to ask it."
LIMIT_UPLOAD = "Upload “{title}”, recoloured"
LIMIT_WRITTEN = "Upload a picture of the word “{word}”"
LIMIT_STRANGE_UPLOAD = "Upload: {name}"
LIMIT_TITLE = "Ask for “{title}” in words"
WRITING = (
    "letter", "letters", "alphabet", "text", "word", "words", "font", "number", "numbers", "digit", "sign", "signs",
)  # fmt: skip


# ---------------------------------------------------------------- Models page

TAB_MODELS = "Models"
MODELS_HEADING = "Models in memory"
MODELS_DEVICE = "Device: {device}, {dtype}. Free now: {free}."
MODELS_COLUMNS = ("Model", "State", "Holds", "of it shared", "Would take")
MODELS_NOTE = (
    "Holds is weights, item vectors and stored visual tokens; what two models stand on together is held once and "
    "counted as shared. Would "
    "take is what loading needs on top of what is loaded. A model that is asked is loaded by itself."
)
MODELS_NOT_LOADED, MODELS_LOADED = "not loaded", "loaded"
MODELS_MODEL, MODELS_LOAD, MODELS_UNLOAD = "Model", "Load", "Unload"
MODELS_LEFT, MODELS_RIGHT = "Put on the left", "Put on the right"
MODELS_OUTSIDE = "A checkpoint from outside this lab"
MODELS_NONE_ALLOWED = (
    "This server offers none. Whoever starts it can: --checkpoints DIR offers the Qwen3-VL folders in DIR, and --hub "
    "allows ids of the Hugging Face Hub."
)
MODELS_ALLOWED = (
    "A released Qwen3-VL is loaded as it is. It never saw a board of this lab: what it recommends is what an "
    "off-the-shelf model gives. Every pin goes through it once: minutes on a GPU, far longer without one."
)
MODELS_FOLDER, MODELS_HUB_ID = "Folder", "Hub id, such as Qwen/Qwen3-VL-2B-Instruct"
MODELS_LOOK, MODELS_ADD = "Look into it", "Load it"
MODELS_LOOKED = "{name}: what it holds"
MODELS_PART_COLUMNS = ("Part", "Parameters", "As stored")
MODELS_NEEDS = (
    "It needs {needed} here for its weights; {free} are free. Then {pins} pictures of {side} px go through it, "
    "{tokens} visual tokens each."
)
MODELS_NO_HUB = "This server does not fetch from the Hub: choose a folder, or start it with --hub"
MODELS_BAD_ID = "A Hub id is owner/name, or owner/name@COMMIT"
MODELS_CHOOSE = "Choose one of the checkpoints that are offered here"
MODELS_CHOOSE_MODEL = "Choose a model first"
MODELS_LOADING, MODELS_READING = "Loading {name}", "getting its weights"
MODELS_PROGRESS = "{done} of {total} pins"
MODELS_DONE = "{name} is loaded, and can be put on either side."
MODELS_UNLOADED = "{name} is unloaded."
MODELS_FAILED = "{name} could not be loaded: {why}"
