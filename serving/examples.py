"""Requests in several languages for every endpoint: for the OpenAPI document, the page and demonstrations.

Written for this project; language codes are ISO 639-1, a pair of them for two lists of sentences. In the eight
languages of the micro world most examples use its words, so that the models of `make quickstart` can answer them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What a language is called, by its code.
LANGUAGES: Mapping[str, str] = {
    "ar": "Arabic",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "he": "Hebrew",
    "hi": "Hindi",
    "ja": "Japanese",
    "ru": "Russian",
    "sw": "Swahili",
    "th": "Thai",
    "tr": "Turkish",
    "zh": "Chinese",
}

EXAMPLES: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "nli": {
        "en": {"premise": "Julia buys apples in Paris every morning.", "hypothesis": "Julia buys fruit."},
        "de": {"premise": "Peter verkauft jeden Tag Hüte in Berlin.", "hypothesis": "Peter verkauft nie Hüte."},
        "es": {"premise": "María come naranjas en Madrid.", "hypothesis": "María come fruta en Madrid."},
        "ru": {"premise": "Иван каждый вечер пьёт чай в Москве.", "hypothesis": "Иван никогда не пьёт чай."},
        "sw": {"premise": "Anna anapika viazi mjini Nairobi.", "hypothesis": "Peter anauza kofia mjini Nairobi."},
        "tr": {"premise": "Elena her sabah İstanbul'da kahve içer.", "hypothesis": "Elena kahve içer."},
        "zh": {"premise": "安娜每天在北京喝茶。", "hypothesis": "安娜从不喝茶。"},
        "hi": {"premise": "वेरा दिल्ली में आम ख़रीदती है।", "hypothesis": "वेरा दिल्ली में फल ख़रीदती है।"},
        "ar": {"premise": "يلعب الأطفال في الحديقة.", "hypothesis": "لا أحد في الخارج."},
        "he": {"premise": "הרכבת לחיפה יצאה הבוקר.", "hypothesis": "הרכבת עדיין בתחנה."},
        "th": {"premise": "เธอไปโรงเรียนทุกวัน", "hypothesis": "เธอไม่เคยไปโรงเรียน"},
    },
    "paraphrase": {
        "en": {"sentence1": "The museum opens at nine.", "sentence2": "At nine the museum opens its doors."},
        "de": {"sentence1": "Leo repariert jede Nacht Mäntel.", "sentence2": "Jede Nacht repariert Leo Mäntel."},
        "es": {"sentence1": "El libro es de Ana.", "sentence2": "El libro pertenece a Ana."},
        "ru": {"sentence1": "Мой брат купил машину.", "sentence2": "Мой брат продал машину."},
        "sw": {"sentence1": "Mama anapika chakula jikoni.", "sentence2": "Jikoni mama anapika chakula."},
        "tr": {"sentence1": "Kitabı masanın üstüne koydu.", "sentence2": "Kitap masanın altında."},
        "zh": {"sentence1": "他昨天买了一辆车。", "sentence2": "昨天他买了车。"},
        "hi": {"sentence1": "वह हर दिन स्कूल जाती है।", "sentence2": "वह रोज़ स्कूल जाती है।"},
        "ja": {"sentence1": "電車は九時に出ます。", "sentence2": "九時に電車が出発します。"},
        "ar": {"sentence1": "سافر أحمد من القاهرة إلى دبي.", "sentence2": "سافر أحمد من دبي إلى القاهرة."},
        "th": {"sentence1": "ร้านนี้เปิดตอนเช้า", "sentence2": "ตอนเช้าร้านนี้เปิด"},
    },
    "pos": {
        "en": {"text": "Victor never shows sofas in Istanbul."},
        "de": {"text": "In Moskau stiehlt Elena jeden Winter Sägen."},
        "es": {"text": "Óscar come naranjas en Madrid cada mañana."},
        "ru": {"text": "Виктор никогда не показывает диваны в Москве."},
        "sw": {"text": "Anna anapika viazi mjini Nairobi kila siku."},
        "tr": {"tokens": ["Elena", "her", "sabah", "İstanbul'da", "kahve", "içer", "."]},
        "zh": {"text": "在北京安娜每天喝茶。"},
        "hi": {"text": "मारिया हर सुबह दिल्ली में चाय पीती है।"},
        "ar": {"text": "تقرأ البنت كتابًا قديمًا في المكتبة."},
        "he": {"text": "הילדה קוראת ספר ישן בספרייה."},
        "th": {"text": "แมวนอนอยู่บนโต๊ะเก่า"},
    },
    "ner": {
        "en": {"text": "Marie Curie was born in Warsaw and worked at the University of Paris."},
        "de": {"text": "Am Montag reiste Angela Merkel von Berlin nach Brüssel."},
        "es": {"text": "Gabriel García Márquez nació en Aracataca, Colombia."},
        "ru": {"text": "Анна Ахматова родилась в Одессе и жила в Петербурге."},
        "sw": {"text": "Wangari Maathai alizaliwa Nyeri, Kenya."},
        "tr": {"text": "Orhan Pamuk İstanbul'da doğdu."},
        "zh": {"text": "鲁迅出生在绍兴，后来在北京大学教书。"},
        "hi": {"text": "महात्मा गांधी का जन्म पोरबंदर में हुआ था।"},
        "ar": {"text": "وُلد نجيب محفوظ في القاهرة ودرس في جامعة القاهرة."},
        "he": {"text": "עמוס עוז נולד בירושלים ולימד באוניברסיטת בן־גוריון."},
        "th": {"text": "สุนทรภู่เกิดที่กรุงเทพมหานคร"},
    },
    "qa": {
        "en": {
            "question": "Who buys tea in Cairo?",
            "context": "In Istanbul Laura sells apples every year. Every evening Martin buys tea in Cairo.",
        },
        "de": {
            "question": "Was wählt Oskar in Paris?",
            "context": "Jede Woche isst Clara Mangos in Kairo. In Paris wählt Oskar jeden Sommer Schränke.",
        },
        "es": {
            "question": "¿Quién come naranjas en Madrid?",
            "context": "En Estambul Laura vende manzanas cada año. María come naranjas en Madrid cada mañana.",
        },
        "ru": {
            "question": "Кто пьёт чай в Москве?",
            "context": "Клара каждую неделю ест манго в Каире. В Москве Иван каждый вечер пьёт чай.",
        },
        "sw": {
            "question": "Nani anapika viazi mjini Nairobi?",
            "context": "Mjini Nairobi Anna anapika viazi kila siku. Max anaonyesha viatu mjini Roma.",
        },
        "tr": {
            "question": "Paris'te Oscar ne seçer?",
            "context": "Her hafta Clara Kahire'de mango yer. Paris'te Oscar her yaz dolap seçer.",
        },
        "zh": {
            "question": "谁在北京喝茶？",
            "context": "每个星期克拉拉在开罗吃芒果。安娜每天在北京喝茶。",
        },
        "hi": {
            "question": "दिल्ली में कौन चाय पीता है?",
            "context": "मैक्स हर शाम रोम में जूते दिखाता है। मारिया हर सुबह दिल्ली में चाय पीती है।",
        },
        "ar": {
            "question": "أين بُني الجسر؟",
            "context": "بُني الجسر في لشبونة عام 1966، وهو يعبر نهر تاجة ويربط المدينة بضفته الجنوبية.",
        },
        "he": {
            "question": "מתי נבנה הגשר?",
            "context": "הגשר נבנה בליסבון בשנת 1966. הוא חוצה את נהר הטז'ו.",
        },
        "th": {
            "question": "สะพานสร้างที่ไหน",
            "context": "สะพานนี้สร้างที่ลิสบอนในปี 1966 และข้ามแม่น้ำเทกัส",
        },
    },
    "choice": {
        "en": {
            "premise": "Thomas sleeps.",
            "question": "cause",
            "choices": ["Thomas is tired.", "Thomas is thirsty."],
        },
        "de": {
            "premise": "Vera flieht.",
            "question": "cause",
            "choices": ["Vera ist krank.", "Vera hat Angst."],
        },
        "es": {
            "premise": "Olga tiene hambre.",
            "question": "effect",
            "choices": ["Olga come pan.", "Olga gana medallas."],
        },
        "ru": {
            "premise": "Петер работает.",
            "question": "effect",
            "choices": ["Петер носит перчатки.", "Петер зарабатывает деньги."],
        },
        "sw": {
            "premise": "Robert anavunja sheria.",
            "question": "effect",
            "choices": ["Robert analipa faini.", "Robert anakimbia."],
        },
        "tr": {
            "premise": "Max korkuyor.",
            "question": "effect",
            "choices": ["Max kaçıyor.", "Max bağırıyor."],
        },
        "zh": {
            "premise": "彼得很冷。",
            "question": "effect",
            "choices": ["彼得戴手套。", "彼得赚钱。", "彼得吃面包。"],
        },
        "hi": {
            "premise": "ओल्गा भूखी है।",
            "question": "effect",
            "choices": ["ओल्गा रोटी खाती है।", "ओल्गा पदक जीतती है।"],
        },
        "ar": {
            "premise": "سقط الكوب من الطاولة.",
            "question": "effect",
            "choices": ["انكسر الكوب.", "بدأ الكوب يغني."],
        },
        "he": {
            "premise": "הכביש היה רטוב.",
            "question": "cause",
            "choices": ["ירד גשם.", "השמש זרחה."],
        },
        "th": {
            "premise": "ถนนเปียก",
            "question": "cause",
            "choices": ["ฝนตก", "แดดออก"],
        },
    },
    # Of any three neighbours, the last and the first being neighbours too, two say the same.
    "embed": {
        "en": {"text": "Anna drinks tea in Beijing every day."},
        "zh": {"text": "安娜每天在北京喝茶。"},
        "de": {"text": "Peter verkauft Hüte in Berlin."},
        "es": {"text": "Anna bebe té en Pekín cada día."},
        "hi": {"text": "अन्ना हर दिन बीजिंग में चाय पीती है।"},
        "ru": {"text": "Петер продаёт шляпы в Берлине."},
        "sw": {"text": "Anna anakunywa chai mjini Beijing kila siku."},
        "tr": {"text": "Anna her gün Pekin'de çay içer."},
        "ar": {"text": "يبيع بيتر القبعات في برلين."},
        "he": {"text": "אנה שותה תה בבייג'ינג בכל יום."},
        "th": {"text": "แอนนาดื่มชาที่ปักกิ่งทุกวัน"},
        "ja": {"text": "ピーターはベルリンで帽子を売っています。"},
    },
    "align": {
        "en-de": {
            "source": ["Leo sends hats in Nairobi.", "Maria buys tea in Berlin.", "In Paris Oscar eats onions."],
            "target": ["Maria kauft Tee in Berlin.", "In Paris isst Oskar Zwiebeln.", "Leo schickt Hüte in Nairobi."],
        },
        "en-zh": {
            "source": ["Leo sends hats in Nairobi.", "Anna drinks tea in Beijing.", "Julia sells apples in Rome."],
            "target": ["朱莉娅在罗马卖苹果。", "里奥在内罗毕寄送帽子。", "安娜在北京喝茶。"],
        },
        "es-ru": {
            "source": ["María come naranjas en Madrid.", "Óscar bebe agua en Roma.", "Eva vende sombreros en Berlín."],
            "target": ["Оскар пьёт воду в Риме.", "Ева продаёт шляпы в Берлине.", "Мария ест апельсины в Мадриде."],
        },
        "hi-en": {
            "source": ["मारिया दिल्ली में चाय पीती है।", "क्लारा लंदन में संतरे जुटाती है।", "पीटर पेरिस में फल बेचता है।"],
            "target": [
                "Clara collects oranges in London.",
                "Peter sells fruit in Paris.",
                "Maria drinks tea in Delhi.",
            ],
        },
        "tr-sw": {
            "source": ["Elena Roma'da kahve içer.", "Peter Paris'te meyve satar.", "Anna Nairobi'de patates pişirir."],
            "target": [
                "Anna anapika viazi mjini Nairobi.",
                "Elena anakunywa kahawa mjini Roma.",
                "Peter anauza matunda mjini Paris.",
            ],
        },
        "ar-en": {
            "source": ["القطة تنام.", "إنها تمطر اليوم.", "نحن نأكل الخبز."],
            "target": ["It is raining today.", "We eat bread.", "The cat sleeps."],
        },
        "he-el": {
            "source": ["אני קורא ספר.", "הרכבת מאחרת.", "השמש זורחת."],
            "target": ["Ο ήλιος λάμπει.", "Διαβάζω ένα βιβλίο.", "Το τρένο έχει καθυστέρηση."],
        },
        "th-ja": {
            "source": ["แมวนอนอยู่", "วันนี้ฝนตก", "ฉันดื่มน้ำ"],
            "target": ["今日は雨が降っています。", "私は水を飲みます。", "猫が寝ています。"],
        },
    },
}
