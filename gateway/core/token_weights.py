"""Tokens per occurrence of each text feature, by vocabulary: a table, fitted, not written.

Fitted by least relative error on 1,469 texts of 1-4 kB (prose, code, JSON, logs, tables, manuals, 90 languages) whose
counts an offline reconstruction of Claude's tokenizers gave. `tests/bench/fit_weights.py` fits it anew; scripts without
a sample have the default 1.2. Negative weights belong to features that overlap others: a run of three digits has been
counted three times as digits.
"""

VOCABULARIES = ("v3", "v4.7")

# feature: (v3: Claude 3 to Opus 4.6 and Haiku 4.5, v4.7: Opus 4.7 and later)
WEIGHTS: dict[str, tuple[float, float]] = {
    "small": (0.145, 0.241),
    "capitals": (0.412, 0.854),
    "digits": (1.008, 0.983),
    "signs": (0.507, 0.709),
    "line_ends": (0.982, 0.605),
    "tabs": (0.793, 0.750),
    "blanks": (0.281, 0.271),
    "digit_triples": (-1.893, -1.795),
    "small_eights": (0.326, 0.776),
    "sign_fours": (-0.967, -0.426),
    "indents": (-1.667, -1.510),
    "signs_before_words": (0.475, 0.227),
    "words": (0.466, 0.553),
    "function_words": (-1.762, -2.721),
    "tion": (-1.695, -1.660),
    "backslashes": (1.224, 1.057),
    "latin1_signs": (0.300, 0.300),
    "latin1": (0.892, 0.716),
    "latin_extended": (1.611, 1.828),
    "phonetic_and_marks": (0.882, 0.624),
    "greek": (0.727, 0.734),
    "cyrillic": (0.393, 0.406),
    "cyrillic_extended": (3.768, 3.800),
    "armenian": (0.699, 0.704),
    "hebrew": (0.840, 0.856),
    "arabic": (0.752, 0.760),
    "arabic_extended": (0.877, 0.866),
    "punctuation_and_symbols": (0.300, 0.300),
    "kana": (0.757, 0.766),
    "han": (1.211, 1.227),
    "hangul": (1.337, 1.341),
    "private_and_wide": (0.300, 0.300),
    "emoji": (3.055, 3.043),
    "devanagari": (0.855, 0.862),
    "bengali": (1.029, 1.036),
    "gurmukhi": (2.473, 2.481),
    "gujarati": (1.069, 1.082),
    "oriya": (1.841, 1.848),
    "tamil": (0.936, 0.942),
    "telugu": (0.980, 0.989),
    "kannada": (2.010, 2.019),
    "malayalam": (1.301, 1.308),
    "sinhala": (1.107, 1.114),
    "thai": (0.980, 0.988),
    "lao": (1.200, 1.200),
    "tibetan": (1.385, 1.396),
    "myanmar": (1.188, 1.197),
    "georgian": (0.758, 0.765),
    "ethiopic": (1.200, 1.200),
    "khmer": (1.378, 1.390),
    "vietnamese": (0.526, 0.300),
    "other": (2.000, 2.000),
}
