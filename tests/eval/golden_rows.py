"""Rows in the form of the hub's, written by hand for the golden prompts: folder of local data -> split -> rows.

Where a set has rationales, one training row has none, so that it is passed over when they are asked for.
"""

from typing import Any

NLI: list[tuple[str, str, int, str]] = [
    ("A girl in a red coat feeds ducks by the pond.", "A child is near water.", 0, "A girl is a child.\nA pond is water."),
    ("Two men carry a sofa up the stairs.", "The men are brothers.", 1, "Nothing says how the men are related."),
    ("The museum is closed on Mondays.", "One can visit the museum every day.", 2, "Monday is a day on which it is closed."),
    ("A dog sleeps under the kitchen table.", "The dog is awake.", 2, "What sleeps is not awake."),
    ("The train to Lyon left at nine.", "A train went to Lyon.", 0, "It left for Lyon, so it went there."),
    ("An old man reads a newspaper in the park.", "He reads about sports.", 1, ""),
    ("Five cyclists wait at a red light.", "The cyclists have stopped.", 0, "Who waits has stopped!"),
    ("A woman sings on a small stage.", "She is famous.", 1, "Singers on small stages may be famous or not."),
    ("The soup is served cold in summer.", "The soup is always hot.", 2, "Cold soup is not hot."),
    ("Mr. Hall sold 3.5 tons of apples.", "Mr. Hall sold fruit.", 0, "Apples are fruit. Mr. Hall sold them."),
]
"""Premise, hypothesis, index of the label (entailment, neutral, contradiction), reason."""
ASKED: tuple[str, str, int, str] = (
    "Snow covers the roof of the barn.",
    "The roof is bare.",
    2,
    "A covered roof is not bare.",
)
WHO_FED_THEM = "Ana feeds the hens before school. Her brother Tom feeds them on Sundays only, when Ana visits her aunt."


def _choices(labels: str, *texts: str) -> dict[str, list[str]]:
    return {"label": list(labels), "text": list(texts)}


def _question(question: str, answer: str, choices: dict[str, list[str]], key: str = "question") -> dict[str, Any]:
    return {"id": question[:9], key: question, "choices": choices, "answerKey": answer}


def _esnli(premise: str, hypothesis: str, label: int, reason: str) -> dict[str, Any]:
    reasons = {"explanation_1": reason, "explanation_2": "", "explanation_3": ""}
    return {"premise": premise, "hypothesis": hypothesis, "label": label} | reasons


def _anli(premise: str, hypothesis: str, label: int, reason: str) -> dict[str, Any]:
    return {"uid": "0a", "premise": premise, "hypothesis": hypothesis, "label": label, "reason": reason}


def _rte(premise: str, hypothesis: str, label: int, reason: str) -> dict[str, Any]:
    return {"sentence1": premise, "sentence2": hypothesis, "label": min(label, 1), "idx": 0}


def _svamp(body: str, question: str, equation: str, answer: str) -> dict[str, Any]:
    return {"ID": "chal-0", "Body": body, "Question": question, "Equation": equation, "Answer": answer}


def _mawps(question: str, expression: str, result: str, chain: str) -> dict[str, Any]:
    return {"id": "mawps__0", "question": question, "chain": chain, "result": result, "expression": expression}


def _call(expression: str, result: str) -> str:
    return f'<gadget id="calculator">{expression}</gadget>\n<output>{result}</output>\n'


def _race(question: str, answer: str, *options: str) -> dict[str, Any]:
    return {
        "example_id": "high1.txt",
        "article": WHO_FED_THEM,
        "question": question,
        "options": list(options),
        "answer": answer,
    }


def _winogrande(sentence: str, option1: str, option2: str, answer: str) -> dict[str, Any]:
    return {"sentence": sentence, "option1": option1, "option2": option2, "answer": answer}


def _piqa(goal: str, sol1: str, sol2: str, label: int) -> dict[str, Any]:
    return {"goal": goal, "sol1": sol1, "sol2": sol2, "label": label}


def _siqa(context: str, question: str, label: str, *answers: str) -> dict[str, Any]:
    told = {"context": context, "question": question, "label": label}
    return told | {f"answer{letter}": answer for letter, answer in zip("ABC", answers, strict=True)}


def _boolq(passage: str, question: str, answer: bool) -> dict[str, Any]:
    return {"question": question, "answer": answer, "passage": passage}


def _wmt14(english: str, french: str) -> dict[str, Any]:
    return {"translation": {"fr": french, "en": english}}


def _review(text: str, label: int, column: str = "text") -> dict[str, Any]:
    return {column: text, "label": label}


def _hellaswag(activity: str, ctx_a: str, ctx_b: str, label: str, *endings: str) -> dict[str, Any]:
    ctx = f"{ctx_a} {ctx_b}".strip()
    return {
        "ind": 4,
        "activity_label": activity,
        "ctx_a": ctx_a,
        "ctx_b": ctx_b,
        "ctx": ctx,
        "endings": list(endings),
        "source_id": "activitynet~v_0",
        "split": "train",
        "split_type": "indomain",
        "label": label,
    }


SCIENCE = [
    _question("Which of these is a liquid at room temperature?", "B", _choices("ABCD", "iron", "water", "oxygen", "salt")),
    _question("What do plants take from the air?", "3", _choices("1234", "iron", "sand", "carbon dioxide", "light")),
    _question("Which season follows winter?", "A", _choices("ABC", "spring", "autumn", "summer")),
    _question("Which force pulls a dropped ball down?", "D", _choices("ABCD", "friction", "wind", "magnetism", "gravity")),
]

ROWS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "gsm8k": {
        "train": [
            {
                "question": "Lea has 3 boxes of 12 eggs. She uses 6 eggs. How many are left? ",
                "answer": "She has 3*12=<<3*12=36>>36 eggs.\nShe keeps 36-6=<<36-6=30>>30 of them.\n#### 30",
            },
            {"question": "What is twice 8?", "answer": "#### 16"},
            {
                "question": "A car costs $1,500 less than a van, and the van costs $4,000. What does the car cost?",
                "answer": "It costs $4,000 - $1,500 = $<<4000-1500=2500>>2,500.\n#### 2,500",
            },
            {
                "question": "Omar reads 20 pages a day. How many days does a book of 140 pages take?",
                "answer": "It takes 140 / 20 = <<140/20=7>>7 days.\n#### 7",
            },
        ],
        "test": [
            {
                "question": "Mia saves $4 a week. What has she after 9 weeks?",
                "answer": "She has 4*9=<<4*9=36>>36 dollars.\n#### 36",
            }
        ],
    },
    "svamp": {
        "train": [
            _svamp("Paul had 95 pens. He sold 38 of them ", "How many pens are left?", "( 95.0 - 38.0 )", "57"),
            _svamp("A room has 14 chairs.", "How many chairs are there?", "14.0", "14"),
            _svamp("Each of 6 bags holds 4 nuts, and 5 nuts lie beside them.", "How many?", "( ( 6.0 * 4.0 ) + 5.0 )", "29"),
            _svamp("There are 9 birds. 3 fly away!", "How many stay?", "( 9.0 - 3.0 )", "6"),
        ],
        "test": [_svamp("Nine men share 63 coins.", "How many does each get?", "( 63.0 / 9.0 )", "7")],
    },
    "mawps": {
        "train": [
            _mawps("Ann had 27 books and gave 6 away. How many has she?", "27 - 6", "21", _call("27 - 6", "21")),
            _mawps("A pole is 5 metres long. How long is it?", "5", "5", ""),
            _mawps("6,000 fans sit in 4 blocks. How many a block?", "6_000 / 4", "1_500", _call("6_000 / 4", "1_500")),
            _mawps("Of 5 cakes 3 are eaten. Which part?", "3 / 5", "0.6", _call("3 / 5", "3/5 = around 0.6")),
        ],
        "test": [
            _mawps(
                "Jim has 3 dimes, 2 more and 4 at home. How many?",
                "(3 + 2) + 4",
                "9",
                _call("3 + 2", "5") + _call("5 + 4", "9"),
            )
        ],
    },
    "esnli": {"train": [_esnli(*row) for row in NLI], "test": [_esnli(*ASKED)]},
    "anli_r1": {"train": [_anli(*row) for row in NLI], "test": [_anli(*ASKED)]},
    "anli_r2": {"train": [_anli(*row) for row in reversed(NLI)], "test": [_anli(*ASKED)]},
    "anli_r3": {"train": [_anli(*row) for row in [*NLI[5:], *NLI[:5]]], "test": [_anli(*ASKED)]},
    "rte": {"train": [_rte(*row) for row in NLI], "validation": [_rte(*ASKED)]},
    "commonsense_qa": {
        "train": [
            _question("Where does one keep milk cold?", "C", _choices("ABCDE", "oven", "shelf", "fridge", "car", "sink")),
            _question("What do you cut bread with?", "A", _choices("ABCDE", "knife", "fork", "cup", "hat", "pen")),
            _question("Who flies a plane?", "E", _choices("ABCDE", "cook", "nurse", "clerk", "singer", "pilot")),
            _question("What falls in winter?", "B", _choices("ABCDE", "rivers", "snow", "stones", "birds", "prices")),
        ],
        "validation": [
            _question("What is used to open a lock?", "D", _choices("ABCDE", "spoon", "rope", "soap", "key", "leaf")),
        ],
    },
    "cos_e": {
        "train": [
            {"id": "Where doe", "abstractive_explanation": "fridges keep things cold"},
            {"id": "Who flies", "abstractive_explanation": "flying planes is a pilot's work. "},
            {"id": "What fall", "abstractive_explanation": "it snows in winter"},
        ],
        "validation": [{"id": "What is u", "abstractive_explanation": "keys open locks"}],
    },
    "race": {
        "train": [
            _race("Who feeds the hens on Fridays?", "A", "Ana.", "Tom.", "Their aunt.", "Nobody."),
            _race("When does Tom feed the hens?", "D", "Daily.", "On Mondays.", "Never.", "On Sundays."),
            _race("Ana visits her aunt on   _  .", "B", "Friday", "Sunday", "Monday", "Tuesday"),
        ],
        "test": [
            _race("What does Ana do after feeding the hens?", "C", "She sleeps.", "She cooks.", "She learns.", "She sings.")
        ],
    },
    "winogrande": {
        "train": [
            _winogrande("The cup did not fit into the box because the _ was too small.", "cup", "box", "2"),
            _winogrande("Eva lent Ida her bike because _ had two.", "Eva", "Ida", "1"),
            _winogrande("The lamp stood on the desk until the _ broke under it.", "lamp", "desk", "2"),
        ],
        "validation": [_winogrande("Ben called Max after _ had sent him a letter.", "Ben", "Max", "2")],
    },
    "boolq": {
        "train": [
            _boolq("The river Oder rises in the east and flows north.", "does the oder flow north", True),
            _boolq("A square has four equal sides. ", "has a square five sides", False),
            _boolq("Whales breathe air through a blowhole.", "do whales breathe air", True),
        ],
        "validation": [_boolq("Glass is made of sand, soda and lime.", "is glass made of wood", False)],
    },
    "wmt14": {
        "train": [
            _wmt14("The session is open.", "La séance est ouverte."),
            _wmt14("We vote tomorrow at noon.", "Nous votons demain à midi."),
            _wmt14("I thank the rapporteur.", "Je remercie le rapporteur."),
        ],
        "test": [_wmt14("The door is closed.", "La porte est fermée.")],
    },
    "iwslt2017": {
        "train": [
            _wmt14("Thank you. Thank you very much.", "Merci. Merci beaucoup."),
            _wmt14("I grew up by the sea.", "J'ai grandi au bord de la mer."),
            _wmt14("And then it rained.", "Et puis il a plu."),
        ],
        "test": [_wmt14("We have a plan.", "Nous avons un plan.")],
    },
    "sst2": {
        "train": [
            _review("a film without an idea ", 0, "sentence"),
            _review("warm , wise and funny ", 1, "sentence"),
            _review("the jokes are older than the cast ", 0, "sentence"),
        ],
        "validation": [_review("one leaves the cinema happy . ", 1, "sentence")],
    },
    "imdb": {
        "train": [
            _review("I slept.<br /><br />So did my wife.", 0),
            _review("A long film, and too long.", 0),
            _review("We laughed <br />and cried.", 1),
            _review("See it twice!", 1),
        ],
        "test": [_review("The book was bad. The film is worse.", 0)],
    },
    "yelp_polarity": {
        "train": [
            _review("Great bread!\\n\\nFriendly people.", 1),
            _review("Waited an hour for a cold soup.", 0),
            _review("They lost my coat.\\nNever again.", 0),
        ],
        "test": [_review("The best cake in town.", 1)],
    },
    "rotten_tomatoes": {
        "train": [
            _review("a tender portrait of two brothers .", 1),
            _review("every scene is a small wonder", 1),
            _review("it has a title , and that is all .", 0),
        ],
        "test": [_review("loud , slow and empty .", 0)],
    },
    "hellaswag": {
        "train": [
            _hellaswag(
                "Washing dishes",
                "A man stands at a sink.",
                "he",
                "1",
                "flies off.",
                "rinses a plate.",
                "sings to it.",
                "eats soap.",
            ),
            _hellaswag(
                "Home",
                "[header] How to dry herbs [title] Pick them early. [step] Wait for the dew.",
                "",
                "0",
                "[substeps] Tie them.",
                "Water them.",
                "Burn them.",
                "Sell the house.",
            ),
            _hellaswag(
                "Skiing",
                "A woman puts her skis on.",
                "she",
                "3",
                "swims.",
                "reads a map of the sea.",
                "bakes.",
                "goes down the slope.",
            ),
        ],
        "validation": [
            _hellaswag(
                "Playing chess",
                "Two boys sit at a board.",
                "one of them",
                "2",
                "climbs a tree.",
                "milks a cow.",
                "moves a pawn.",
                "paints a wall.",
            ),
        ],
    },
    "piqa": {
        "train": [
            _piqa("To keep bread fresh,", "leave it in the rain.", "wrap it in a cloth.", 1),
            _piqa("How does one dry a wet shoe? ", "Fill it with newspaper.", "Fill it with milk.", 0),
            _piqa("Reach a high shelf", "Stand on a stool", "Stand on a plate", 0),
        ],
        "validation": [_piqa("Cool a cup of tea", "put it into the oven", "add some cold milk ", 1)],
    },
    "siqa": {
        "train": [
            _siqa("Kai lent Robin his coat.", "Why did Kai do this?", "3", "to be seen", "to be paid", "Robin was cold"),
            _siqa("Ida told a joke.", "How would the others feel?", "1", "amused", "hungry", "robbed"),
            _siqa("Sam missed the bus.", "What will Sam want to do next?", "2", "sell it", "walk", "board it"),
        ],
        "validation": [_siqa("Lea fed the cat of her aunt.", "How would you describe Lea?", "2", "idle", "helpful", "lost")],
    },
    "arc_easy": {"train": SCIENCE[:3], "test": SCIENCE[3:]},
    "arc_challenge": {"train": SCIENCE[1:], "test": SCIENCE[:1]},
    "openbookqa": {
        "train": [
            _question(
                "A mirror sends light", "B", _choices("ABCD", "down only", "back", "to sleep", "through it"), "question_stem"
            ),
            _question(
                "Frogs begin their lives as", "A", _choices("ABCD", "tadpoles", "birds", "fish", "worms"), "question_stem"
            ),
            _question("Ice that is heated", "C", _choices("ABCD", "burns", "grows", "melts", "sings"), "question_stem"),
        ],
        "test": [
            _question(
                "The moon shines because of the", "D", _choices("ABCD", "sea", "stars", "wind", "sun"), "question_stem"
            )
        ],
    },
}
