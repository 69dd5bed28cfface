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
QUERY_TEXT = "“{text}”"

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
    "centroid": "Nearest scores {score}: the cosine with the mean embedding of what was shown.",
    "saves": "Co-save scores {score}: shared boards, counted over the train saves. No picture and no word is read.",
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

FOLLOW_LABEL, FOLLOW_PLACEHOLDER = "Refine this answer", "such as: something warmer, for a child's room"
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
    "Nearest pin only {likeness} alike, below {floor}, which 95 % of this lab's own pictures reach: "
    "don't trust this answer."
)
UPLOAD_FLOOR = "95 % of this lab's own pictures reach {floor} with another pin. Reaching it proves nothing: noise can."
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
    "Distances across the map mean little; neighbourhoods do."
)
MAP_SPACE_LABEL, MAP_COLOUR_LABEL = "Vectors", "Colour by"
MAP_SPACES = {"pins": "Pin embeddings", "full": "Full model's item vectors", "both": "Both"}
MAP_COLOURS = {"source": "Source", "kind": "Kind of biggest board", "board": "Chosen board and its group"}
MAP_LOADING = "Drawing the map…"
MAP_NO_WEBGL = (
    "This browser shows no WebGL, which the map is drawn with. "
    "The table below holds the same pins and opens them in the same way."
)
MAP_LABEL = "Scatter map of all pins. The table below the map has the same pins for keyboards and screen readers."
MAP_TABLE = "The same pins as a table"
MAP_SEARCH = "Search titles"
MAP_COLUMNS = ("Pin", "Source", "Biggest board", "Marked as")
MAP_MARKS = {"query": "shown to the models", "held": "held out here", "left": "left answer", "right": "right answer"}
MAP_PAGE = "{from} to {to} of {total}"
MAP_NEXT, MAP_BACK = "Next", "Back"
MAP_NO_MATCH = "No title matches."
MAP_GROUPS = {"board": "in the chosen board", "group": "in a board linked to it", "rest": "all other pins"}
MAP_NO_BOARD = "no board"
MAP_PIN_EMPTY = "Click a point to see its picture, its boards and its nearest neighbours."
MAP_NEIGHBOURS = "Nearest neighbours by pin embedding"
MAP_NEIGHBOURS_FULL = "Nearest neighbours by full item vector"
MAP_NO_NEIGHBOURS = "No neighbours are stored for these vectors."

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
    "why": WHY_TITLE,
    "whyLoading": WHY_LOADING,
    "act": {"search": ACT_SEARCH, "like": ACT_LIKE, "unlike": ACT_UNLIKE, "large": ACT_LARGE, "small": ACT_SMALL},
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
    "noWebgl": MAP_NO_WEBGL,
    "mapLabel": MAP_LABEL,
    "table": MAP_TABLE,
    "search": MAP_SEARCH,
    "columns": MAP_COLUMNS,
    "marks": MAP_MARKS,
    "page": MAP_PAGE,
    "next": MAP_NEXT,
    "back": MAP_BACK,
    "noMatch": MAP_NO_MATCH,
    "groups": MAP_GROUPS,
    "tags": TAGS,
}
