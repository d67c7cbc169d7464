"""Label sets, in the order of the logits, and texts that several tasks share."""

from __future__ import annotations

from types import MappingProxyType

NLI_LABELS = ("entailment", "neutral", "contradiction")

_POS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
POS_TAGS = tuple(_POS.split())

NER_TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")

_RELATIONS = """
acl advcl advmod amod appos aux case cc ccomp clf compound conj cop csubj dep det discourse dislocated expl fixed flat
goeswith iobj list mark nmod nsubj nummod obj obl orphan parataxis punct reparandum root vocative xcomp
"""
#: Universal Dependencies v2's 37 relations; a treebank's subtypes (``nmod:poss``) are cut at the colon.
UD_RELATIONS = tuple(_RELATIONS.split())

#: XTREME-R's wording of COPA's question, English in every language (scripts/train_xcopa.sh).
COPA_QUESTIONS = MappingProxyType({"cause": "What was the cause?", "effect": "What was the effect?"})
