"""Which language is a text in? By script, and for Latin script by its most frequent words.

Enough to tell an answer in the wrong language from one in the right; not a linguist. Counting function words
goes back to Ingle 1976; no model, no download.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["LANGUAGES", "detect_language"]

_SCRIPTS = {
    "ja": "\u3040-\u30ff",
    "ko": "\uac00-\ud7af\u1100-\u11ff",
    "zh": "\u4e00-\u9fff\u3400-\u4dbf",
    "ru": "\u0400-\u04ff",
    "ar": "\u0600-\u06ff",
    "he": "\u0590-\u05ff",
    "el": "\u0370-\u03ff",
    "hi": "\u0900-\u097f",
    "bn": "\u0980-\u09ff",
    "ta": "\u0b80-\u0bff",
    "th": "\u0e00-\u0e7f",
}
_SPECIAL = {"ru": {"uk": "іїєґ"}, "ar": {"fa": "پچژگ", "ur": "ٹڈڑے"}}
"""Letters that tell another language from the main one of its script."""

_WORDS = {
    "da": "og at det som en et er på af for med ikke den til jeg vi har om var men kan så når fra hun blev",
    "de": "der die das und ist nicht ein eine zu den von mit sich auf für dem im es ich sie wir auch als wird",
    "en": "the of and to in is that it for was with as on be at by this are not have from or but you we they",
    "es": "el la los las de y que en un una es por con no para su se del al lo como más pero yo muy está",
    "fr": "le la les de des et est un une en que qui dans pour pas sur au ne ce il elle nous vous avec du je",
    "id": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga saya ke karena ada mereka kami",
    "it": "il la di che e un una è per non in con del della sono gli le si da come più ma io anche nel questo",
    "nl": "de het een en van is dat niet in op te zijn met voor er maar ik je wij ook aan als wordt was door",
    "pl": "i w na nie się z do to że jest jak o po co ale za od czy przez tego ten są dla tak jego był",
    "pt": "o a os as de que e do da em um uma para com não por se na no mais como mas eu foi ao é está",
    "sv": "och att det som en ett är på av för med inte den till jag vi har om var men kan så när från",
    "tr": "ve bir bu da de için ile çok ne daha gibi ama ben o var mi değil kadar sonra olarak en her olan",
}
_STOPWORDS = {language: frozenset(words.split()) for language, words in _WORDS.items()}

LANGUAGES = tuple(sorted({*_SCRIPTS, *_STOPWORDS, *(other for rare in _SPECIAL.values() for other in rare)}))
"""ISO 639-1 codes of the languages that can be told."""


def detect_language(text: str) -> str | None:
    """ISO 639-1 code of the language that most of a text is in; None where it cannot be told.

    >>> detect_language("Das ist ein kurzer Satz und nicht mehr."), detect_language("これは短い文です。")
    ('de', 'ja')
    """
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return None
    joined = "".join(letters)
    counts = {name: len(re.findall(f"[{span}]", joined)) for name, span in _SCRIPTS.items()}
    if counts["ja"] > 0.1 * len(letters):  # Japanese is written with Chinese characters too
        return "ja"
    script, most = max(counts.items(), key=lambda pair: pair[1])
    if most <= len(letters) / 2:
        return _by_words(text)
    rare = {
        other: sum(joined.lower().count(letter) for letter in signs)
        for other, signs in _SPECIAL.get(script, {}).items()
    }
    found, times = max(rare.items(), key=lambda pair: pair[1], default=("", 0))
    return found if times > 0.01 * most else script


def _by_words(text: str) -> str | None:
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    shares = {language: sum(words[word] for word in stop) for language, stop in _STOPWORDS.items()}
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    (best, most), (_, second) = ordered[0], ordered[1]
    return best if most > second and most >= 0.1 * words.total() else None
