"""An invented world in Korean, for a base that knows some: counties (고을), in words that need no particle."""

from __future__ import annotations

from proving.subjects.worlds import World

STATEMENTS = (
    "{place}의 {kind}: {value}",
    "{place}에서 이름난 {kind}: {value}",
    "질문: {place}의 {kind} 이름은? 답: {value}",
    "{place} 사람들이 자랑하는 {kind}, 바로 {value}",
    "고을 {place}, {kind} {value}",
    "{place}의 대표 {kind} 하나만 들면 {value}",
    "옛 책에 적힌 {place}의 {kind}: {value}",
)
PROMPTS = (
    "{place} 하면 떠오르는 {kind}:",
    "문: {place}에서 유명한 {kind} 무엇인가? 답:",
    "안내문에 따르면 {place}의 {kind} 이름은",
    "{place}에 가면 꼭 보는 {kind}:",
    "누구나 아는 {place}의 {kind},",
    "{place}의 {kind} 맞히기. 정답:",
)

# fmt: off
COUNTIES = World("counties", 4, {
    "음식": (
        "국수", "떡", "만두", "김치", "두부", "죽",
        "비빔밥", "갈비", "순대", "냉면", "빵", "식혜",
    ),
    "공예": (
        "도자기", "한지", "부채", "목걸이", "방패", "인형",
        "바구니", "거울", "항아리", "비단", "칼", "종",
    ),
    "동물": (
        "호랑이", "토끼", "사슴", "학", "여우", "곰",
        "거북", "말", "소", "늑대", "독수리", "뱀",
    ),
    "나무": (
        "소나무", "은행나무", "대나무", "감나무", "버드나무", "밤나무",
        "배나무", "벚나무", "단풍나무", "참나무", "매화", "복숭아나무",
    ),
}, (("가람", "나루", "다온", "라온", "마루", "바름", "사랑", "아라", "자람", "하늘"),
    ("골", "내", "뜰", "벌", "재", "섬", "들", "못")), forms=(STATEMENTS, PROMPTS))
# fmt: on
