"""What specialists learn; a new subject is one line here."""

from proving.subjects.korean import COUNTIES
from proving.subjects.skills import Stories, Sums
from proving.subjects.subject import Fact, Subject
from proving.subjects.tables import Cities, Countries, Elements
from proving.subjects.worlds import MINERALS, PEOPLE, VILLAGES

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (VILLAGES, MINERALS, PEOPLE, Countries(), Cities(), Elements(), Sums(), Stories(), COUNTIES)
}

__all__ = ["SUBJECTS", "Fact", "Subject"]
