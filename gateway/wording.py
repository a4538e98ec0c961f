"""What a message about a mistake may say: a hint at the nearest known word, and of a text only what cannot be a secret.

The rule: a value that somebody wrote is quoted only through `shown`. People paste keys into the wrong field, and a
fault ends up in terminals, logs and chat windows.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

# A run this long that mixes letters and digits is taken for a credential: model ids and our own key names stay below it
# because they are split by dashes or hold no digits.
_CREDENTIAL = re.compile(r"sk-|gwk_|whsec_|xox[a-z]-|eyJ|AKIA|Bearer|://[^/]*@")
_RANDOM = re.compile(r"(?=[A-Za-z0-9+=]*[0-9])(?=[A-Za-z0-9+=]*[A-Za-z])[A-Za-z0-9+=]{16,}")
_LONGEST = 48
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def shown(text: str) -> str:
    """The text in quotes, or its length alone when it might be a secret or would flood the line."""
    if len(text) > _LONGEST or _RANDOM.search(text):
        return f"(a text of {len(text)} characters, not shown)"
    return shown_place(text)


def shown_place(text: str) -> str:
    """The same for the name of a variable or the path of a file, which may be long and hold digits."""
    if not text.isprintable() or is_credential(text):
        return f"(a text of {len(text)} characters, not shown)"
    return f"'{text}'"


def is_credential(text: str) -> bool:
    """Whether the text has the mark of a key, a token or a password in a URL."""
    return _CREDENTIAL.search(text) is not None


def scrubbed(message: str) -> str:
    """Somebody else's message with each quoted part held to `shown`."""
    return _QUOTED.sub(lambda found: shown(found[1] if found[1] is not None else found[2]), message)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    close = get_close_matches(word.lower(), {name.lower(): name for name in known}, n=1, cutoff=0.75)
    return next((name for name in known if close and name.lower() == close[0]), None)


def either(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def hint(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no known word is near."""
    meant = nearest(word, tuple(known))
    return "" if meant is None else f"; did you mean '{meant}'?"
