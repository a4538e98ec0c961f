"""Tokens per occurrence of each text feature, by vocabulary: a table, fitted, not written.

Fitted by least relative error on 1,259 texts of 3-4 kB (prose, code, JSON, logs, tables, manuals, 90 languages) whose
counts an offline reconstruction of Claude's tokenizers gave. `tests/bench/fit_weights.py` fits it anew; scripts without
a sample have the default 1.2. Negative weights belong to features that overlap others: a run of three digits has been
counted three times as digits.
"""

VOCABULARIES = ("v3", "v4.7")

# feature: (v3: Claude 3 to Opus 4.6 and Haiku 4.5, v4.7: Opus 4.7 and later)
WEIGHTS: dict[str, tuple[float, float]] = {
    "small": (0.160, 0.267),
    "capitals": (0.342, 0.822),
    "digits": (1.044, 1.071),
    "signs": (0.494, 0.659),
    "line_ends": (0.831, 0.451),
    "tabs": (1.043, 1.008),
    "blanks": (0.315, 0.313),
    "digit_triples": (-1.998, -2.069),
    "small_eights": (0.519, 1.053),
    "sign_fours": (-0.955, -0.330),
    "indents": (-1.913, -1.816),
    "signs_before_words": (0.427, 0.205),
    "words": (0.418, 0.437),
    "function_words": (-2.650, -3.875),
    "tion": (-1.534, -1.344),
    "backslashes": (1.264, 1.053),
    "latin1_signs": (0.300, 0.300),
    "latin1": (0.965, 0.886),
    "latin_extended": (1.705, 1.870),
    "phonetic_and_marks": (0.622, 0.300),
    "greek": (0.730, 0.741),
    "cyrillic": (0.408, 0.423),
    "cyrillic_extended": (3.654, 3.655),
    "armenian": (0.701, 0.705),
    "hebrew": (0.838, 0.848),
    "arabic": (0.753, 0.761),
    "arabic_extended": (1.168, 1.033),
    "punctuation_and_symbols": (1.135, 1.931),
    "kana": (0.779, 0.782),
    "han": (1.245, 1.269),
    "hangul": (1.360, 1.367),
    "private_and_wide": (0.300, 0.300),
    "emoji": (2.890, 2.713),
    "devanagari": (0.845, 0.852),
    "bengali": (1.029, 1.036),
    "gurmukhi": (2.472, 2.477),
    "gujarati": (1.070, 1.082),
    "oriya": (1.842, 1.849),
    "tamil": (0.939, 0.945),
    "telugu": (0.976, 0.980),
    "kannada": (2.010, 2.017),
    "malayalam": (1.270, 1.246),
    "sinhala": (1.094, 1.087),
    "thai": (0.986, 0.995),
    "lao": (1.200, 1.200),
    "tibetan": (1.387, 1.398),
    "myanmar": (1.187, 1.192),
    "georgian": (0.764, 0.773),
    "ethiopic": (1.200, 1.200),
    "khmer": (1.258, 1.151),
    "vietnamese": (0.847, 0.605),
    "other": (2.000, 2.000),
}
