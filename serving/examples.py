"""Requests in several languages for every endpoint: for the OpenAPI document, the page and demonstrations.

Written for this project; language codes are ISO 639-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXAMPLES: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "nli": {
        "en": {"premise": "The children are playing in the garden.", "hypothesis": "Nobody is outside."},
        "de": {"premise": "Der Zug ist heute pünktlich.", "hypothesis": "Der Zug hat Verspätung."},
        "sw": {"premise": "Mama anapika chakula jikoni.", "hypothesis": "Mama yuko jikoni."},
        "hi": {"premise": "वह हर दिन स्कूल जाती है।", "hypothesis": "वह कभी स्कूल नहीं जाती।"},
    },
    "paraphrase": {
        "en": {"sentence1": "The museum opens at nine.", "sentence2": "At nine the museum opens its doors."},
        "es": {"sentence1": "El libro es de Ana.", "sentence2": "El libro pertenece a Ana."},
        "zh": {"sentence1": "他昨天买了一辆车。", "sentence2": "昨天他买了车。"},
    },
    "pos": {
        "en": {"text": "She reads old books quickly."},
        "ru": {"text": "Мой брат живёт в большом городе."},
        "tr": {"tokens": ["Kedi", "masanın", "üstünde", "uyuyor", "."]},
        "zh": {"text": "我喜欢喝茶。"},
    },
    "ner": {
        "en": {"text": "Marie Curie worked in Paris."},
        "ru": {"text": "Анна живёт в Москве."},
        "hi": {"text": "गांधी का जन्म पोरबंदर में हुआ था।"},
    },
    "qa": {
        "en": {
            "question": "Where was the bridge built?",
            "context": "The bridge was built in Lisbon in 1966. It crosses the river Tagus.",
        },
        "es": {
            "question": "¿Cuándo se construyó el puente?",
            "context": "El puente se construyó en Lisboa en 1966. Cruza el río Tajo.",
        },
        "zh": {"question": "谁写了这本书？", "context": "这本书是李明在北京写的。"},
    },
    "choice": {
        "en": {
            "premise": "The glass fell off the table.",
            "question": "effect",
            "choices": ["It broke.", "It began to sing."],
        },
        "tr": {
            "premise": "Yol ıslaktı.",
            "question": "cause",
            "choices": ["Yağmur yağdı.", "Güneş parladı."],
        },
    },
    "embed": {
        "en": {"text": "Good morning, how are you?"},
        "sw": {"text": "Habari za asubuhi?"},
        "ru": {"text": "Доброе утро, как дела?"},
    },
    "align": {
        "en-de": {
            "source": ["The cat sleeps.", "It is raining today.", "We eat bread."],
            "target": ["Heute regnet es.", "Wir essen Brot.", "Die Katze schläft."],
        },
    },
}
