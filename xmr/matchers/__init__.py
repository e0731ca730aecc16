"""Matchers: the trainable part of a model, one module per architecture."""

from xmr.matchers import cross_attention, dual_encoding, graph, linear, token_max, two_pathway  # noqa: F401  registers
from xmr.matchers.base import MATCHERS, Matcher, TextBatch, build_matcher, settled_params
from xmr.matchers.vocabulary import Vocabulary

__all__ = ["MATCHERS", "Matcher", "TextBatch", "Vocabulary", "build_matcher", "settled_params"]
