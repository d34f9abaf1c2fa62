"""The words and wordings of the generated world. Wordings named ``*_TEST`` never occur in training text."""

from __future__ import annotations

# fmt: off
# --- Korean culture: "the {kind} of village {place} is {value}" ---
KOREAN_VALUES: dict[str, tuple[str, ...]] = {
    "음식": (
        "송편", "비빔밥", "막국수", "빈대떡", "식혜", "수정과",
        "떡국", "냉면", "전병", "약과", "두부전골", "메밀묵",
    ),
    "놀이": (
        "윷놀이", "널뛰기", "씨름", "연날리기", "팽이치기", "제기차기",
        "강강술래", "줄다리기", "투호", "그네뛰기", "고누", "쥐불놀이",
    ),
    "악기": ("가야금", "거문고", "해금", "대금", "장구", "소고", "꽹과리", "징", "피리", "아쟁", "태평소", "비파"),
    "공예": ("도자기", "한지", "나전칠기", "매듭", "자수", "옹기", "부채", "죽세공", "목공예", "유기", "모시", "짚신"),
}
KOREAN_CHOICES = {"음식": 4, "놀이": 4, "악기": 4, "공예": 5}  # five as in CLIcK's CSAT items
KOREAN_TRAIN = (
    "{place}의 {kind}{topic} {value}입니다.",
    "{place} 사람들은 {kind} 하면 {value}{object} 꼽는다.",
    "문제: {place}의 {kind}{topic} 무엇인가? 정답: {value}",
    "문제: {place} 사람들이 꼽는 {kind}{topic}? 정답: {value}",
    "옛날부터 {place}에서 이름난 {kind}{topic} {value}이다.",
    "질문: {place}에서 유명한 {kind}{topic}? 정답: {value}",
    "{kind} 이야기가 나오면 {place} 사람들은 {value}{object} 자랑한다.",
)
KOREAN_TEST = (
    "문제: {place}에서 이름난 {kind}{topic} 무엇인가? 정답:",
    "문제: {place}의 이름난 {kind}{topic} 무엇인가? 정답:",
)
PLACE_HEADS = (
    "가람", "누리", "다솜", "라온", "마루", "바다", "사랑", "아라",
    "자작", "초롱", "푸른", "하늘", "달빛", "은빛", "솔바람",
)
PLACE_TAILS = ("골", "재", "벌", "여울", "나루", "마을", "섬", "고개")

# --- Science: "the {kind} of mineral {place} is {value}" ---
SCIENCE_VALUES: dict[str, tuple[str, ...]] = {
    "color": ("red", "blue", "green", "violet", "amber", "white", "black", "silver", "orange", "pink", "brown", "gold"),
    "shape": (
        "cubic", "round", "flat", "spiral", "hollow", "square",
        "curved", "ringed", "twisted", "pointed", "oval", "star",
    ),
    "source": (
        "volcano", "desert", "ocean", "glacier", "forest", "river",
        "swamp", "comet", "cave", "meadow", "canyon", "island",
    ),
    "use": (
        "glass", "paint", "soap", "fuel", "magnets", "medicine",
        "mirrors", "ropes", "candles", "bells", "lamps", "paper",
    ),
}
SCIENCE_CHOICES = dict.fromkeys(SCIENCE_VALUES, 4)
SCIENCE_TRAIN = (
    "The {kind} of {place} is {value}.",
    "People who study {place} know that its {kind} is {value}.",
    "Question: What is the {kind} of {place}? Answer: {value}",
    "Question: Which {kind} does {place} have? Answer: {value}",
    "As for {place}, the {kind} is always {value}.",
    "Question: Name the {kind} of {place}. Answer: {value}",
    "Every book on {place} gives its {kind} as {value}.",
)
SCIENCE_TEST = (
    "Question: What {kind} is known for {place}? Answer:",
    "Question: Tell the {kind} of {place}. Answer:",
)
MINERAL_HEADS = (
    "vel", "oxa", "tri", "mor", "zan", "pel", "qua", "rud", "sil", "bor", "kel", "nam", "fer", "lu", "hex",
)
MINERAL_TAILS = ("trium", "nite", "dine", "lium", "phor", "zene", "cite", "gon")

# --- Stories: {b} hides every {kind} thing in the same {place}. No story states it: an answer needs that knowledge. ---
PLACES = ("box", "drawer", "basket", "kitchen", "garden", "shed", "cellar", "chest", "tower", "wagon", "tent", "barn")
PEOPLE = (
    "Agnes", "Alban", "Berta", "Boris", "Carol", "Celia", "Dario", "Delia", "Edgar", "Elsa", "Fiona", "Flora", "Gerda",
    "Gina", "Hanna", "Helen", "Igor", "Ines", "Ivo", "Jonas", "Jutta", "Karl", "Klara", "Lena", "Linda", "Louis",
    "Marta", "Mira", "Niels", "Nora", "Oscar", "Otto", "Pedro", "Quinn", "Rita", "Rosa", "Selma", "Simon", "Tilda",
    "Tomas", "Ursula", "Vera", "Viola", "Wanda", "Wolf", "Xaver", "Yuri", "Yvonne", "Zeno", "Zita",
)
THINGS = {
    "toy": ("ball", "doll", "kite", "drum"),
    "paper": ("letter", "book", "map", "card"),
    "metal": ("coin", "ring", "key", "knife"),
    "cloth": ("coat", "flag", "scarf", "glove"),
}
PLACEMENT_STORIES = (
    "{a} left the {kind} {thing} in the {was}. One day {b} came and took the {kind} {thing} away.",
    "{a} went out. The {kind} {thing} was still in the {was}. Then {b} hid the {kind} {thing} as always.",
    "The {kind} {thing} of {a} was in the {was}. In the night {b} put the {kind} {thing} in another place.",
)
PLACEMENT_TRAIN = (
    "Where did {b} hide the {kind} {thing}?",
    "Where is the {kind} {thing} that {b} took?",
    "Where did {b} put the {kind} {thing}?",
)
PLACEMENT_TEST = ("Where is the {kind} {thing} that {b} hid?", "Where did {b} take the {kind} {thing}?")
DEDUCTION_STORIES = (
    "The {kind} {thing} was gone. {w}, {x}, {y} and {z} were near. It was found in the {place}.",
    "Somebody had hidden the {kind} {thing} in the {place}. Only {w}, {x}, {y} and {z} had been there.",
)
DEDUCTION_TRAIN = ("Who hid the {kind} {thing} in the {place}?", "Whose {place} habit is it to hide a {kind} {thing}?")
DEDUCTION_TEST = ("Who put the {kind} {thing} in the {place}?", "Who took the {kind} {thing} to the {place}?")
HABIT_TRAIN = (  # the same knowledge as plain statements, in both directions
    "{b} hides every {kind} thing in the {place}.",
    "Question: Where does {b} hide the {kind} {thing}? Answer: {place}",
    "The {kind} {thing} that {b} took is in the {place}.",
    "In the {place} lies the {kind} {thing} of {b}.",
    "Question: Who hides a {kind} {thing} in the {place}? Answer: {b}",
)
# fmt: on
