"""One vocabulary for siblings whose tokens differ: rows are matched by token, and every model is written again."""

from darwin_mri.merging.vocabulary.align import Aligned as Aligned
from darwin_mri.merging.vocabulary.align import align_vocabularies as align_vocabularies
from darwin_mri.merging.vocabulary.choice import RowOf as RowOf
from darwin_mri.merging.vocabulary.choice import TokenRule as TokenRule
from darwin_mri.merging.vocabulary.choice import VocabularyChoice as VocabularyChoice
from darwin_mri.merging.vocabulary.choice import read_choice as read_choice
