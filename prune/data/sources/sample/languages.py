"""Generated text by language: mc4 (diaries) and wikipedia (articles on towns), in a few of their languages.

Small worlds of a few dozen words each: enough to tell the languages apart, and nothing of what the real sets hold.
"""

from dataclasses import dataclass
from random import Random

SampleRow = dict[str, object]

NUM_DOCUMENTS = {"train": 600, "validation": 200}
_DAYS_OF_DIARY = (10, 40)
_BUILDINGS = (4, 14)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Language:
    """Words, and the sentences that they are put into."""

    people: tuple[str, ...]
    days: tuple[str, ...]
    weather: tuple[str, ...]
    errands: tuple[str, ...]
    """What somebody did; follows the name."""
    entry: str
    """A day of a diary."""
    towns: tuple[str, ...]
    countries: tuple[str, ...]
    buildings: tuple[str, ...]
    fates: tuple[str, ...]
    """What a building is today."""
    town: str
    building: str
    blank: str = " "
    """Between two sentences."""


_LANGUAGES = {
    "de": _Language(
        people=("Anna", "Jonas", "Frieda", "Karl", "Lena", "Otto", "Ruth", "Emil"),
        days=("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
        weather=("sonnig", "kalt", "regnerisch", "windig", "neblig"),
        errands=(
            "ging auf den Markt und kaufte Obst", "lief zum Fluss und fing einen Fisch", "las in der Bücherei ein Buch",
            "traf am Bahnhof einen alten Freund", "fütterte im Park die Vögel", "schwamm im See", "backte ein Brot",
            "schrieb der Tante einen langen Brief",
        ),
        entry="Am {day} war es {weather}. {person} {errand}.",
        towns=("Steinfeld", "Buchheim", "Altbrück", "Neudorf", "Kirchsee", "Mühltal", "Waldau", "Rosenberg"),
        countries=("Norwegen", "Spanien", "Italien", "Kanada", "Polen", "Japan", "Kenia", "Griechenland"),
        buildings=("Die Brücke", "Der Turm", "Das Schloss", "Die Schule", "Das Theater", "Der Hafen", "Das Museum"),
        fates=(
            "Heute kommen viele Besucher", "Heute gehört das Gebäude der Stadt", "Heute wohnt dort eine Familie",
            "Heute ist das Gebäude nur im Sommer geöffnet",
        ),
        town="{town} ist eine Stadt in {country} und hat {number} Einwohner.",
        building="{building} von {town} wurde im Jahr {year} gebaut und ist {height} Meter hoch. {fate}.",
    ),
    "en": _Language(
        people=("Clara", "Simon", "Edith", "Hugo", "Flora", "Peter", "Alice", "Theo"),
        days=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        weather=("sunny", "cold", "rainy", "windy", "foggy"),
        errands=(
            "went to the market and bought some fruit", "walked to the river and caught a fish",
            "read a book in the library", "met an old friend at the station",
            "fed the birds in the park", "swam in the lake", "baked a loaf of bread",
            "wrote a long letter to an aunt",
        ),
        entry="On {day} it was {weather}. {person} {errand}.",
        towns=("Stonefield", "Beechham", "Oldbridge", "Newthorpe", "Lakechurch", "Millvale", "Woodsea", "Rosehill"),
        countries=("Norway", "Spain", "Italy", "Canada", "Poland", "Japan", "Kenya", "Greece"),
        buildings=("The bridge", "The tower", "The castle", "The school", "The theatre", "The harbour", "The museum"),
        fates=(
            "Today many visitors come", "Today the building belongs to the town", "Today a family lives there",
            "Today the building is open in summer only",
        ),
        town="{town} is a town in {country} and has {number} inhabitants.",
        building="{building} of {town} was built in the year {year} and is {height} metres high. {fate}.",
    ),
    "es": _Language(
        people=("Lucía", "Pablo", "Carmen", "Diego", "Inés", "Mateo", "Elena", "Tomás"),
        days=("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
        weather=("sol", "frío", "calor", "viento", "buen tiempo"),
        errands=(
            "fue al mercado y compró fruta", "bajó al río y pescó un pez", "leyó un libro en la biblioteca",
            "encontró a un viejo amigo en la estación", "dio de comer a los pájaros del parque", "nadó en el lago",
            "hizo pan en casa", "escribió una larga carta a su tía",
        ),
        entry="El {day} hizo {weather}. {person} {errand}.",
        towns=("Piedraclara", "Hayedo", "Puenteviejo", "Villanueva", "Lagoalto", "Valmolino", "Bosquemar", "Montesol"),
        countries=("Noruega", "España", "Italia", "Canadá", "Polonia", "Japón", "Kenia", "Grecia"),
        buildings=("El puente", "La torre", "El castillo", "La escuela", "El teatro", "El puerto", "El museo"),
        fates=(
            "Hoy recibe a muchos visitantes", "Hoy pertenece a la ciudad", "Hoy vive allí una familia",
            "Hoy abre solamente en verano",
        ),
        town="{town} es una ciudad de {country} y tiene {number} habitantes.",
        building="{building} de {town} se construyó en el año {year} y mide {height} metros de altura. {fate}.",
    ),
    "zh": _Language(
        people=("小明", "丽华", "志强", "美玲", "建国", "秀英", "文杰", "玉兰"),
        days=("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
        weather=("晴朗", "寒冷", "多雨", "有风", "有雾"),
        errands=(
            "去市场买了水果", "在河边钓到一条鱼", "在图书馆看了一本书", "在车站遇见了一位老朋友", "在公园里喂鸟",
            "在湖里游泳", "在家里做了面包", "给姑姑写了一封长信",
        ),
        entry="{day}天气{weather}，{person}{errand}。",
        towns=("石田", "林家镇", "老桥", "新村", "湖口", "水磨", "海林", "玫瑰山"),
        countries=("挪威", "西班牙", "意大利", "加拿大", "波兰", "日本", "肯尼亚", "希腊"),
        buildings=("大桥", "古塔", "城堡", "学校", "剧院", "港口", "博物馆"),
        fates=("如今有许多游客来参观", "如今这座建筑属于全城", "如今有一家人住在那里", "如今这里只在夏天开放"),
        town="{town}是{country}的一座城市，有{number}名居民。",
        building="{town}的{building}建于{year}年，高{height}米。{fate}。",
        blank="",
    ),
}  # fmt: skip

LANGUAGES = tuple(_LANGUAGES)
TEXTS_BY_LANGUAGE = tuple(f"{name}_{language}" for name in ("mc4", "wikipedia") for language in LANGUAGES)


def draw_by_language(name: str, split: str) -> list[SampleRow]:
    """Return the rows of one split of a set in one language, as ``mc4_de``."""
    of, _, code = name.partition("_")
    rng, language = Random(f"{name}/{split}"), _LANGUAGES[code]
    draw = _diary if of == "mc4" else _article
    return [draw(rng, language, number) for number in range(NUM_DOCUMENTS[split])]


def _diary(rng: Random, language: _Language, number: int) -> SampleRow:
    person = rng.choice(language.people)
    entries = [
        language.entry.format(
            day=rng.choice(language.days),
            weather=rng.choice(language.weather),
            person=person,
            errand=rng.choice(language.errands),
        )
        for _ in range(rng.randint(*_DAYS_OF_DIARY))
    ]
    return {"text": language.blank.join(entries), "timestamp": "2020-01-01T00:00:00Z", "url": f"sample:{number}"}


def _article(rng: Random, language: _Language, number: int) -> SampleRow:
    town = rng.choice(language.towns)
    head = language.town.format(town=town, country=rng.choice(language.countries), number=rng.randint(900, 90_000))
    told = [
        language.building.format(
            town=town,
            building=rng.choice(language.buildings),
            year=rng.randint(1200, 1990),
            height=rng.randint(8, 90),
            fate=rng.choice(language.fates),
        )
        for _ in range(rng.randint(*_BUILDINGS))
    ]
    return {"id": str(number), "url": f"sample:{number}", "title": town, "text": language.blank.join([head, *told])}
